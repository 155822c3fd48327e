// The only file that sees cpprestsdk: it is slow to compile and throws.
#include "agent/clients/http.hpp"
#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

#include <boost/asio/ssl/context.hpp>
#include <condition_variable>
#include <cpprest/http_client.h>
#include <memory>
#include <mutex>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <optional>
#include <pplx/threadpool.h>
#include <utility>
#include <vector>

namespace novalet::clients {
namespace {

namespace web_client = web::http::client;
using Bytes = Concurrency::streams::streambuf<std::uint8_t>;

constexpr int io_threads = 2;             ///< of the library's own pool; its default is 40
constexpr std::size_t piece_size = 65536; ///< read from the socket at once
/// The library's own timer, far behind ours: it counts single reads, ours the whole exchange.
constexpr std::chrono::hours library_timeout{24};
/// Shorter than the keep-alive time of the usual servers (Apache: 5 s), so that a connection is
/// rarely closed just when it is used again.
constexpr Seconds reuse_for{2};
/// Endpoints come from configuration and from catalogs on the bus; more than this is not one cloud.
constexpr std::size_t max_origins = 64;

std::string without_query(const std::string& url) {
    return url.substr(0, url.find('?'));
}

/// scheme://host:port of a URL: what a connection can be reused for.
Result<std::string> origin_of(const std::string& url) {
    if (!url.starts_with("http://") && !url.starts_with("https://"))
        return fail(Code::InvalidArgument,
                    cat("'", without_query(url), "' is no absolute http or https URL"));
    const auto host = url.find("://") + 3;
    const auto origin = url.substr(0, url.find_first_of("/?", host));
    if (origin.size() == host)
        return fail(Code::InvalidArgument, cat("'", without_query(url), "' names no host"));
    return origin;
}

/// A line break in a header would smuggle a second request; tokens and ids come from the bus.
Result<void> check_headers(const HttpRequest& request, const std::string& what) {
    for (const auto& [name, value] : request.headers)
        for (const char c : value)
            if (const auto byte = static_cast<unsigned char>(c); byte < 0x20 || byte == 0x7f)
                return fail(Code::InvalidArgument,
                            cat(what, ": the value of header ", name, " has a control character"));
    return {};
}

/// One exchange, between the library's threads (which bring the head and pieces of the body) and
/// the caller's, which takes them. Shared, because an abandoned exchange ends later on its own.
class Transfer {
  public:
    enum class News { Head, Piece, End, Failed, Late };

    /// Copied: the library's object refers to the request, whose buffer refers to this.
    void head(const web::http::http_response& response) {
        HttpResponse copy;
        copy.status = response.status_code();
        for (const auto& [name, value] : response.headers())
            copy.headers[lower(name)] = value;
        const std::lock_guard lock(mutex_);
        head_ = std::move(copy);
        wake_.notify_all();
    }
    void ended(std::exception_ptr failure) {
        const std::lock_guard lock(mutex_);
        ended_ = true;
        failure_ = std::move(failure);
        wake_.notify_all();
    }
    /// A piece; the task is done when the caller has taken it. `data` lives until then.
    pplx::task<std::size_t> offer(const std::uint8_t* data, std::size_t size) {
        const std::lock_guard lock(mutex_);
        if (abandoned_)
            return pplx::task_from_exception<std::size_t>(
                std::runtime_error("the caller gave the transfer up"));
        piece_ = std::string_view(reinterpret_cast<const char*>(data), size);
        taken_ = pplx::task_completion_event<std::size_t>();
        wake_.notify_all();
        return pplx::create_task(taken_);
    }

    [[nodiscard]] News wait_head(MonotonicTime until) {
        return wait(until, [this] { return head_ || ended_; });
    }
    [[nodiscard]] News wait_piece(MonotonicTime until) {
        return wait(until, [this] { return !piece_.empty() || ended_; });
    }
    /// Valid after News::Head / News::Piece / News::Failed, for the caller's thread alone.
    [[nodiscard]] const HttpResponse& head() const { return *head_; }
    [[nodiscard]] std::string_view piece() const { return piece_; }
    [[nodiscard]] std::exception_ptr failure() const { return failure_; }

    void piece_taken() {
        std::unique_lock lock(mutex_);
        const auto size = std::exchange(piece_, {}).size();
        const auto taken = taken_;
        lock.unlock(); // the continuation runs library code
        taken.set(size);
    }
    /// Nothing more is taken; what the library still brings is refused.
    void abandon() {
        std::unique_lock lock(mutex_);
        abandoned_ = true;
        const bool waiting = !std::exchange(piece_, {}).empty();
        const auto taken = taken_;
        lock.unlock();
        if (waiting)
            taken.set_exception(std::runtime_error("the caller gave the transfer up"));
    }

