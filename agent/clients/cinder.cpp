#include "agent/clients/cinder.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

#include <algorithm>
#include <cctype>
#include <set>

namespace novalet::clients {
namespace {

constexpr int attempts = 5;
constexpr const char* client_exceptions = "cinderclient.exceptions";
/// os-complete, which Nova needs of the attachments, came with it; Nova asks all of them this way.
constexpr const char* attachment_version = "volume 3.44";

/// Text and digits as Cinder makes ids of: anything else never gets into a URL.
bool is_id(const std::string& text) {
    return !text.empty() && text.size() <= 255 && std::all_of(text.begin(), text.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
    });
}

Failure no_volume(const std::string& id) {
    return fail_as("VolumeNotFound", Code::NotFound, cat("Volume ", id, " could not be found."));
}

/// What Cinder says is wrong, as cinderclient shows it: {"badRequest": {"message": …}}.
std::string words_of(const HttpResponse& response) {
    std::string message;
    if (const auto body = Json::parse(response.body); body && body->is_object()) {
        message = (*body)["message"].as_string();
        for (const auto& [kind, fault] : body->members())
            if (message.empty())
                message = fault["message"].as_string();
    }
    if (message.empty())
        message = cut_utf8(trim(response.body), 400);
    if (message.empty())
        message = "no reason given";
    std::string out = cat(message, " (HTTP ", response.status, ')');
    if (const auto id = response.headers.find("x-compute-request-id"); id != response.headers.end())
        out += cat(" (Request-ID: ", id->second, ')');
    return out;
}

/// cinderclient's class for a status that nova.volume.cinder passes on.
const char* client_class(int status) {
    switch (status) {
    case 401:
        return "Unauthorized";
    case 404:
        return "NotFound";
    case 406:
        return "NotAcceptable";
    case 413:
        return "OverLimit";
    case 501:
        return "HTTPNotImplemented";
    default:
        return "ClientException";
    }
}

/// A status that is not one of success, apart from what only volumes have.
Error refusal(const std::string& what, const HttpResponse& response) {
    Error error = unexpected_status(what, response);
    error.module = "nova.exception";
    if (response.status == 400) {
        error.exception = "InvalidInput";
        error.text = cat("Invalid input received: ", what, ": ", words_of(response));
        return error;
    }
    error.text = cat(what, ": ", words_of(response));
    if (response.status == 403) {
        error.exception = "Forbidden";
        return error;
    }
    if (response.status == 413)
        error.code = Code::ResourceExhausted;
    error.exception = client_class(response.status);
    error.module = client_exceptions;
    return error;
}

Result<void> settled(const std::string& what,
                     const std::string& volume_id,
                     const Result<HttpResponse>& response) {
    if (!response)
        return Failure(response.error().in(cat(what, " of volume ", volume_id)));
    if (response->ok())
        return {};
    if (response->status == 404)
        return no_volume(volume_id);
    Error error = refusal(cat(what, " of volume ", volume_id), *response);
    if (response->status == 413) {
        error.exception = "OverQuota";
        error.module = "nova.exception";
    }
    return Failure(std::move(error));
}

/// `work` again as long as it answers with one of these, five times in all.
template <class Work>
Result<HttpResponse> persistently(const std::set<int>& statuses, const Work& work) {
    for (int attempt = 1;; ++attempt) {
        Result<HttpResponse> response = work();
        if (!response || attempt == attempts || statuses.count(response->status) == 0)
            return response;
    }
}

Volume volume_of(const std::string& id, const Json& body) {
    const Json& shown = body["volume"];
    Volume volume;
    volume.id = id;
    volume.multiattach = shown["multiattach"].as_bool();
    volume.migration_status = shown["migration_status"].as_string();
    for (const auto& attachment : shown["attachments"].items())
        volume.attachments[attachment["server_id"].as_string()] =
            attachment["attachment_id"].as_string();
    return volume;
}

} // namespace

ServiceOptions cinder_service(const std::string& catalog_info) {
    auto parts = split(catalog_info, ':');
    parts.resize(3);
    ServiceOptions options;
    options.types = {parts[0]};
    for (const char* name : {"block-storage", "volumev3"})
        if ((parts[0] == "block-storage" || parts[0] == "volumev3") && parts[0] != name)
            options.types.emplace_back(name);
    options.service_name = parts[1];
    if (parts[2].ends_with("URL"))
        parts[2].resize(parts[2].size() - 3);
    options.interfaces = {parts[2]};
    options.api_version = "v3";
    return options;
}

Cinder::Cinder(ServiceClient service) : service_(std::move(service)) {}

Result<HttpResponse> Cinder::ask(const rpc::Context& context, Call call) {
    auto response = service_.as_user(context, std::move(call));
    if (response)
        return response;
    Error error = response.error();
    if (error.code == Code::Unavailable || error.code == Code::Timeout) {
        error = error.in("Connection to cinder host failed");
        error.exception = "CinderConnectionFailed";
        error.module = "nova.exception";
    }
    if (error.code == Code::Unsupported) {
        error.exception = "UnsupportedVersion";
        error.module = client_exceptions;
    }
    return Failure(std::move(error));
}

