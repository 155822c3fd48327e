#include "agent/objects/conductor.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

namespace novalet::objects {
namespace {

const rpc::Target conductor_target{"conductor", "", "", "3.0", false};

Json strings(const std::vector<std::string>& list) {
    Json out = Json::array();
    for (const auto& text : list)
        out.push_back(text);
    return out;
}

rpc::Target scheduler_fanout() {
    return {"scheduler", "", "", "4.2", true};
}

} // namespace

Conductor::Conductor(rpc::Caller& bus, Release release, Milliseconds timeout)
    : bus_(bus), timeout_(timeout), release_(std::make_shared<const Release>(std::move(release))) {}

Release Conductor::release() const {
    const std::lock_guard lock(mutex_);
    return *release_;
}

void Conductor::adopt(Release release) {
    auto next = std::make_shared<const Release>(std::move(release));
    const std::lock_guard lock(mutex_);
    release_ = std::move(next);
}

Object Conductor::make(const std::string& object) const {
    const std::lock_guard lock(mutex_);
    return {object, release_->version_of(object)};
}

Result<Json> Conductor::call(const std::string& method, Json args, const rpc::Context& context) {
    return bus_.call(conductor_target, method, std::move(args), context, {timeout_, {}});
}

Result<void> Conductor::wait_until_alive(const std::stop_token& stop) {
    constexpr Milliseconds short_wait{10000};
    constexpr unsigned short_tries = 10; // nova/conductor/api.py wait_until_ready
    for (unsigned attempt = 0; !stop.stop_requested(); ++attempt) {
        Json args = Json::object();
        args.set("arg", "1.21 GigaWatts");
        const auto answer = bus_.call({"conductor", "", "baseapi", "1.0", false},
                                      "ping",
                                      std::move(args),
                                      rpc::Context::admin(),
                                      {attempt < short_tries ? short_wait : timeout_, {}});
        if (answer)
            return {};
        log::warning("waiting for nova-conductor to answer on the message bus",
                     {{"attempt", attempt + 1}, {"error", answer.error().text}});
    }
    return fail(Code::Cancelled, "stopped while waiting for nova-conductor");
}

Result<Json> Conductor::class_action(const std::string& object,
                                     const std::string& method,
                                     Json args,
                                     Json kwargs,
                                     const rpc::Context& context) {
    Json versions = Json::object();
    for (const auto& [name, version] : release().manifest(object))
        versions.set(name, version);
    Json request = Json::object();
    request.set("objname", object);
    request.set("objmethod", method);
    request.set("object_versions", std::move(versions));
    request.set("args", std::move(args));
    request.set("kwargs", std::move(kwargs));
    return call("object_class_action_versions", std::move(request), context);
}

Result<Json> Conductor::action(Object& object,
                               const std::string& method,
                               Json args,
                               Json kwargs,
                               const rpc::Context& context) {
    Json request = Json::object();
    request.set("objinst", object.to_primitive());
    request.set("objmethod", method);
    request.set("args", std::move(args));
    request.set("kwargs", std::move(kwargs));
    NOVALET_ASSIGN(const Json answer, call("object_action", std::move(request), context));
    if (!answer.is_array() || answer.size() != 2)
        return fail(Code::Remote,
                    cat("the conductor answered ",
                        object.name(),
                        '.',
                        method,
                        " with something else than [updates, result]"));
    object.apply_updates(answer.at(0));
    return answer.at(1);
}

Result<std::string> Conductor::probe_version(const std::string& object,
                                             const std::string& impossible,
                                             const rpc::Context& context) {
    Json versions = Json::object();
    versions.set(object, impossible);
    Json request = Json::object();
    request.set("objname", object);
    request.set("objmethod", "obj_name");
    request.set("object_versions", std::move(versions));
    request.set("args", Json::array());
    request.set("kwargs", Json::object());
    const auto answer = call("object_class_action_versions", std::move(request), context);
    if (answer)
        return fail(Code::Remote, cat("version ", impossible, " of ", object, " was accepted"));
    static const std::string marker = "supported version is ";
    const auto& text = answer.error().text;
    const auto at = text.find(marker);
    if (answer.error().exception != "IncompatibleObjectVersion" || at == std::string::npos)
        return Failure(answer.error());
    const auto begin = at + marker.size();
    return text.substr(begin, text.find_first_not_of("0123456789.", begin) - begin);
}

Result<std::vector<Object>> Conductor::list(Result<Json> answer) const {
    if (!answer)
        return Failure(answer.error());
    std::vector<Object> objects;
    for (const auto& item : (*answer)["nova_object.data"]["objects"].items())
        objects.push_back(Object::from_primitive(item));
    return objects;
}

Result<Object> Conductor::get_instance(const std::string& uuid,
                                       const std::vector<std::string>& expected_attrs,
                                       const rpc::Context& context) {
    Json kwargs = Json::object();
    kwargs.set("expected_attrs", strings(expected_attrs));
    NOVALET_ASSIGN(
        const Json answer,
        class_action("Instance", "get_by_uuid", Json::Array{uuid}, std::move(kwargs), context));
    return Object::parse(answer, "Instance");
}

Result<std::vector<Object>>
Conductor::instances_by_host(const std::string& host,
                             const std::optional<std::string>& node,
                             const std::vector<std::string>& expected_attrs,
                             const rpc::Context& context) {
    Json kwargs = Json::object();
    kwargs.set("expected_attrs", strings(expected_attrs));
    Json::Array args{host};
    if (node)
        args.emplace_back(*node);
    return list(class_action("InstanceList",
                             node ? "get_by_host_and_node" : "get_by_host",
                             std::move(args),
                             std::move(kwargs),
                             context));
}

Result<std::vector<Object>> Conductor::block_devices(const std::string& instance_uuid,
                                                     const rpc::Context& context) {
    return list(class_action("BlockDeviceMappingList",
                             "get_by_instance_uuid",
                             Json::Array{instance_uuid},
                             Json::object(),
                             context));
}

Result<void> Conductor::create_fault(const std::string& instance_uuid,
                                     int code,
                                     const std::string& message,
                                     const std::string& details,
                                     const std::string& host,
                                     const rpc::Context& context) {
    Object fault = make("InstanceFault");
    fault.set("instance_uuid", instance_uuid);
    fault.set("code", code);
    fault.set("message", message);
    fault.set("details", details);
    fault.set("host", host);
    NOVALET_TRY(action(fault, "create", Json::array(), Json::object(), context));
    return {};
}

Result<void> Conductor::save_network_info(Object& instance,
                                          const Json& network_info,
                                          const rpc::Context& context) {
    Object cache = Object::from_primitive(instance.get("info_cache"));
    if (!cache.valid()) {
        cache = make("InstanceInfoCache");
        cache.set("instance_uuid", instance.get("uuid"));
    }
    cache.set("network_info", network_info.dump());
    NOVALET_TRY(action(cache, "save", Json::array(), Json::object(), context));
    cache.clear_changes();
    instance.set_unchanged("info_cache", cache.to_primitive());
    return {};
}

Result<void> Conductor::create_virtual_interface(const std::string& instance_uuid,
                                                 const std::string& port_id,
                                                 const std::string& mac,
                                                 const Json& tag,
                                                 const rpc::Context& context) {
    Object vif = make("VirtualInterface");
    vif.set("address", cat(mac, '/', port_id));
    vif.set("instance_uuid", instance_uuid);
    vif.set("uuid", port_id);
    vif.set("tag", tag);
    NOVALET_TRY(action(vif, "create", Json::array(), Json::object(), context));
    return {};
}

Result<void> Conductor::delete_virtual_interfaces(const std::string& instance_uuid,
                                                  const rpc::Context& context) {
    NOVALET_TRY(class_action("VirtualInterface",
                             "delete_by_instance_uuid",
                             Json::Array{instance_uuid},
                             Json::object(),
                             context));
    return {};
}

Result<Object> Conductor::service(const std::string& host,
                                  const std::string& binary,
                                  const rpc::Context& context) {
    NOVALET_ASSIGN(const Json answer,
                   class_action("Service",
                                "get_by_host_and_binary",
                                Json::Array{host, binary},
                                Json::object(),
                                context));
    return Object::from_primitive(answer);
}

Result<std::vector<Object>> Conductor::services(const std::string& binary,
                                                const rpc::Context& context) {
    Json kwargs = Json::object();
    kwargs.set("include_disabled", true);
    return list(class_action(
        "ServiceList", "get_by_binary", Json::Array{binary}, std::move(kwargs), context));
}

Result<int> Conductor::minimum_service_version(const std::string& binary,
                                               const rpc::Context& context) {
    NOVALET_ASSIGN(
        const Json answer,
        class_action(
            "Service", "get_minimum_version", Json::Array{binary}, Json::object(), context));
    return static_cast<int>(answer.as_int());
}

Result<void> Conductor::reschedule_build(Json args, const rpc::Context& context) {
    return bus_.cast({"conductor", "", "compute_task", "1.19", false},
                     "build_instances",
                     std::move(args),
                     context);
}

Result<void> Conductor::tell_scheduler_instance(const std::string& host,
                                                const Object& instance,
                                                const rpc::Context& context) {
    Object instances = make("InstanceList");
    instances.set("objects", Json::Array{instance.to_primitive()});
    Json args = Json::object();
    args.set("host_name", host);
    args.set("instance_info", instances.to_primitive());
    return bus_.cast(scheduler_fanout(), "update_instance_info", std::move(args), context);
}

Result<void> Conductor::tell_scheduler_deleted(const std::string& host,
                                               const std::string& instance_uuid,
                                               const rpc::Context& context) {
    Json args = Json::object();
    args.set("host_name", host);
    args.set("instance_uuid", instance_uuid);
    return bus_.cast(scheduler_fanout(), "delete_instance_info", std::move(args), context);
}

Result<void> Conductor::sync_scheduler(const std::string& host,
                                       const std::vector<std::string>& instance_uuids,
                                       const rpc::Context& context) {
    Json args = Json::object();
    args.set("host_name", host);
    args.set("instance_uuids", strings(instance_uuids));
    return bus_.cast(scheduler_fanout(), "sync_instance_info", std::move(args), context);
}

} // namespace novalet::objects
