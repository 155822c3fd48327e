#include "agent/telemetry/notifications.hpp"

#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"

#include <utility>

namespace novalet::telemetry {
namespace {

constexpr const char* error_priority = "ERROR";

/// Data of a nested object; null when there is none.
const Json& data_of(const Json& object) {
    return object["nova_object.data"];
}

Json versioned_object(const char* name, const char* version, Json data) {
    Json object;
    object.set("nova_object.name", name)
        .set("nova_object.namespace", "nova")
        .set("nova_object.version", version)
        .set("nova_object.data", std::move(data));
    return object;
}

Json text_or_null(const std::string& text) {
    return text.empty() ? Json() : Json(text);
}

Json text_or_empty(const Json& value) {
    return value.is_null() ? Json("") : value;
}

/// 2026-11-21T04:28:56Z → 2026-11-21T04:28:56.000000; nothing → "".
Json legacy_time(const Json& iso) {
    std::string text = iso.as_string();
    if (text.ends_with('Z'))
        text.replace(text.size() - 1, 1, ".000000");
    return text;
}

/// The same as Python writes a datetime: 2026-11-21 04:28:56+00:00; nothing → "None".
Json python_time(const Json& iso) {
    std::string text = iso.as_string();
    if (text.empty())
        return "None";
    if (const auto letter = text.find('T'); letter != std::string::npos)
        text[letter] = ' ';
    if (text.ends_with('Z'))
        text.replace(text.size() - 1, 1, "+00:00");
    return text;
}

std::string
event_of(const std::string& prefix, const std::string& action, const std::string& phase) {
    return phase.empty() ? cat(prefix, action) : cat(prefix, action, '.', phase);
}

/// Calls f(vif, ip) for each fixed address.
template <class F> void each_address(const Json& network_info, F&& f) {
    for (const auto& vif : network_info.items())
        for (const auto& subnet : vif["network"]["subnets"].items())
            for (const auto& ip : subnet["ips"].items())
                f(vif, ip);
}

Json image_meta(const Json& system_metadata) {
    constexpr std::string_view prefix = "image_";
    Json meta = Json::object();
    for (const auto& [key, value] : system_metadata.members())
        if (key.starts_with(prefix))
            meta.set(std::string_view(key).substr(prefix.size()), value);
    return meta;
}

Json legacy_addresses(const Json& network_info) {
    Json list = Json::array();
    each_address(network_info, [&](const Json& vif, Json ip) {
        ip.set("label", vif["network"]["label"]).set("vif_mac", vif["address"]);
        list.push_back(std::move(ip));
    });
    return list;
}

void add_legacy_flavor(Json& payload, const Json& flavor) {
    payload.set("instance_type", flavor["name"])
        .set("instance_flavor_id", flavor["flavorid"])
        .set("memory_mb", flavor["memory_mb"])
        .set("vcpus", flavor["vcpus"])
        .set("root_gb", flavor["root_gb"])
        .set("ephemeral_gb", flavor["ephemeral_gb"])
        .set("disk_gb", flavor["root_gb"].as_int() + flavor["ephemeral_gb"].as_int());
}

/// Failures of our own have no class of Nova's; its base class says as much.
std::string class_of(const Error& error) {
    return error.exception.empty() ? "NovaException" : error.exception;
}

Json legacy_payload(const InstanceNews& news) {
    const Json& instance = news.instance;
    Json payload = Json::object();
    for (const char* same : {"user_id",
                             "display_name",
                             "reservation_id",
                             "hostname",
                             "instance_type_id",
                             "architecture",
                             "host",
                             "node",
                             "availability_zone",
                             "os_type",
                             "kernel_id",
                             "ramdisk_id",
                             "access_ip_v4",
                             "access_ip_v6"})
        payload.set(same, instance[same]);
    payload.set("tenant_id", instance["project_id"])
        .set("instance_id", instance["uuid"])
        .set("cell_name", text_or_empty(instance["cell_name"]))
        .set("created_at", python_time(instance["created_at"]))
        .set("terminated_at", legacy_time(instance["terminated_at"]))
        .set("deleted_at", legacy_time(instance["deleted_at"]))
        .set("launched_at", legacy_time(instance["launched_at"]))
        .set("image_ref_url", news.image_url)
        .set("state", instance["vm_state"])
        .set("state_description", text_or_empty(instance["task_state"]))
        .set("progress",
             instance["progress"].as_int() != 0 ? Json(instance["progress"].as_int()) : Json(""))
        .set("image_meta", image_meta(instance["system_metadata"]))
        .set("metadata", instance["metadata"].is_object() ? instance["metadata"] : Json::object());
    add_legacy_flavor(payload, data_of(instance["flavor"]));
    if (!news.network_info.is_null())
        payload.set("fixed_ips", legacy_addresses(news.network_info));
    for (const auto& [key, value] : news.extra.members())
        payload.set(key, value);
    if (news.error) {
        const auto& error = *news.error;
        // Nova has Python's rendering of the exception object here; class and text is what it says.
        payload.set("exception", cat(class_of(error), ": ", error.text))
            .set("message", cut_utf8(error.text, 255))
            .set("code", 500);
    }
    return payload;
}

const char* power_state_name(std::int64_t number) {
    switch (number) { // reference 03 §1.1
    case 1:
        return "running";
    case 3:
        return "paused";
    case 4:
        return "shutdown";
    case 6:
        return "crashed";
    case 7:
        return "suspended";
    default:
        return "pending";
    }
}

Json flavor_payload(const Json& flavor) {
    Json data = Json::object();
    for (const char* field : {"flavorid",
                              "memory_mb",
                              "vcpus",
                              "root_gb",
                              "ephemeral_gb",
                              "name",
                              "swap",
                              "rxtx_factor",
                              "vcpu_weight",
                              "disabled",
                              "is_public",
                              "extra_specs",
                              "projects",
                              "description"})
        data.set(field, flavor[field]);
    return versioned_object("FlavorPayload", "1.4", std::move(data));
}

/// The list of the info cache is JSON inside of a text.
Json address_payloads(const Json& instance) {
    Json list = Json::array();
    const auto cached =
        Json::parse(data_of(instance["info_cache"])["network_info"].as_string("[]"));
    if (!cached)
        return list;
    each_address(*cached, [&](const Json& vif, const Json& ip) {
        Json data;
        data.set("label", vif["network"]["label"])
            .set("mac", vif["address"])
            .set("meta", vif["meta"].is_object() ? vif["meta"] : Json::object())
            .set("port_uuid", vif["id"])
            .set("version", ip["version"])
            .set("address", ip["address"])
            .set("device_name", vif["devname"]);
        list.push_back(versioned_object("IpPayload", "1.0", std::move(data)));
    });
    return list;
}

/// Volumes only, as Nova tells them.
Json block_device_payloads(const Json& mappings) {
    if (mappings.is_null())
        return {};
    Json list = Json::array();
    for (const auto& mapping : mappings.items()) {
        if (mapping["volume_id"].is_null())
            continue;
        Json data;
        for (const char* field :
             {"device_name", "boot_index", "delete_on_termination", "volume_id", "tag"})
            data.set(field, mapping[field]);
        list.push_back(versioned_object("BlockDevicePayload", "1.0", std::move(data)));
    }
    return list;
}

Json exception_payload(const Error& error, const std::string& where) {
    const auto dot = where.rfind('.');
    Json data;
    data.set("module_name", dot == std::string::npos ? "novalet" : where.substr(0, dot))
        .set("function_name", where.substr(dot + 1)) // npos + 1 is 0
        .set("exception", class_of(error))
        .set("exception_message", error.text)
        .set("traceback", cat(class_of(error), ": ", error.text));
    return versioned_object("ExceptionPayload", "1.1", std::move(data));
}

Json instance_payload(const InstanceNews& news, const Actor& actor) {
    static const std::pair<const char*, const char*> fields[] = {
        {"uuid", "uuid"},
        {"user_id", "user_id"},
        {"tenant_id", "project_id"},
        {"reservation_id", "reservation_id"},
        {"display_name", "display_name"},
        {"display_description", "display_description"},
        {"host_name", "hostname"},
        {"host", "host"},
        {"node", "node"},
        {"os_type", "os_type"},
        {"architecture", "architecture"},
        {"availability_zone", "availability_zone"},
        {"image_uuid", "image_ref"},
        {"key_name", "key_name"},
        {"kernel_id", "kernel_id"},
        {"ramdisk_id", "ramdisk_id"},
        {"created_at", "created_at"},
        {"launched_at", "launched_at"},
        {"terminated_at", "terminated_at"},
        {"deleted_at", "deleted_at"},
        {"updated_at", "updated_at"},
        {"state", "vm_state"},
        {"task_state", "task_state"},
        {"progress", "progress"}};
    const Json& instance = news.instance;
    Json data = Json::object();
    for (const auto& [to, from] : fields)
        data.set(to, instance[from]);
    const bool asked = !actor.user_id.empty() && !actor.project_id.empty();
    data.set("power_state",
             instance["power_state"].is_null()
                 ? Json()
                 : Json(power_state_name(instance["power_state"].as_int())))
        .set("metadata", instance["metadata"].is_object() ? instance["metadata"] : Json::object())
        .set("locked", instance["locked"].as_bool())
        .set("locked_reason", instance["system_metadata"]["locked_reason"])
        .set("auto_disk_config", instance["auto_disk_config"].as_bool() ? "AUTO" : "MANUAL")
        .set("flavor", flavor_payload(data_of(instance["flavor"])))
        .set("ip_addresses", address_payloads(instance))
        .set("block_devices", block_device_payloads(news.block_devices))
        .set("request_id", asked ? text_or_null(actor.request_id) : Json())
        .set("action_initiator_user", text_or_null(actor.user_id))
        .set("action_initiator_project", text_or_null(actor.project_id))
        .set("fault", news.error ? exception_payload(*news.error, news.where) : Json());
    return data;
}

void add_create_fields(Json& data, const InstanceNews& news) {
    Json keypairs = Json::array();
    for (const auto& item : data_of(news.instance["keypairs"])["objects"].items()) {
        const Json& keypair = data_of(item);
        Json one;
        for (const char* field : {"user_id", "name", "public_key", "fingerprint", "type"})
            one.set(field, keypair[field]);
        keypairs.push_back(versioned_object("KeypairPayload", "1.0", std::move(one)));
    }
    Json tags = Json::array();
    for (const auto& item : data_of(news.instance["tags"])["objects"].items())
        tags.push_back(data_of(item)["tag"]);
    data.set("keypairs", std::move(keypairs))
        .set("tags", std::move(tags))
        .set("trusted_image_certificates", data_of(news.instance["trusted_certs"])["ids"])
        .set("instance_name", text_or_null(news.instance_name));
}

Notification envelope(std::string publisher,
                      std::string event,
                      std::string priority,
                      Json payload,
                      const Clock& clock) {
    std::string timestamp = to_iso_micro(clock.wall());
    timestamp[timestamp.find('T')] = ' ';
    Notification notification{std::move(priority), Json::object()};
    notification.body.set("message_id", new_uuid())
        .set("publisher_id", std::move(publisher))
        .set("event_type", std::move(event))
        .set("priority", notification.priority)
        .set("payload", std::move(payload))
        .set("timestamp", std::move(timestamp));
    return notification;
}

} // namespace

Notification unversioned(const InstanceNews& news,
                         const std::string& host,
                         const std::string& level,
                         const Clock& clock) {
    const auto& action = news.legacy_action.empty() ? news.action : news.legacy_action;
    const auto event = event_of("compute.instance.", action, news.phase);
    return envelope(cat("compute.", host),
                    event,
                    event.ends_with("error") ? error_priority : level,
                    legacy_payload(news),
                    clock);
}

Notification versioned(const InstanceNews& news,
                       const Actor& actor,
                       const std::string& host,
                       const Clock& clock) {
    Json data = instance_payload(news, actor);
    const bool create = news.action == "create";
    if (create)
        add_create_fields(data, news);
    return envelope(cat("nova-compute:", host),
                    event_of("instance.", news.action, news.phase),
                    news.error ? error_priority : "INFO",
                    versioned_object(create ? "InstanceCreatePayload" : "InstanceActionPayload",
                                     create ? "1.12" : "1.8",
                                     std::move(data)),
                    clock);
}

} // namespace novalet::telemetry
