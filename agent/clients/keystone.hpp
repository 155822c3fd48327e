#pragma once
// Keystone v3 and the way from a service type to a URL with credentials (reference 06 §0).
#include "agent/clients/http.hpp"
#include "agent/core/secret.hpp"
#include "agent/rpc/context.hpp"

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

namespace novalet::clients {

/// An account at Keystone (one keystoneauth option group).
struct AuthOptions {
    std::string auth_url; ///< http://keystone:5000/v3
    std::string username;
    Secret password;
    std::string user_domain_name = "Default";
    std::string project_name = "service";
    std::string project_domain_name = "Default";
    std::string application_credential_id; ///< instead of user and password
    Secret application_credential_secret;
    std::string ca_file;
    bool insecure = false;
    Milliseconds timeout{60000};
};

/// How one service is found.
struct ServiceOptions {
    std::vector<std::string> types; ///< catalog types, first match wins
    std::vector<std::string> interfaces{"internal", "public"};
    std::string region_name;
    std::string service_name; ///< only services of this name; those without one count, too
    /// Wins over every catalog; several with commas between. "%(project_id)s" stands for what the
    /// context of a request says, and so for every key of it.
    std::string endpoint_override;
    std::string api_version; ///< "v3": URLs without this component are refused; empty = any
    /// Requests that did not reach the service are sent again so often, after 0.5, 1, 2 … seconds
    /// (`http_retries` of Nova).
    unsigned connect_retries = 3;
    std::stop_token stop; ///< ends the pauses between attempts, and with them the retries
    std::function<void(Milliseconds)> pause; ///< how to wait instead of really waiting (tests)
};

struct Token {
    std::string id;
    Json catalog;
    WallTime expires_at;
};

/// A token as all callers share it: a catalog may be large.
using SharedToken = std::shared_ptr<const Token>;

/// One account and its cached token. Thread safe; callers at the same time share one request.
class Keystone {
  public:
    Keystone(HttpClient& http, AuthOptions options);
    /// A token that lives for at least 30 s more. Unauthorized names the user and the URL.
    [[nodiscard]] Result<SharedToken> token();
    /// After a 401 from a service: the next token() asks Keystone again.
    void invalidate(const std::string& token_id);
    [[nodiscard]] const AuthOptions& options() const noexcept { return options_; }

  private:
    /// One request under way and those who wait for it.
    struct Flight;
    [[nodiscard]] Result<SharedToken> fetch();

    HttpClient& http_;
    const AuthOptions options_;
    std::mutex mutex_; ///< never held over a request
    std::condition_variable landed_;
    std::shared_ptr<Flight> flight_;
    SharedToken cached_;
};

/// URLs of a service from a v3 catalog (token) or the v2 form of a request context, those of the
/// first type and interface that has any; NotFound (keystoneauth's EndpointNotFound) lists what was
/// looked for. No trailing slash.
[[nodiscard]] Result<std::vector<std::string>> find_endpoints(const Json& catalog,
                                                              const ServiceOptions& options);
/// `endpoint` with `path`; a version at the end of the one and the start of the other is the same:
/// catalogs name services with and without it.
[[nodiscard]] std::string joined_url(const std::string& endpoint, const std::string& path);

/// Requests to one service, as the agent itself or for a user. Besides the errors of HttpClient and
/// Keystone: NotFound as find_endpoints, Unsupported for a URL that is not of
/// ServiceOptions::api_version, InvalidArgument for a URL that names a key the context lacks.
class ServiceClient {
  public:
    /// `service_user` adds X-Service-Token to user requests; may be null.
    ServiceClient(HttpClient& http,
                  Keystone& account,
                  ServiceOptions options,
                  Keystone* service_user);

    struct Call {
        std::string method = "GET";
        std::string path; ///< begins with '/', query included
        Json body;        ///< null = none
        std::map<std::string, std::string> headers;
        std::function<Result<void>(std::string_view)> sink;
        Milliseconds timeout{60000}; ///< as HttpRequest::timeout
        unsigned endpoint = 0;       ///< which of several endpoints; counted around
        bool resend = true;          ///< connect_retries apply; never with a sink
    };
    /// As the agent's account (with the service token, where there is one); a 401 is tried once
    /// more with new tokens.
    [[nodiscard]] Result<HttpResponse> as_agent(const rpc::Context& context, Call call);
    /// With the user's token from the context, at the endpoint of the user's catalog. A context
    /// without a token (periodic work) goes as the agent. A 401 is tried once more with a new
    /// service token: the user's own cannot be renewed.
    [[nodiscard]] Result<HttpResponse> as_user(const rpc::Context& context, Call call);

    /// Waits between attempts; false when ServiceOptions::stop asked to give up.
    [[nodiscard]] bool pause(Milliseconds span) const;

  private:
    [[nodiscard]] Result<HttpResponse> send(const Json& catalog,
                                            const std::string& token,
                                            const SharedToken& service,
                                            const rpc::Context& context,
                                            const Call& call);
    [[nodiscard]] Result<SharedToken> service_token();

    HttpClient& http_;
    Keystone& account_;
    const ServiceOptions options_;
    Keystone* service_user_;
};

/// Turns a status that nobody expected into an error with the service's own words.
[[nodiscard]] Error unexpected_status(const std::string& what, const HttpResponse& response);
/// Body of a 2xx answer as JSON, or the error.
[[nodiscard]] Result<Json> json_of(const std::string& what, const Result<HttpResponse>& response);

} // namespace novalet::clients