  private:
    template <class Ready> News wait(MonotonicTime until, const Ready& ready) {
        std::unique_lock lock(mutex_);
        if (!wake_.wait_until(lock, until, ready))
            return News::Late;
        if (failure_)
            return News::Failed;
        if (!piece_.empty())
            return News::Piece;
        return ended_ ? News::End : News::Head;
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::optional<HttpResponse> head_;
    std::string_view piece_;
    pplx::task_completion_event<std::size_t> taken_;
    std::exception_ptr failure_;
    bool ended_ = false;
    bool abandoned_ = false;
};

/// The library's view of a Transfer: a buffer that can only be written. Its own buffers would take
/// a whole body into memory as fast as the network brings it.
class TransferBuffer final
    : public Concurrency::streams::details::streambuf_state_manager<std::uint8_t> {
  public:
    explicit TransferBuffer(std::shared_ptr<Transfer> transfer)
        : streambuf_state_manager(std::ios_base::out), transfer_(std::move(transfer)) {}

    bool can_seek() const override { return false; }
    bool has_size() const override { return false; }
    std::size_t buffer_size(std::ios_base::openmode /*mode*/) const override { return 0; }
    void set_buffer_size(std::size_t /*size*/, std::ios_base::openmode /*mode*/) override {}
    std::size_t in_avail() const override { return 0; }
    pos_type getpos(std::ios_base::openmode /*mode*/) const override { return no_position(); }
    pos_type seekpos(pos_type /*at*/, std::ios_base::openmode /*mode*/) override {
        return no_position();
    }
    pos_type seekoff(off_type /*offset*/,
                     std::ios_base::seekdir /*from*/,
                     std::ios_base::openmode /*mode*/) override {
        return no_position();
    }
    bool acquire(std::uint8_t*& pointer, std::size_t& count) override {
        pointer = nullptr;
        count = 0;
        return false;
    }
    void release(std::uint8_t* /*pointer*/, std::size_t /*count*/) override {}

  protected:
    using IntTask = pplx::task<int_type>;
    // The HTTP client writes pieces only; single bytes would have no memory that outlives the call.
    IntTask _putc(std::uint8_t /*byte*/) override { return unsupported(); }
    pplx::task<std::size_t> _putn(const std::uint8_t* pointer, std::size_t count) override {
        return transfer_->offer(pointer, count);
    }
    IntTask _bumpc() override { return unsupported(); }
    int_type _sbumpc() override { return traits::eof(); }
    IntTask _getc() override { return unsupported(); }
    int_type _sgetc() override { return traits::eof(); }
    IntTask _nextc() override { return unsupported(); }
    IntTask _ungetc() override { return unsupported(); }
    pplx::task<std::size_t> _getn(std::uint8_t* /*to*/, std::size_t /*count*/) override {
        return pplx::task_from_result<std::size_t>(0);
    }
    std::size_t _scopy(std::uint8_t* /*to*/, std::size_t /*count*/) override { return 0; }
    pplx::task<bool> _sync() override { return pplx::task_from_result(true); }
    std::uint8_t* _alloc(std::size_t /*count*/) override { return nullptr; }
    void _commit(std::size_t /*count*/) override {}

  private:
    static pos_type no_position() { return static_cast<pos_type>(traits::eof()); }
    static IntTask unsupported() { return pplx::task_from_result<int_type>(traits::eof()); }
    std::shared_ptr<Transfer> transfer_;
};

/// Starts the exchange; the transfer hears of its head, its pieces and its end. Every exception of
/// the library's tasks is looked at: one that nobody sees ends the process.
void start(web_client::http_client& client,
           web::http::http_request message,
           const pplx::cancellation_token& token,
           const std::shared_ptr<Transfer>& transfer) {
    message.set_response_stream(Bytes(std::make_shared<TransferBuffer>(transfer)).create_ostream());
    client.request(message, token).then([transfer](pplx::task<web::http::http_response> done) {
        try {
            auto response = done.get();
            transfer->head(response);
            response.content_ready().then([transfer](pplx::task<web::http::http_response> body) {
                try {
                    body.get();
                    transfer->ended(nullptr);
                } catch (...) { // handed to the caller's thread
                    transfer->ended(std::current_exception());
                }
            });
        } catch (...) { // handed to the caller's thread
            transfer->ended(std::current_exception());
        }
    });
}

/// What became of a request that got no answer.
enum class Fate {
    Unknown,  ///< it may have been processed
    Unwritten ///< it did not reach the peer, or not as a whole
};

struct Broken {
    Error error;
    Fate fate = Fate::Unknown;
    bool lost_while_writing = false;
    bool closed_before_answer = false;
};
using Outcome = tl::expected<HttpResponse, Broken>;

tl::unexpected<Broken> broken(const Failure& failure) {
    return tl::unexpected<Broken>(Broken{failure.value()});
}

/// What went wrong inside the library. Its error codes depend on the system call that noticed, only
/// its texts (2.10) tell the phase.
Broken broken_of(const std::exception_ptr& failure, const std::string& what) {
    try {
        std::rethrow_exception(failure);
    } catch (const web::http::http_exception& error) {
        const std::string_view text = error.what();
        const bool timeout = error.error_code() == std::errc::timed_out;
        const bool tls = text.find("SSL") != std::string_view::npos;
        const bool connect = text.find("connect") != std::string_view::npos ||
                             text.find("resolv") != std::string_view::npos;
        Broken out{fail(timeout ? Code::Timeout : Code::Unavailable,
                        cat(what,
                            ": ",
                            text,
                            tls       ? " (is ca_file the authority of this server, and does its "
                                        "certificate name this host?)"
                            : connect ? " (is the service running there?)"
                                      : ""))
                       .value()};
        out.lost_while_writing = text.starts_with("Failed to write request");
        if (connect || out.lost_while_writing)
            out.fate = Fate::Unwritten;
        out.closed_before_answer = text.starts_with("Failed to read HTTP status line");
        return out;
    } catch (const std::exception& error) { // the library throws more than it documents
        return Broken{fail(Code::Unavailable, cat(what, ": ", error.what())).value()};
    }
}

/// The library would only tell that something failed, and only after it connected.
Result<void> check_authorities(const std::string& ca_file) {
    if (const auto readable = read_file(ca_file); !readable)
        return fail(Code::InvalidArgument, cat("ca_file '", ca_file, "': ", readable.error().text));
    const std::unique_ptr<X509_STORE, decltype(&X509_STORE_free)> store(X509_STORE_new(),
                                                                        X509_STORE_free);
    const bool usable = store && X509_STORE_load_file(store.get(), ca_file.c_str()) == 1;
    ERR_clear_error(); // of this thread
    if (!usable)
        return fail(Code::InvalidArgument,
                    cat("ca_file '", ca_file, "' has no certificate in PEM form"));
    return {};
}

void prepare_tls(boost::asio::ssl::context& context, const std::string& ca_file) {
    SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
    if (ca_file.empty())
        return;
    // The library has put the system's store in; who names an authority means no other.
    SSL_CTX_set_cert_store(context.native_handle(), X509_STORE_new());
    context.load_verify_file(ca_file);
}

Result<void> take(std::string_view piece,
                  const HttpRequest& request,
                  HttpResponse& out,
                  const std::string& what) {
    if (request.sink && out.ok())
        return request.sink(piece);
    if (piece.size() > request.max_body - out.body.size())
        return fail(Code::Remote,
                    cat(what, ": the answer is longer than ", request.max_body, " bytes"));
    out.body += piece;
    return {};
}

tl::unexpected<Broken> no_answer(const Transfer& transfer,
                                 Transfer::News news,
                                 const HttpRequest& request,
                                 const std::string& what) {
    if (news == Transfer::News::Failed)
        return tl::unexpected<Broken>(broken_of(transfer.failure(), what));
    return broken(
        fail(Code::Timeout,
             cat(what,
                 request.sink ? ": the peer sent nothing for " : ": no complete answer in ",
                 request.timeout.count(),
                 " ms")));
}

Outcome receive(Transfer& transfer, const HttpRequest& request, const std::string& what) {
    auto until = system_clock().monotonic() + request.timeout;
    HttpResponse out;
    auto news = transfer.wait_head(until);
    if (news == Transfer::News::Late || news == Transfer::News::Failed)
        return no_answer(transfer, news, request, what);
    out = transfer.head();
    for (;;) {
        if (request.sink)
            until = system_clock().monotonic() + request.timeout;
        news = transfer.wait_piece(until);
        if (news == Transfer::News::End)
            return out;
        if (news != Transfer::News::Piece) {
            auto failed = no_answer(transfer, news, request, what);
            failed.value().closed_before_answer = false;
            return failed;
        }
        if (auto taken = take(transfer.piece(), request, out, what); !taken)
            return broken(Failure(std::move(taken).error()));
        transfer.piece_taken();
    }
}

web::http::http_request message_of(const HttpRequest& request, const std::string& origin) {
    web::http::http_request message(request.method);
    const std::string path = request.url.substr(origin.size());
    message.set_request_uri(web::uri(path.starts_with('/') ? path : "/" + path));
    if (!request.body.empty())
        // As bytes: the library's way with text casts between unrelated classes.
        message.set_body(std::vector<std::uint8_t>(request.body.begin(), request.body.end()));
    auto& headers = message.headers();
    if (!request.body.empty())
        headers["Content-Type"] = "application/json";
    headers["User-Agent"] = "novalet/" NOVALET_VERSION;
    for (const auto& [name, value] : request.headers)
        headers[name] = value;
    return message;
}

class CpprestClient final : public HttpClient {
  public:
    CpprestClient() {
        static std::once_flag bounded;
        std::call_once(bounded, [] { crossplat::threadpool::initialize_with_threads(io_threads); });
    }