Result<HttpResponse> Cinder::ask_for(const rpc::Context& context, const std::string& volume_id) {
    Call call;
    call.path = "/volumes/" + volume_id;
    return ask(context, std::move(call));
}

Result<HttpResponse> Cinder::act(const rpc::Context& context,
                                 const std::string& volume_id,
                                 const std::string& action,
                                 Json arguments) {
    Call call;
    call.method = "POST";
    call.path = cat("/volumes/", volume_id, "/action");
    call.body = Json::object().set(action, std::move(arguments));
    return ask(context, std::move(call));
}

Result<void> Cinder::delete_attachment(const rpc::Context& context,
                                       const std::string& attachment_id) {
    const std::string what = cat("deletion of volume attachment ", attachment_id);
    if (!is_id(attachment_id)) {
        log::warning("a volume attachment does not exist", {{"attachment", attachment_id}});
        return {};
    }
    const auto response = persistently({500, 504}, [&] {
        Call call;
        call.method = "DELETE";
        call.path = "/attachments/" + attachment_id;
        call.headers["OpenStack-API-Version"] = attachment_version;
        return ask(context, std::move(call));
    });
    if (!response)
        return Failure(response.error().in(what));
    if (response->status == 404) {
        log::warning("a volume attachment does not exist", {{"attachment", attachment_id}});
        return {};
    }
    return response->ok() ? Result<void>() : Failure(refusal(what, *response));
}

Result<void> Cinder::terminate_connection(const rpc::Context& context,
                                          const std::string& volume_id,
                                          const Json& connector) {
    if (!is_id(volume_id))
        return no_volume(volume_id);
    const Json arguments = Json::object().set("connector", connector);
    return settled("end of the connection", volume_id, persistently({500}, [&] {
                       return act(context, volume_id, "os-terminate_connection", arguments);
                   }));
}

Result<void> Cinder::detach(const rpc::Context& context,
                            const std::string& volume_id,
                            const std::string& instance_uuid) {
    if (!is_id(volume_id))
        return no_volume(volume_id);
    const auto once = [&]() -> Result<HttpResponse> {
        auto shown = ask_for(context, volume_id);
        if (!shown || !shown->ok())
            return shown;
        NOVALET_ASSIGN(const Json body, json_of("the answer", shown));
        const auto volume = volume_of(volume_id, body);
        Json attachment;
        if (volume.multiattach) {
            const auto own = volume.attachments.find(instance_uuid);
            if (own != volume.attachments.end() && !own->second.empty())
                attachment = own->second;
            else
                log::warning("a multiattach volume does not name the attachment of a server; "
                             "Cinder will most probably refuse to detach it",
                             {{"volume", volume_id}, {"instance", instance_uuid}});
        }
        return act(context,
                   volume_id,
                   "os-detach",
                   Json::object().set("attachment_id", std::move(attachment)));
    };
    return settled("detaching", volume_id, persistently({500}, once));
}

Result<void> Cinder::roll_detaching(const rpc::Context& context, const std::string& volume_id) {
    if (!is_id(volume_id))
        return no_volume(volume_id);
    return settled("roll-back of the detaching",
                   volume_id,
                   act(context, volume_id, "os-roll_detaching", Json()));
}

Result<void> Cinder::unreserve_volume(const rpc::Context& context, const std::string& volume_id) {
    if (!is_id(volume_id))
        return no_volume(volume_id);
    return settled(
        "end of the reservation", volume_id, act(context, volume_id, "os-unreserve", Json()));
}

Result<void> Cinder::delete_volume(const rpc::Context& context, const std::string& volume_id) {
    if (!is_id(volume_id))
        return no_volume(volume_id);
    Call call;
    call.method = "DELETE";
    call.path = "/volumes/" + volume_id;
    return settled("deletion", volume_id, ask(context, std::move(call)));
}

Result<Volume> Cinder::volume(const rpc::Context& context, const std::string& volume_id) {
    if (!is_id(volume_id))
        return no_volume(volume_id);
    const auto response = ask_for(context, volume_id);
    NOVALET_TRY(settled("reading", volume_id, response));
    NOVALET_ASSIGN(const Json body, json_of("volume " + volume_id, response));
    return volume_of(volume_id, body);
}

Result<void> Cinder::fail_migration(const rpc::Context& context,
                                    const std::string& old_volume,
                                    const std::string& new_volume) {
    if (!is_id(old_volume))
        return no_volume(old_volume);
    return settled("migration",
                   old_volume,
                   act(context,
                       old_volume,
                       "os-migrate_volume_completion",
                       Json::object().set("new_volume", new_volume).set("error", true)));
}

} // namespace novalet::clients
