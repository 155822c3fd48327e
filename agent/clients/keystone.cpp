#include "agent/clients/keystone.hpp"

#include "agent/core/text.hpp"

#include <ctime>
#include <iomanip>
#include <sstream>

namespace novalet::clients {
namespace {

constexpr Seconds renew_before{30};

Json domain(const std::string& name) {
    Json out = Json::object();
    out.set("name", name);
    return out;
}

Json identity_of(const AuthOptions& options) {
    Json identity = Json::object();
    if (!options.application_credential_id.empty()) {
        Json credential = Json::object();
        credential.set("id", options.application_credential_id);
        credential.set("secret", options.application_credential_secret.reveal());
        identity.set("methods", Json::Array{"application_credential"});
        identity.set("application_credential", std::move(credential));
        return identity;
    }
    Json user = Json::object();
    user.set("name", options.username);
    user.set("password", options.password.reveal());
    user.set("domain", domain(options.user_domain_name));
    Json password = Json::object();
    password.set("user", std::move(user));
    identity.set("methods", Json::Array{"password"});
    identity.set("password", std::move(password));
    return identity;
}

Json request_body(const AuthOptions& options) {
    Json auth = Json::object();
    auth.set("identity", identity_of(options));
    if (options.application_credential_id.empty()) {
        Json project = Json::object();
        project.set("name", options.project_name);
        project.set("domain", domain(options.project_domain_name));
        Json scope = Json::object();
        scope.set("project", std::move(project));
        auth.set("scope", std::move(scope));
    }
    Json body = Json::object();
    body.set("auth", std::move(auth));
    return body;
}

WallTime parse_expiry(const std::string& text) {
    std::tm parts{};
    std::istringstream in(text);
    in >> std::get_time(&parts, "%Y-%m-%dT%H:%M:%S");
    if (in.fail())
        return system_clock().wall(); // unreadable: good for this one use
    return std::chrono::system_clock::from_time_t(timegm(&parts));
}

std::string trimmed_url(std::string url) {
    while (url.ends_with('/'))
        url.pop_back();
    return url;
}

/// URL of one catalog entry for one interface; both catalog forms.
std::string url_in(const Json& service, const std::string& interface, const std::string& region) {
    for (const auto& endpoint : service["endpoints"].items()) {
        const auto& where = endpoint["region"].as_string();
        if (!region.empty() && where != region && endpoint["region_id"].as_string() != region)
            continue;
        if (endpoint["interface"].as_string() == interface)
            return endpoint["url"].as_string();
        if (endpoint.contains(interface + "URL"))
            return endpoint[interface + "URL"].as_string();
    }
    return {};
}

} // namespace

Keystone::Keystone(HttpClient& http, AuthOptions options)
    : http_(http), options_(std::move(options)) {}

Result<Token> Keystone::fetch() {
    HttpRequest request;
    request.method = "POST";
    request.url = trimmed_url(options_.auth_url);
    if (!request.url.ends_with("/v3"))
        request.url += "/v3";
    request.url += "/auth/tokens";
    request.headers["Accept"] = "application/json";
    request.body = request_body(options_).dump();
    request.ca_file = options_.ca_file;
    request.insecure = options_.insecure;
    request.timeout = options_.timeout;
    NOVALET_ASSIGN(const auto response, http_.send(request));
    if (response.status == 401)
        return fail(Code::Unauthorized,
                    cat("Keystone at ",
                        options_.auth_url,
                        " refuses user '",
                        options_.username,
                        "' of project '",
                        options_.project_name,
                        "'; check keystone.username and its password"));
    if (!response.ok())
        return Failure(unexpected_status("token from Keystone", response));
    NOVALET_ASSIGN(const Json body, Json::parse(response.body));
    const auto id = response.headers.find("x-subject-token");
    if (id == response.headers.end())
        return fail(Code::Remote, "Keystone answered without X-Subject-Token");
    return Token{id->second,
                 body["token"]["catalog"],
                 parse_expiry(body["token"]["expires_at"].as_string())};
}

Result<Token> Keystone::token() {
    // Held over the request on purpose: others wait for this one instead of asking as well.
    const std::lock_guard lock(mutex_);
    if (cached_ && cached_->expires_at - renew_before > system_clock().wall())
        return *cached_;
    NOVALET_ASSIGN(auto fresh, fetch());
    cached_ = fresh;
    return fresh;
}

void Keystone::invalidate(const std::string& token_id) {
    const std::lock_guard lock(mutex_);
    if (cached_ && cached_->id == token_id)
        cached_.reset();
}

Result<std::string> find_endpoint(const Json& catalog, const ServiceOptions& options) {
    if (!options.endpoint_override.empty())
        return trimmed_url(options.endpoint_override);
    for (const auto& type : options.types)
        for (const auto& interface : options.interfaces)
            for (const auto& service : catalog.items()) {
                if (service["type"].as_string() != type)
                    continue;
                if (auto url = url_in(service, interface, options.region_name); !url.empty())
                    return trimmed_url(std::move(url));
            }
    return fail(Code::NotFound,
                cat("the catalog has no endpoint of type ",
                    join(options.types, "/"),
                    " with interface ",
                    join(options.interfaces, "/"),
                    options.region_name.empty() ? "" : " in region ",
                    options.region_name));
}

ServiceClient::ServiceClient(HttpClient& http,
                             Keystone& account,
                             ServiceOptions options,
                             Keystone* service_user)
    : http_(http), account_(account), options_(std::move(options)), service_user_(service_user) {}

Result<HttpResponse> ServiceClient::send(const std::string& endpoint,
                                         const std::string& token,
                                         const rpc::Context& context,
                                         Call call) {
    HttpRequest request;
    request.method = std::move(call.method);
    request.url = endpoint + call.path;
    request.headers = std::move(call.headers);
    request.headers["X-Auth-Token"] = token;
    request.headers.emplace("Accept", "application/json");
    const auto& global = context.keys()["global_request_id"].as_string();
    request.headers["X-OpenStack-Request-ID"] = global.empty() ? context.request_id() : global;
    if (!call.body.is_null())
        request.body = call.body.dump();
    request.ca_file = account_.options().ca_file;
    request.insecure = account_.options().insecure;
    request.timeout = call.timeout;
    request.sink = std::move(call.sink);
    return http_.send(request);
}

Result<HttpResponse> ServiceClient::as_agent(const rpc::Context& context, Call call) {
    for (const bool last : {false, true}) {
        NOVALET_ASSIGN(const auto token, account_.token());
        NOVALET_ASSIGN(const auto endpoint, find_endpoint(token.catalog, options_));
        auto response = send(endpoint, token.id, context, call);
        if (last || !response || response->status != 401)
            return response;
        account_.invalidate(token.id);
    }
    return fail(Code::Internal, "unreachable");
}

Result<HttpResponse> ServiceClient::as_user(const rpc::Context& context, Call call) {
    if (context.auth_token().empty())
        return as_agent(context, std::move(call));
    NOVALET_ASSIGN(const auto endpoint, find_endpoint(context.keys()["service_catalog"], options_));
    if (service_user_ != nullptr) {
        NOVALET_ASSIGN(const auto token, service_user_->token());
        call.headers["X-Service-Token"] = token.id;
    }
    return send(endpoint, context.auth_token(), context, std::move(call));
}

Error unexpected_status(const std::string& what, const HttpResponse& response) {
    Error error;
    error.code = response.status == 401 || response.status == 403 ? Code::Unauthorized
                 : response.status == 404                         ? Code::NotFound
                 : response.status == 409                         ? Code::Conflict
                 : response.status >= 500                         ? Code::Unavailable
                                                                  : Code::InvalidArgument;
    error.retryable = error.code == Code::Unavailable;
    error.text = cat(what, ": HTTP ", response.status, ' ', cut_utf8(trim(response.body), 400));
    return error;
}

Result<Json> json_of(const std::string& what, const Result<HttpResponse>& response) {
    if (!response)
        return Failure(response.error().in(what));
    if (!response->ok())
        return Failure(unexpected_status(what, *response));
    if (response->body.empty())
        return Json();
    auto parsed = Json::parse(response->body);
    if (!parsed)
        return Failure(parsed.error().in(what));
    return parsed;
}

} // namespace novalet::clients
