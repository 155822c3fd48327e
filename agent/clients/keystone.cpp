#include "agent/clients/keystone.hpp"

#include "agent/core/text.hpp"

#include <algorithm>
#include <cctype>
#include <ctime>
#include <iomanip>
#include <sstream>

namespace novalet::clients {
namespace {

constexpr Seconds renew_before{30};
constexpr Milliseconds first_pause{500}; ///< doubled each time, as keystoneauth does

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

/// URLs of one catalog entry for one interface; both catalog forms.
void add_urls(const Json& service,
              const std::string& interface,
              const std::string& region,
              std::vector<std::string>& urls) {
    for (const auto& endpoint : service["endpoints"].items()) {
        const auto& where = endpoint["region"].as_string();
        if (!region.empty() && where != region && endpoint["region_id"].as_string() != region)
            continue;
        const Json& url =
            endpoint["interface"].as_string() == interface ? endpoint["url"]
                                                           : endpoint[interface + "URL"];
        if (!url.as_string().empty())
            urls.push_back(trimmed_url(url.as_string()));
    }
}

/// v2, v2.0, v3 …
bool is_version(std::string_view text) {
    return text.size() >= 2 && text[0] == 'v' &&
           text.find_first_not_of("0123456789.", 1) == std::string_view::npos;
}

/// Services that do not tell their name are not looked at for it, as keystoneauth does it.
bool has_name(const Json& service, const std::string& wanted) {
    const auto& name = service["name"].as_string();
    return wanted.empty() || name.empty() || name == wanted;
}

/// What may stand between two slashes of a URL as it is.
bool is_path_part(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
    });
}

/// `url` with its "%(key)s" replaced by what the context says.
Result<std::string> filled_in(std::string url, const rpc::Context& context) {
    for (std::size_t at = 0; (at = url.find("%(", at)) != std::string::npos;) {
        const auto end = url.find(")s", at);
        const auto key = url.substr(at + 2, end == std::string::npos ? end : end - at - 2);
        const auto& value = context.keys()[key].as_string();
        if (end == std::string::npos || !is_path_part(value))
            return fail(Code::InvalidArgument,
                        cat("the endpoint ",
                            url,
                            " needs '",
                            key,
                            "' of the request, which has ",
                            value.empty() ? "none" : "one that cannot be part of a URL"));
        url.replace(at, end + 2 - at, value);
        at += value.size();
    }
    return url;
}

Result<void> check_version(const std::string& url, const std::string& version) {
    if (version.empty())
        return {};
    for (const auto& part : split(url, '/'))
        if (part == version)
            return {};
    return fail(
        Code::Unsupported,
        cat("the endpoint ", url, " is not that of API ", version, "; correct the catalog"));
}

} // namespace

struct Keystone::Flight {
    Result<SharedToken> result;
    bool over = false;
};

Keystone::Keystone(HttpClient& http, AuthOptions options)
    : http_(http), options_(std::move(options)) {}

Result<SharedToken> Keystone::fetch() {
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
                    options_.application_credential_id.empty()
                        ? cat("Keystone at ",
                              options_.auth_url,
                              " refuses user '",
                              options_.username,
                              "' of project '",
                              options_.project_name,
                              "'; check the username, its password, domains and project")
                        : cat("Keystone at ",
                              options_.auth_url,
                              " refuses application credential '",
                              options_.application_credential_id,
                              "'; check its id, secret and expiry"));
    if (!response.ok())
        return Failure(unexpected_status("token from Keystone", response));
    NOVALET_ASSIGN(Json body, Json::parse(response.body));
    const auto id = response.headers.find("x-subject-token");
    if (id == response.headers.end())
        return fail(Code::Remote, "Keystone answered without X-Subject-Token");
    const auto expiry = parse_expiry(body["token"]["expires_at"].as_string());
    return std::make_shared<const Token>(
        Token{id->second, std::move(body.member("token").member("catalog")), expiry});
}

Result<SharedToken> Keystone::token() {
    std::shared_ptr<Flight> mine;
    {
        std::unique_lock lock(mutex_);
        if (cached_ && cached_->expires_at - renew_before > system_clock().wall())
            return cached_;
        if (const auto other = flight_) {
            // The request has a timeout of its own; twice that is only for a broken invariant.
            if (!landed_.wait_for(lock, 2 * options_.timeout, [&] { return other->over; }))
                return fail(Code::Timeout, cat("no token from Keystone at ", options_.auth_url));
            return other->result;
        }
        mine = flight_ = std::make_shared<Flight>();
    }
    auto fresh = fetch();
    const std::lock_guard lock(mutex_);
    mine->result = fresh;
    mine->over = true;
    flight_.reset();
    if (fresh)
        cached_ = *fresh;
    landed_.notify_all();
    return fresh;
}