    Result<HttpResponse> send(const HttpRequest& request) override {
        const std::string what = cat(request.method, ' ', without_query(request.url));
        NOVALET_ASSIGN(const auto origin, origin_of(request.url));
        NOVALET_TRY(check_headers(request, what));
        const bool idempotent = request.method != "POST" && request.method != "PATCH";
        auto outcome = attempt(request, origin, what, idempotent);
        // Nothing was given to a sink in either case: no answer has begun.
        if (!outcome && (outcome.error().lost_while_writing ||
                         (idempotent && outcome.error().closed_before_answer))) {
            log::debug("sent again on a new connection", {{"error", outcome.error().error.text}});
            outcome = attempt(request, origin, what, false);
        }
        if (!outcome) {
            Error error = std::move(outcome).error().error;
            error.retryable =
                error.retryable && (idempotent || outcome.error().fate == Fate::Unwritten);
            return Failure(std::move(error));
        }
        return std::move(*outcome);
    }

  private:
    using Client = std::shared_ptr<web_client::http_client>;
    struct Pooled {
        Client client; ///< with its own pool of connections
        MonotonicTime used;
    };

    Outcome attempt(const HttpRequest& request,
                    const std::string& origin,
                    const std::string& what,
                    bool reuse) {
        const std::string key = cat(origin, '|', request.ca_file, '|', request.insecure);
        try {
            Client client = reuse ? kept(key) : nullptr;
            if (!client) {
                auto made = make_client(request, origin);
                if (!made)
                    return broken(Failure(std::move(made).error()));
                client = std::move(*made);
            }
            auto outcome = exchange(*client, request, message_of(request, origin), what);
            if (outcome)
                keep(key, std::move(client));
            else
                drop(key, client);
            return outcome;
        } catch (const web::uri_exception& error) {
            return broken(fail(Code::InvalidArgument, cat(what, ": ", error.what())));
        } catch (const std::exception&) { // the library throws more than it documents
            return tl::unexpected<Broken>(broken_of(std::current_exception(), what));
        }
    }

