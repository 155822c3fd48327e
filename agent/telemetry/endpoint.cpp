#include "agent/telemetry/endpoint.hpp"

#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <chrono>
#include <optional>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace novalet::telemetry {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Protocol = asio::generic::stream_protocol;
using Stream = beast::basic_stream<Protocol>;
using Acceptor = asio::basic_socket_acceptor<Protocol>;

constexpr std::chrono::seconds time_of_one_request{5};
constexpr unsigned max_header_bytes = 8192;
constexpr std::size_t max_connections = 16;
constexpr std::string_view unix_scheme = "unix:";

Failure cannot_listen(const std::string& address, const std::string& reason) {
    return fail(Code::Unavailable, cat("telemetry cannot listen on ", address, ": ", reason));
}

/// One connection: a request, an answer, the end.
class Connection : public std::enable_shared_from_this<Connection> {
  public:
    Connection(Protocol::socket socket, const Endpoint::Health& health, std::size_t& open)
        : stream_(std::move(socket)), health_(health), open_(open) {
        ++open_;
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() { --open_; }

    void read() {
        parser_.header_limit(max_header_bytes);
        parser_.body_limit(max_header_bytes);
        stream_.expires_after(time_of_one_request);
        http::async_read(stream_,
                         buffer_,
                         parser_,
                         [self = shared_from_this()](beast::error_code error, std::size_t) {
                             if (!error)
                                 self->answer();
                         });
    }

  private:
    void answer() {
        const auto& request = parser_.get();
        response_.version(request.version());
        response_.keep_alive(false);
        response_.set(http::field::server, "novalet/" NOVALET_VERSION);
        fill(std::string(request.method_string()), std::string(request.target()));
        response_.prepare_payload();
        if (request.method() == http::verb::head)
            response_.body().clear(); // the length stays that of the answer to GET
        http::async_write(
            stream_, response_, [self = shared_from_this()](beast::error_code, std::size_t) {
                beast::error_code ignored;
                self->stream_.socket().shutdown(asio::socket_base::shutdown_both, ignored);
            });
    }

    void fill(const std::string& method, const std::string& target) {
        const auto path = target.substr(0, target.find('?'));
        const bool known = path == "/metrics" || path == "/health";
        if (!known) {
            put(http::status::not_found, "text/plain", "there are /metrics and /health\n");
        } else if (method != "GET" && method != "HEAD") {
            response_.set(http::field::allow, "GET, HEAD");
            put(http::status::method_not_allowed, "text/plain", "GET only\n");
        } else if (path == "/metrics") {
            put(http::status::ok, "text/plain; version=0.0.4", metrics::exposition());
        } else {
            const Json health = health_();
            put(health["ok"].as_bool() ? http::status::ok : http::status::service_unavailable,
                "application/json",
                health.dump() + '\n');
        }
    }
    void put(http::status status, const char* type, std::string body) {
        response_.result(status);
        response_.set(http::field::content_type, type);
        response_.body() = std::move(body);
    }

    Stream stream_;
    const Endpoint::Health& health_;
    std::size_t& open_;
    beast::flat_buffer buffer_{2 * max_header_bytes};
    http::request_parser<http::string_body> parser_;
    http::response<http::string_body> response_;
};

/// A socket that a dead process left behind makes way; a live one does not.
Result<void> remove_stale(const std::string& path) {
    struct stat now {};
    if (lstat(path.c_str(), &now) != 0)
        return {};
    if (!S_ISSOCK(now.st_mode))
        return fail(Code::AlreadyExists, "there is another file of that name");
    sockaddr_un peer{};
    peer.sun_family = AF_UNIX;
    path.copy(peer.sun_path, sizeof peer.sun_path - 1);
    const Fd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer) == 0 ||
        errno == EAGAIN)
        return fail(Code::AlreadyExists, "another process listens there");
    if (unlink(path.c_str()) != 0)
        return fail(Code::Unauthorized, errno_text(errno));
    return {};
}

