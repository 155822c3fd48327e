#include "agent/tasks/ops/console/queries.hpp"

#include "agent/core/text.hpp"

namespace novalet::tasks {
namespace {

InstanceUuid uuid_of(const rpc::Request& request) {
    return InstanceUuid(objects::data_of(request.args["instance"])["uuid"].as_string());
}

/// Last `lines` lines.
std::string last_lines(const std::string& text, std::size_t lines) {
    std::size_t at = text.size();
    if (at > 0 && text[at - 1] == '\n')
        --at;
    for (; at > 0; --at)
        if (text[at - 1] == '\n' && --lines == 0)
            break;
    return lines == 0 ? text.substr(at) : text;
}

/// Bytes that are not ASCII become the replacement character, as Nova decodes the log.
std::string ascii(const std::string& bytes) {
    std::string out;
    for (const char c : bytes)
        if (static_cast<unsigned char>(c) < 128)
            out += c;
        else
            out += "\xef\xbf\xbd";
    return out;
}

} // namespace

Result<Json> get_console_output(Services& services, const rpc::Request& request) {
    NOVALET_ASSIGN(auto log_text, services.hypervisor.console_log(uuid_of(request)));
    const auto& tail = request.args["tail_length"];
    auto wanted = tail.is_integer() ? std::optional<std::int64_t>(tail.as_int())
                                    : to_number<std::int64_t>(tail.as_string());
    if (wanted && *wanted > 0)
        log_text = last_lines(log_text, static_cast<std::size_t>(*wanted));
    else if (wanted && *wanted == 0)
        log_text.clear();
    return Json(ascii(log_text));
}

Result<Json> get_vnc_console(Services& services, const rpc::Request& request) {
    const auto& type = request.args["console_type"].as_string();
    if (!services.options.vnc_enabled)
        return fail_as(
            "ConsoleTypeUnavailable", Code::InvalidArgument, "Unavailable console type vnc.");
    if (type != "novnc")
        return fail_as(
            "ConsoleTypeInvalid", Code::InvalidArgument, cat("Invalid console type ", type));
    auto address = services.hypervisor.vnc(uuid_of(request));
    if (!address && instance_is_gone(address.error()) &&
        objects::data_of(request.args["instance"])["vm_state"].as_string() == "building")
        return fail_as("InstanceNotReady",
                       Code::Conflict,
                       cat("Instance ", uuid_of(request).str(), " is not ready"));
    if (!address)
        return Failure(address.error());
    auto token = services.conductor.make("ConsoleAuthToken");
    token.set("console_type", type);
    token.set("host", address->host);
    token.set("port", address->port);
    token.set("internal_access_path", nullptr);
    token.set("instance_uuid", uuid_of(request).str());
    token.set("access_url_base", services.options.novncproxy_base_url);
    NOVALET_ASSIGN(const auto secret,
                   services.conductor.authorize_console(
                       token, services.options.console_token_ttl, request.context));
    Json out = Json::object();
    out.set("host", address->host);
    out.set("port", address->port);
    out.set("internal_access_path", nullptr);
    out.set("token", secret);
    out.set("access_url",
            cat(services.options.novncproxy_base_url,
                services.options.novncproxy_base_url.find('?') == std::string::npos ? "?" : "&",
                "path=%3Ftoken%3D",
                secret));
    return out;
}

Result<Json> validate_console_port(Services& services, const rpc::Request& request) {
    NOVALET_ASSIGN(const auto address, services.hypervisor.vnc(uuid_of(request)));
    const auto& port = request.args["port"];
    const std::string asked = port.is_string() ? port.as_string() : std::to_string(port.as_int());
    return Json(asked == std::to_string(address.port));
}

Result<Json> get_host_uptime(Services& services, const rpc::Request& /*request*/) {
    NOVALET_ASSIGN(const auto text, services.hypervisor.uptime());
    return Json(text);
}

Result<Json> set_host_enabled(Services& services, const rpc::Request& request) {
    const bool enabled = request.args["enabled"].as_bool();
    NOVALET_TRY(services.resources.set_enabled(enabled));
    return Json(enabled ? "enabled" : "disabled");
}

} // namespace novalet::tasks