void Keystone::invalidate(const std::string& token_id) {
    const std::lock_guard lock(mutex_);
    if (cached_ && cached_->id == token_id)
        cached_.reset();
}

Result<std::vector<std::string>> find_endpoints(const Json& catalog,
                                                const ServiceOptions& options) {
    std::vector<std::string> urls;
    for (const auto& url : split(options.endpoint_override, ','))
        if (!trim(url).empty())
            urls.push_back(trimmed_url(std::string(trim(url))));
    if (!urls.empty())
        return urls;
    for (const auto& type : options.types)
        for (const auto& interface : options.interfaces) {
            for (const auto& service : catalog.items())
                if (service["type"].as_string() == type && has_name(service, options.service_name))
                    add_urls(service, interface, options.region_name, urls);
            if (!urls.empty())
                return urls;
        }
    Error missing{Code::NotFound,
                  cat("the catalog has no endpoint of type ",
                      join(options.types, "/"),
                      options.service_name.empty() ? "" : " and name ",
                      options.service_name,
                      " with interface ",
                      join(options.interfaces, "/"),
                      options.region_name.empty() ? "" : " in region ",
                      options.region_name),
                  "EndpointNotFound",
                  "keystoneauth1.exceptions.catalog"};
    return Failure(std::move(missing));
}

std::string joined_url(const std::string& endpoint, const std::string& path) {
    const auto last = endpoint.rfind('/');
    const auto first = std::string_view(path).substr(1, path.find_first_of("/?", 1) - 1);
    if (last != std::string::npos && is_version(endpoint.substr(last + 1)) && is_version(first))
        return endpoint.substr(0, last) + path;
    return endpoint + path;
}

ServiceClient::ServiceClient(HttpClient& http,
                             Keystone& account,
                             ServiceOptions options,
                             Keystone* service_user)
    : http_(http), account_(account), options_(std::move(options)), service_user_(service_user) {}

bool ServiceClient::pause(Milliseconds span) const {
    if (options_.pause) {
        options_.pause(span);
    } else {
        std::mutex mutex;
        std::unique_lock lock(mutex);
        std::condition_variable_any nobody;
        nobody.wait_for(lock, options_.stop, span, [] { return false; });
    }
    return !options_.stop.stop_requested();
}

Result<HttpResponse> ServiceClient::send(const Json& catalog,
                                         const std::string& token,
                                         const SharedToken& service,
                                         const rpc::Context& context,
                                         const Call& call) {
    NOVALET_ASSIGN(const auto endpoints, find_endpoints(catalog, options_));
    NOVALET_ASSIGN(const auto endpoint,
                   filled_in(endpoints[call.endpoint % endpoints.size()], context));
    NOVALET_TRY(check_version(endpoint, options_.api_version));
    HttpRequest request;
    request.method = call.method;
    request.url = joined_url(endpoint, call.path);
    request.headers = call.headers;
    request.headers["X-Auth-Token"] = token;
    if (service)
        request.headers["X-Service-Token"] = service->id;
    request.headers.emplace("Accept", "application/json");
    const auto& global = context.keys()["global_request_id"].as_string();
    request.headers["X-OpenStack-Request-ID"] = global.empty() ? context.request_id() : global;
    if (!call.body.is_null())
        request.body = call.body.dump();
    request.ca_file = account_.options().ca_file;
    request.insecure = account_.options().insecure;
    request.timeout = call.timeout;
    request.sink = call.sink;
    Milliseconds wait = first_pause;
    for (unsigned attempt = 0;; ++attempt) {
        auto response = http_.send(request);
        // What a sink has taken cannot be taken back: its owner decides.
        if (response || call.sink || !call.resend || !response.error().retryable ||
            attempt >= options_.connect_retries || !pause(wait))
            return response;
        wait *= 2;
    }
}

Result<SharedToken> ServiceClient::service_token() {
    if (service_user_ == nullptr)
        return SharedToken();
    return service_user_->token();
}

Result<HttpResponse> ServiceClient::as_agent(const rpc::Context& context, Call call) {
    for (bool again = false;; again = true) {
        NOVALET_ASSIGN(const auto token, account_.token());
        NOVALET_ASSIGN(const auto service, service_token());
        auto response = send(token->catalog, token->id, service, context, call);
        if (again || !response || response->status != 401)
            return response;
        account_.invalidate(token->id);
        if (service)
            service_user_->invalidate(service->id);
    }
}

Result<HttpResponse> ServiceClient::as_user(const rpc::Context& context, Call call) {
    if (context.auth_token().empty())
        return as_agent(context, std::move(call));
    for (bool again = false;; again = true) {
        NOVALET_ASSIGN(const auto service, service_token());
        auto response =
            send(context.keys()["service_catalog"], context.auth_token(), service, context, call);
        if (again || !service || !response || response->status != 401)
            return response;
        service_user_->invalidate(service->id);
    }
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