Result<Protocol::endpoint> endpoint_of(const std::string& address) {
    if (address.starts_with(unix_scheme)) {
        const auto path = address.substr(unix_scheme.size());
        if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path))
            return fail(Code::InvalidArgument, "the path is empty or too long");
        return Protocol::endpoint(asio::local::stream_protocol::endpoint(path));
    }
    const auto colon = address.rfind(':');
    const auto port = to_number<std::uint16_t>(colon == std::string::npos
                                                   ? std::string_view()
                                                   : std::string_view(address).substr(colon + 1));
    std::string host = address.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']')
        host = host.substr(1, host.size() - 2);
    beast::error_code error;
    const auto ip = asio::ip::make_address(host, error);
    if (error || !port)
        return fail(Code::InvalidArgument, "expected ADDRESS:PORT or unix:/PATH");
    return Protocol::endpoint(asio::ip::tcp::endpoint(ip, *port));
}

/// The port that the kernel chose.
std::string real_address(const std::string& address, int fd) {
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size) != 0)
        return address;
    std::uint16_t port = 0;
    if (own.ss_family == AF_INET)
        port = ntohs(reinterpret_cast<const sockaddr_in&>(own).sin_port);
    else if (own.ss_family == AF_INET6)
        port = ntohs(reinterpret_cast<const sockaddr_in6&>(own).sin6_port);
    else
        return address;
    return cat(address.substr(0, address.rfind(':') + 1), port);
}

} // namespace

class Endpoint::State {
  public:
    explicit State(Health health) : health_(std::move(health)) {}
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() {
        context_.stop();
        if (thread_.joinable())
            thread_.join();
        if (address_.starts_with(unix_scheme))
            unlink(address_.c_str() + unix_scheme.size());
    }

    Result<void> start(const std::string& address) {
        auto endpoint = endpoint_of(address);
        if (!endpoint)
            return cannot_listen(address, endpoint.error().text);
        const bool is_unix = address.starts_with(unix_scheme);
        const auto path = is_unix ? address.substr(unix_scheme.size()) : std::string();
        if (is_unix)
            if (auto removed = remove_stale(path); !removed)
                return cannot_listen(address, removed.error().text);
        beast::error_code error;
        acceptor_.open(endpoint->protocol(), error);
        if (!error && !is_unix)
            acceptor_.set_option(asio::socket_base::reuse_address(true), error);
        if (!error)
            acceptor_.bind(*endpoint, error);
        if (!error)
            acceptor_.listen(static_cast<int>(max_connections), error);
        if (error)
            return cannot_listen(address, error.message());
        if (is_unix && chmod(path.c_str(), 0660) != 0)
            return cannot_listen(address, errno_text(errno));
        address_ = real_address(address, acceptor_.native_handle());
        accept();
        thread_ = std::jthread([this] { context_.run(); });
        return {};
    }

    const std::string& address() const noexcept { return address_; }

  private:
    void accept() {
        acceptor_.async_accept(context_, [this](beast::error_code error, Protocol::socket socket) {
            if (error == asio::error::operation_aborted)
                return;
            if (error) {
                // Mostly too few descriptors: to try again at once would be a busy loop.
                log::warning("telemetry cannot accept", {{"reason", error.message()}});
                pause_.expires_after(std::chrono::seconds(1));
                pause_.async_wait([this](beast::error_code aborted) {
                    if (!aborted)
                        accept();
                });
                return;
            }
            if (open_ < max_connections)
                std::make_shared<Connection>(std::move(socket), health_, open_)->read();
            accept();
        });
    }

    // Connections in the context count themselves in open_ until the context is gone.
    std::size_t open_ = 0;
    Health health_;
    std::string address_;
    asio::io_context context_{1};
    Acceptor acceptor_{context_};
    asio::steady_timer pause_{context_};
    std::jthread thread_;
};

Result<std::unique_ptr<Endpoint>> Endpoint::start(const std::string& address, Health health) {
    auto state = std::make_unique<State>(std::move(health));
    NOVALET_TRY(state->start(address));
    return std::unique_ptr<Endpoint>(new Endpoint(std::move(state)));
}

Endpoint::Endpoint(std::unique_ptr<State> state) : state_(std::move(state)) {}
Endpoint::~Endpoint() = default;

const std::string& Endpoint::address() const noexcept {
    return state_->address();
}

} // namespace novalet::telemetry
