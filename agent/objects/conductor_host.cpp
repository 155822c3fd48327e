// Records of the host (Service, ComputeNode, Migration) and casts (reference 02 §4, 04 §4).
#include "agent/objects/conductor.hpp"
#include "agent/objects/json_forms.hpp"

namespace novalet::objects {

Result<Object> Conductor::service(const std::string& host,
                                  const std::string& binary,
                                  const rpc::Context& context) {
    NOVALET_ASSIGN(Json answer,
                   class_action("Service",
                                "get_by_host_and_binary",
                                Json::Array{host, binary},
                                Json::object(),
                                context));
    if (answer.is_null())
        return Object();
    return Object::parse(std::move(answer), "Service");
}

Result<Object> Conductor::service_of_compute_host(const std::string& host,
                                                  const rpc::Context& context) {
    return get("Service", "get_by_compute_host", Json::Array{host}, Json::object(), context);
}

Result<std::vector<Object>> Conductor::services(const std::string& binary,
                                                const rpc::Context& context) {
    return get_list("ServiceList",
                    "get_by_binary",
                    Json::Array{binary},
                    keyword("include_disabled", true),
                    context);
}

Result<void> Conductor::create_service(Object& service, const rpc::Context& context) {
    return run(service, "create", context);
}

Result<void> Conductor::save_service(Object& service, const rpc::Context& context) {
    return run(service, "save", context);
}

Result<void> Conductor::report_alive(Object& service, const rpc::Context& context) {
    // last_seen_up moves only when the count is above the stored one (reference 02 §4).
    service.set("report_count", service.get("report_count").as_int() + 1);
    return run(service, "save", context);
}

Result<int> Conductor::minimum_service_version(const std::string& binary,
                                               const rpc::Context& context) {
    NOVALET_ASSIGN(
        const Json answer,
        class_action(
            "Service", "get_minimum_version", Json::Array{binary}, Json::object(), context));
    return static_cast<int>(answer.as_int());
}

Result<Object> Conductor::compute_node(const std::string& host,
                                       const std::string& nodename,
                                       const rpc::Context& context) {
    return get("ComputeNode",
               "get_by_host_and_nodename",
               Json::Array{host, nodename},
               Json::object(),
               context);
}

Result<Object> Conductor::compute_node_by_nodename(const std::string& nodename,
                                                   const rpc::Context& context) {
    return get("ComputeNode", "get_by_nodename", Json::Array{nodename}, Json::object(), context);
}

Result<Object> Conductor::compute_node_by_uuid(const std::string& uuid,
                                               const rpc::Context& context) {
    return get("ComputeNode", "get_by_uuid", Json::Array{uuid}, Json::object(), context);
}

Result<std::vector<Object>> Conductor::compute_nodes(const std::vector<std::string>& uuids,
                                                     const rpc::Context& context) {
    Json::Array args;
    args.push_back(text_list(uuids));
    return get_list(
        "ComputeNodeList", "get_all_by_uuids", std::move(args), Json::object(), context);
}

Result<std::vector<Object>> Conductor::compute_nodes_by_host(const std::string& host,
                                                             const rpc::Context& context) {
    auto nodes =
        get_list("ComputeNodeList", "get_all_by_host", Json::Array{host}, Json::object(), context);
    if (!nodes && nodes.error().exception == "ComputeHostNotFound")
        return std::vector<Object>();
    return nodes;
}

Result<void> Conductor::create_compute_node(Object& node, const rpc::Context& context) {
    return run(node, "create", context);
}

Result<void> Conductor::save_compute_node(Object& node, const rpc::Context& context) {
    return run(node, "save", context);
}

Result<std::vector<Object>> Conductor::migrations_in_progress(const std::string& host,
                                                              const std::string& node,
                                                              const rpc::Context& context) {
    return get_list("MigrationList",
                    "get_in_progress_and_error",
                    Json::Array{host, node},
                    Json::object(),
                    context);
}

Result<std::vector<Object>> Conductor::migrations_by_filters(Json filters,
                                                             const rpc::Context& context) {
    Json::Array args;
    args.push_back(std::move(filters));
    return get_list("MigrationList", "get_by_filters", std::move(args), Json::object(), context);
}

Result<void> Conductor::save_migration(Object& migration, const rpc::Context& context) {
    return run(migration, "save", context);
}

// --- casts

Result<void> Conductor::fan_out(const std::string& method, Json args, const rpc::Context& context) {
    return bus_.cast({"scheduler", "", "", "4.2", true}, method, std::move(args), context);
}

Result<void>
Conductor::reschedule_build(Json args, const rpc::Context& context, const std::string& message_id) {
    return bus_.cast({"conductor", "", "compute_task", "1.19", false, message_id},
                     "build_instances",
                     std::move(args),
                     context);
}

Result<void> Conductor::tell_scheduler_instance(const std::string& host,
                                                const Object& instance,
                                                const rpc::Context& context) {
    Object list = make("InstanceList");
    list.set("objects", Json::Array{instance.to_primitive()});
    Json args = keyword("host_name", host);
    args.set("instance_info", std::move(list).to_primitive());
    return fan_out("update_instance_info", std::move(args), context);
}

Result<void> Conductor::tell_scheduler_instances(const std::string& host,
                                                 const std::vector<Object>& instances,
                                                 const rpc::Context& context) {
    Json::Array elements;
    elements.reserve(instances.size());
    for (const auto& instance : instances)
        elements.push_back(instance.to_primitive());
    Object list = make("InstanceList");
    list.set("objects", std::move(elements));
    Json args = keyword("host_name", host);
    args.set("instance_info", std::move(list).to_primitive());
    return fan_out("update_instance_info", std::move(args), context);
}

Result<void> Conductor::tell_scheduler_deleted(const std::string& host,
                                               const std::string& instance_uuid,
                                               const rpc::Context& context) {
    Json args = keyword("host_name", host);
    args.set("instance_uuid", instance_uuid);
    return fan_out("delete_instance_info", std::move(args), context);
}

Result<void> Conductor::sync_scheduler(const std::string& host,
                                       const std::vector<std::string>& instance_uuids,
                                       const rpc::Context& context) {
    Json args = keyword("host_name", host);
    args.set("instance_uuids", text_list(instance_uuids));
    return fan_out("sync_instance_info", std::move(args), context);
}

} // namespace novalet::objects
