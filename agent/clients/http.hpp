#pragma once
// HTTP as the REST clients see it. One implementation (http_cpprest.cpp), one fake for tests
// (tests/support/fake_http.hpp).
#include "agent/core/clock.hpp"
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace novalet::clients {

struct HttpRequest {
    std::string method = "GET";
    std::string url; ///< absolute, query included, already percent-encoded
    std::map<std::string, std::string> headers;
    std::string body; ///< JSON unless `headers` has another Content-Type
    /// Without a sink: until the whole answer is here. With one: the longest silence of the peer
    /// (a large image may take an hour); the time that the sink itself takes does not count.
    Milliseconds timeout{60000};
    std::size_t max_body = 16U << 20U; ///< bytes of a collected body; a longer answer is an error
    /// PEM file with the only authorities trusted for this request, in place of the system's store
    /// (as `cafile` of Nova). Read when the first connection to a server is made.
    std::string ca_file;
    bool insecure = false; ///< do not verify the peer (a lab's choice)
    /// Set for downloads: called on the caller's thread with each piece of a 2xx body instead of
    /// collecting it. No more is read from the peer before it returns, so a slow disk does not fill
    /// the memory. An error ends the transfer and is returned.
    std::function<Result<void>(std::string_view)> sink;
};

struct HttpResponse {
    int status = 0;
    std::map<std::string, std::string> headers; ///< names in lower case
    std::string body;

    [[nodiscard]] bool ok() const noexcept { return status >= 200 && status < 300; }
};

/// Thread safe.
class HttpClient {
  public:
    virtual ~HttpClient() = default;
    /// Any status is a response; redirects too are (followed, they would carry the token to another
    /// host). An error means that there was none: Unavailable (connect, TLS, broken transfer),
    /// Timeout, InvalidArgument (URL, header, CA file), Remote (longer than max_body), or the
    /// sink's own. The text names method and URL without its query. Unavailable is `retryable` when
    /// the request can be sent again: it was not processed, or doing it twice does no harm.
    [[nodiscard]] virtual Result<HttpResponse> send(const HttpRequest& request) = 0;
};

/// Over cpprestsdk. A connection is used again for a short time; POST always opens a new one, since
/// a request that may have been processed must not be sent twice. A request that could not be
/// written, or an idempotent one whose connection was closed before an answer, is sent once more.
[[nodiscard]] std::unique_ptr<HttpClient> make_http_client();

} // namespace novalet::clients