    Client kept(const std::string& key) {
        const std::lock_guard lock(mutex_);
        const auto found = clients_.find(key);
        if (found == clients_.end() || found->second.used + reuse_for < system_clock().monotonic())
            return nullptr;
        return found->second.client;
    }
    /// The newest client that worked is used again; one that it replaces lives on until its last
    /// exchange ends.
    void keep(const std::string& key, Client client) {
        const auto now = system_clock().monotonic();
        std::map<std::string, Pooled> old; // ends outside of the lock
        const std::lock_guard lock(mutex_);
        if (clients_.size() >= max_origins && !clients_.contains(key))
            old.swap(clients_);
        auto& entry = clients_[key];
        std::swap(entry.client, client);
        entry.used = now;
    }
    void drop(const std::string& key, const Client& client) {
        const std::lock_guard lock(mutex_);
        if (const auto found = clients_.find(key);
            found != clients_.end() && found->second.client == client)
            clients_.erase(found); // `client` holds it until the caller is done
    }

    static Result<Client> make_client(const HttpRequest& request, const std::string& origin) {
        if (!request.ca_file.empty() && origin.starts_with("https"))
            NOVALET_TRY(check_authorities(request.ca_file));
        web_client::http_client_config config;
        config.set_timeout(library_timeout);
        config.set_chunksize(piece_size);
        config.set_max_redirects(0);
        config.set_validate_certificates(!request.insecure);
        config.set_ssl_context_callback([ca = request.ca_file](boost::asio::ssl::context& context) {
            prepare_tls(context, ca);
        });
        return std::make_shared<web_client::http_client>(origin, config);
    }

    static Outcome exchange(web_client::http_client& client,
                            const HttpRequest& request,
                            web::http::http_request message,
                            const std::string& what) {
        pplx::cancellation_token_source cancellation;
        const auto transfer = std::make_shared<Transfer>();
        start(client, std::move(message), cancellation.get_token(), transfer);
        auto outcome = receive(*transfer, request, what);
        if (!outcome) {
            transfer->abandon();
            cancellation.cancel();
        }
        return outcome;
    }

    std::mutex mutex_;
    std::map<std::string, Pooled> clients_;
};

} // namespace

std::unique_ptr<HttpClient> make_http_client() {
    return std::make_unique<CpprestClient>();
}

} // namespace novalet::clients
