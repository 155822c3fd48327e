// Records of one instance: reading, saving, action events, faults (reference 02 §3, §4).
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"
#include "agent/objects/conductor.hpp"
#include "agent/objects/json_forms.hpp"

#include <algorithm>

namespace novalet::objects {
namespace {

constexpr std::size_t max_message_bytes = 255; // the database's column

/// Fields that `load` gets by another name: they come with the flavor.
bool comes_with_flavor(const std::string& field) {
    return field == "old_flavor" || field == "new_flavor";
}

Json states(const ExpectedStates& allowed) {
    Json list = Json::array();
    for (const auto& state : allowed)
        list.push_back(state ? Json(*state) : Json());
    return list;
}

std::vector<std::string> texts(const Json& list) {
    std::vector<std::string> out;
    out.reserve(list.size());
    for (const auto& item : list.items())
        out.push_back(item.as_string());
    return out;
}

} // namespace

Result<Object> Conductor::get_instance(const std::string& uuid,
                                       const std::vector<std::string>& expected_attrs,
                                       const rpc::Context& context) {
    return get("Instance",
               "get_by_uuid",
               Json::Array{uuid},
               keyword("expected_attrs", text_list(expected_attrs)),
               context);
}

Result<void> Conductor::load(Object& instance,
                             const std::vector<std::string>& fields,
                             const rpc::Context& context) {
    std::vector<std::string> missing;
    std::vector<std::string> asked;
    for (const auto& field : fields) {
        if (instance.is_set(field))
            continue;
        missing.push_back(field);
        const std::string& attribute = comes_with_flavor(field) ? "flavor" : field;
        if (std::find(asked.begin(), asked.end(), attribute) == asked.end())
            asked.push_back(attribute);
    }
    if (missing.empty())
        return {};
    NOVALET_ASSIGN(const auto fresh,
                   get_instance(instance.text("uuid"), asked, context.reading_deleted("yes")));
    for (const auto& field : missing) {
        if (!fresh.is_set(field))
            return fail(Code::Remote,
                        cat("instance ",
                            instance.text("uuid"),
                            ": the conductor did not give the field ",
                            field,
                            " although it was asked for"));
        instance.set_unchanged(field, fresh.get(field));
    }
    return {};
}

Result<void>
Conductor::save_instance(Object& instance, const Expected& expected, const rpc::Context& context) {
    Json kwargs = Json::object();
    if (!expected.task_state.empty())
        kwargs.set("expected_task_state", states(expected.task_state));
    if (!expected.vm_state.empty())
        kwargs.set("expected_vm_state", states(expected.vm_state));
    NOVALET_TRY(action(instance, "save", Json::array(), std::move(kwargs), context));
    return {};
}

Result<void> Conductor::destroy_instance(Object& instance, const rpc::Context& context) {
    return run(instance, "destroy", context);
}

Result<void> Conductor::refresh_instance(Object& instance, const rpc::Context& context) {
    NOVALET_TRY(action(instance, "refresh", Json::array(), keyword("use_slave", false), context));
    return {};
}

Result<std::vector<Object>>
Conductor::instances_by_host(const std::string& host,
                             const std::optional<std::string>& node,
                             const std::vector<std::string>& expected_attrs,
                             const rpc::Context& context) {
    Json::Array args{host};
    if (node)
        args.emplace_back(*node);
    return get_list("InstanceList",
                    node ? "get_by_host_and_node" : "get_by_host",
                    std::move(args),
                    keyword("expected_attrs", text_list(expected_attrs)),
                    context);
}

Result<std::vector<Object>> Conductor::instances_by_filters(
    Json filters, const std::vector<std::string>& expected_attrs, const rpc::Context& context) {
    Json::Array args;
    args.push_back(std::move(filters));
    return get_list("InstanceList",
                    "get_by_filters",
                    std::move(args),
                    keyword("expected_attrs", text_list(expected_attrs)),
                    context);
}

Result<std::vector<std::string>> Conductor::instance_uuids_by_host(const std::string& host,
                                                                   const rpc::Context& context) {
    NOVALET_ASSIGN(
        const Json answer,
        class_action(
            "InstanceList", "get_uuids_by_host", Json::Array{host}, Json::object(), context));
    if (!answer.is_array())
        return fail(Code::Remote,
                    "the conductor answered InstanceList.get_uuids_by_host with no list");
    return texts(answer);
}

Result<void> Conductor::start_event(const std::string& instance_uuid,
                                    const std::string& event,
                                    const std::string& host,
                                    const rpc::Context& context) {
    Json kwargs = keyword("want_result", false);
    kwargs.set("host", host);
    NOVALET_TRY(class_action("InstanceActionEvent",
                             "event_start",
                             Json::Array{instance_uuid, event},
                             std::move(kwargs),
                             context));
    return {};
}

Result<void> Conductor::finish_event(const std::string& instance_uuid,
                                     const std::string& event,
                                     const std::optional<EventFailure>& failure,
                                     const rpc::Context& context) {
    Json kwargs = keyword("want_result", false);
    kwargs.set("exc_val", nullptr);
    kwargs.set("exc_tb", nullptr);
    if (failure) {
        kwargs.set("exc_val", cut_utf8(failure->message, max_message_bytes));
        // A missing traceback is what the conductor takes for success.
        kwargs.set("exc_tb", failure->details.empty() ? failure->message : failure->details);
    }
    NOVALET_TRY(class_action("InstanceActionEvent",
                             "event_finish_with_failure",
                             Json::Array{instance_uuid, event},
                             std::move(kwargs),
                             context));
    return {};
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
    fault.set("message", cut_utf8(message, max_message_bytes));
    fault.set("details", details);
    fault.set("host", host);
    return run(fault, "create", context);
}

// --- networks and block devices

Result<void> Conductor::save_network_info(Object& instance,
                                          const Json& network_info,
                                          const rpc::Context& context) {
    Object cache = Object::from_primitive(instance.get("info_cache"));
    if (!cache.valid())
        cache = make("InstanceInfoCache");
    if (!cache.is_set("instance_uuid"))
        cache.set("instance_uuid", instance.get("uuid"));
    cache.set("network_info", network_info.dump());
    NOVALET_TRY(run(cache, "save", context));
    instance.set_unchanged("info_cache", std::move(cache).to_primitive());
    return {};
}

Result<void> Conductor::create_virtual_interface(const std::string& instance_uuid,
                                                 const std::string& port_id,
                                                 const std::string& mac,
                                                 const Json& tag,
                                                 const rpc::Context& context) {
    Object interface = make("VirtualInterface");
    interface.set("address", cat(mac, '/', port_id));
    interface.set("instance_uuid", instance_uuid);
    interface.set("uuid", port_id);
    interface.set("tag", tag);
    return run(interface, "create", context);
}

Result<std::vector<Object>> Conductor::virtual_interfaces(const std::string& instance_uuid,
                                                          const rpc::Context& context) {
    return get_list("VirtualInterfaceList",
                    "get_by_instance_uuid",
                    Json::Array{instance_uuid},
                    Json::object(),
                    context);
}

Result<void> Conductor::destroy_virtual_interface(Object& interface, const rpc::Context& context) {
    return run(interface, "destroy", context);
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

Result<std::vector<Object>> Conductor::block_devices(const std::string& instance_uuid,
                                                     const rpc::Context& context) {
    return get_list("BlockDeviceMappingList",
                    "get_by_instance_uuid",
                    Json::Array{instance_uuid},
                    Json::object(),
                    context);
}

Result<void> Conductor::save_block_device(Object& mapping, const rpc::Context& context) {
    return run(mapping, "save", context);
}

Result<void> Conductor::destroy_block_device(Object& mapping, const rpc::Context& context) {
    return run(mapping, "destroy", context);
}

// --- consoles and server groups

Result<std::string>
Conductor::authorize_console(Object& token, Seconds time_to_live, const rpc::Context& context) {
    NOVALET_ASSIGN(
        const Json answer,
        action(token, "authorize", Json::Array{time_to_live.count()}, Json::object(), context));
    if (answer.as_string().empty())
        return fail(Code::Remote, "the conductor authorized a console without giving a token");
    return answer.as_string();
}

Result<void> Conductor::clean_console_tokens(const std::string& instance_uuid,
                                             const rpc::Context& context) {
    NOVALET_TRY(class_action("ConsoleAuthToken",
                             "clean_console_auths_for_instance",
                             Json::Array{instance_uuid},
                             Json::object(),
                             context));
    return {};
}

Result<void> Conductor::clean_expired_console_tokens(const rpc::Context& context) {
    NOVALET_TRY(class_action(
        "ConsoleAuthToken", "clean_expired_console_auths", Json::array(), Json::object(), context));
    return {};
}

Result<Object> Conductor::group_of_instance(const std::string& instance_uuid,
                                            const rpc::Context& context) {
    return get("InstanceGroup",
               "get_by_instance_uuid",
               Json::Array{instance_uuid},
               Json::object(),
               context);
}

Result<Object> Conductor::group_by_hint(const std::string& hint, const rpc::Context& context) {
    return get("InstanceGroup",
               is_uuid(hint) ? "get_by_uuid" : "get_by_name",
               Json::Array{hint},
               Json::object(),
               context);
}

Result<std::vector<std::string>> Conductor::group_hosts(Object& group,
                                                        const std::vector<std::string>& exclude,
                                                        const rpc::Context& context) {
    NOVALET_ASSIGN(
        const Json answer,
        action(group, "get_hosts", Json::array(), keyword("exclude", text_list(exclude)), context));
    return texts(answer);
}

} // namespace novalet::objects
