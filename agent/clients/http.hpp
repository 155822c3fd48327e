#pragma once
// HTTP as the REST clients see it. One implementation (http_cpprest.cpp), one fake for tests.
#include "agent/core/clock.hpp"
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace novalet::clients {

struct HttpRequest {
    std::string method = "GET";
    std::string url; ///< absolute, query included
    std::map<std::string, std::string> headers;
    std::string body;
    Milliseconds timeout{60000};
    std::string ca_file;   ///< empty = the system's store
    bool insecure = false; ///< do not verify the peer (a lab's choice)
    /// Set for downloads: called with each piece of a 2xx body instead of collecting it. An error
    /// ends the transfer and is returned.
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
    /// Any status is a response; an error means that there was none: Unavailable (connect, broken
    /// transfer) or Timeout. The text names method and URL without its query.
    [[nodiscard]] virtual Result<HttpResponse> send(const HttpRequest& request) = 0;
};

/// Over cpprestsdk; connections are kept and reused per service.
[[nodiscard]] std::unique_ptr<HttpClient> make_http_client();

} // namespace novalet::clients
