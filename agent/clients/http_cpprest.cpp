// The only file that sees cpprestsdk: it is slow to compile and throws.
#include "agent/clients/http.hpp"
#include "agent/core/text.hpp"

#include <boost/asio/ssl/context.hpp>
#include <cpprest/http_client.h>
#include <cpprest/rawptrstream.h>
#include <mutex>
#include <pplx/threadpool.h>
#include <vector>

namespace novalet::clients {
namespace {

namespace web_client = web::http::client;

constexpr int io_threads = 2; ///< of the library's own pool; its default is 40
constexpr std::size_t piece_size = 256 * 1024;

std::string without_query(const std::string& url) {
    return url.substr(0, url.find('?'));
}

/// scheme://host:port of a URL: what a connection can be reused for.
Result<std::string> origin_of(const std::string& url) {
    const auto scheme = url.find("://");
    if (scheme == std::string::npos)
        return fail(Code::InvalidArgument, cat("'", without_query(url), "' is no absolute URL"));
    return url.substr(0, url.find('/', scheme + 3));
}

class CpprestClient final : public HttpClient {
  public:
    CpprestClient() {
        static std::once_flag bounded;
        std::call_once(bounded, [] { crossplat::threadpool::initialize_with_threads(io_threads); });
    }

    Result<HttpResponse> send(const HttpRequest& request) override {
        NOVALET_ASSIGN(const auto origin, origin_of(request.url));
        const std::string what = cat(request.method, ' ', without_query(request.url));
        try {
            return exchange(request, origin, what);
        } catch (const web::http::http_exception& error) {
            const bool timeout = error.error_code() == std::errc::timed_out;
            return fail(timeout ? Code::Timeout : Code::Unavailable, cat(what, ": ", error.what()));
        } catch (const std::exception& error) { // the library throws more than it documents
            return fail(Code::Unavailable, cat(what, ": ", error.what()));
        }
    }

  private:
    std::shared_ptr<web_client::http_client> client_for(const HttpRequest& request,
                                                        const std::string& origin) {
        const std::string key =
            cat(origin, '|', request.ca_file, '|', request.insecure, '|', request.timeout.count());
        const std::lock_guard lock(mutex_);
        auto& client = clients_[key];
        if (!client) {
            web_client::http_client_config config;
            config.set_timeout(request.timeout);
            config.set_validate_certificates(!request.insecure);
            if (!request.ca_file.empty())
                config.set_ssl_context_callback(
                    [ca = request.ca_file](boost::asio::ssl::context& context) {
                        context.load_verify_file(ca);
                    });
            client = std::make_shared<web_client::http_client>(origin, config);
        }
        return client;
    }

    Result<HttpResponse>
    exchange(const HttpRequest& request, const std::string& origin, const std::string& what) {
        web::http::http_request message(request.method);
        const std::string path = request.url.substr(origin.size());
        message.set_request_uri(web::uri(path.empty() ? "/" : path));
        for (const auto& [name, value] : request.headers)
            message.headers().add(name, value);
        if (!request.body.empty())
            message.set_body(request.body, "application/json");
        auto response = client_for(request, origin)->request(message).get();
        HttpResponse out;
        out.status = response.status_code();
        for (const auto& [name, value] : response.headers())
            out.headers[lower(name)] = value;
        if (request.sink && out.ok()) {
            NOVALET_TRY(download(response, request, what));
        } else {
            out.body = response.extract_utf8string(true).get();
        }
        return out;
    }

    static Result<void> download(const web::http::http_response& response,
                                 const HttpRequest& request,
                                 const std::string& what) {
        auto stream = response.body();
        std::vector<std::uint8_t> piece(piece_size);
        for (;;) {
            Concurrency::streams::rawptr_buffer<std::uint8_t> buffer(piece.data(), piece.size());
            const auto got = stream.read(buffer, piece.size()).get();
            if (got == 0)
                break;
            NOVALET_TRY(request.sink({reinterpret_cast<const char*>(piece.data()), got}));
        }
        stream.close().get();
        discard(what, "only for the caller's error text");
        return {};
    }

    std::mutex mutex_;
    std::map<std::string, std::shared_ptr<web_client::http_client>> clients_;
};

} // namespace

std::unique_ptr<HttpClient> make_http_client() {
    return std::make_unique<CpprestClient>();
}

} // namespace novalet::clients
