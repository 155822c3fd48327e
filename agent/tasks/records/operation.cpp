#include "agent/tasks/records/operation.hpp"

#include "agent/core/log.hpp"
#include "agent/tasks/records/nova_exceptions.hpp"
#include "hypervisor/hypervisor.hpp"

namespace novalet::tasks {
namespace {

Json expectation(const std::vector<TaskState>& expected) {
    Json list = Json::array();
    for (const auto& state : expected)
        list.push_back(state ? Json(*state) : Json());
    return list;
}

} // namespace

bool instance_is_gone(const Error& error) {
    return error.exception == "InstanceNotFound";
}

void warn(const char* what, const Result<void>& result) {
    if (!result && !instance_is_gone(result.error()))
        log::warning(what, {{"error", result.error().text}});
}

bool control_plane_unreachable(const Error& error) {
    return family_of(error) == Family::Unreachable;
}

bool hypervisor_unreachable(const Error& error) {
    return hypervisor::link_lost(error);
}

bool waits_for_peer(const Error& error) {
    return control_plane_unreachable(error) || hypervisor_unreachable(error);
}

Result<void> or_warn(const char* what, Result<void> result) {
    if (!result && waits_for_peer(result.error()))
        return result;
    warn(what, result);
    return {};
}

Json cached_network_info(const objects::Object& instance) {
    auto parsed = Json::parse(instance.child("info_cache")["network_info"].as_string());
    return parsed && parsed->is_array() ? std::move(*parsed) : Json::array();
}

objects::EventFailure event_failure(const Error& error) {
    auto texts = event_of(error);
    return {std::move(texts.exc_val), std::move(texts.exc_tb)};
}

Result<void> save_instance(const OperationHost& host,
                           const rpc::Context& context,
                           objects::Object& instance,
                           const std::vector<TaskState>& expected) {
    Json kwargs = Json::object();
    if (!expected.empty())
        kwargs.set("expected_task_state", expectation(expected));
    NOVALET_TRY(host.conductor.action(instance, "save", Json::array(), kwargs, context));
    return {};
}

Result<void> record_fault(const OperationHost& host,
                          const rpc::Context& context,
                          const std::string& instance_uuid,
                          const Error& error) {
    const FaultTexts fault = fault_of(error);
    auto created = host.conductor.create_fault(
        instance_uuid, fault.code, fault.message, fault.details, host.host, context);
    if (!created && instance_is_gone(created.error()))
        return {};
    return created;
}

} // namespace novalet::tasks
