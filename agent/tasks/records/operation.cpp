#include "agent/tasks/records/operation.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

namespace novalet::tasks {
namespace {

constexpr std::size_t fault_message_bytes = 255; // InstanceFault.message column

Json expectation(const std::vector<TaskState>& expected) {
    Json list = Json::array();
    for (const auto& state : expected)
        list.push_back(state ? Json(*state) : Json());
    return list;
}

Result<void> start_event(const OperationHost& host,
                         const rpc::Context& context,
                         const std::string& uuid,
                         const std::string& event) {
    Json kwargs = Json::object();
    kwargs.set("want_result", false);
    kwargs.set("host", host.host);
    NOVALET_TRY(host.conductor.class_action(
        "InstanceActionEvent", "event_start", Json::Array{uuid, event}, kwargs, context));
    return {};
}

void finish_event(const OperationHost& host,
                  const rpc::Context& context,
                  const std::string& uuid,
                  const std::string& event,
                  const Error* error) {
    Json kwargs = Json::object();
    kwargs.set("exc_val", error != nullptr ? Json(fault_message(*error)) : Json());
    // A null traceback means success to the conductor, so a failure always has a text.
    kwargs.set("exc_tb", error != nullptr ? Json(error->text) : Json());
    kwargs.set("want_result", false);
    const auto finished = host.conductor.class_action("InstanceActionEvent",
                                                      "event_finish_with_failure",
                                                      Json::Array{uuid, event},
                                                      kwargs,
                                                      context);
    if (!finished && !instance_is_gone(finished.error()))
        log::warning("the action event could not be finished",
                     {{"event", event}, {"error", finished.error().text}});
}

void revert_task_state(const OperationHost& host,
                       const rpc::Context& context,
                       objects::Object& instance) {
    instance.set("task_state", nullptr);
    const auto saved = save_instance(host, context, instance);
    if (!saved && !instance_is_gone(saved.error()))
        log::error("task_state could not be reset; the server stays locked until it is",
                   {{"error", saved.error().text}});
}

bool is_unexpected_task_state(const Error& error) {
    return error.exception == "UnexpectedTaskStateError" ||
           error.exception == "UnexpectedDeletingTaskStateError";
}

int fault_code(const Error& error) {
    switch (error.code) {
    case Code::NotFound:
        return 404;
    case Code::InvalidArgument:
        return 400;
    case Code::Conflict:
        return 409;
    case Code::Unauthorized:
        return 403;
    default:
        return 500;
    }
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
    return error.exception == "MessagingTimeout" || error.exception == "MessageDeliveryFailure";
}

Json cached_network_info(const objects::Object& instance) {
    auto parsed = Json::parse(instance.child("info_cache")["network_info"].as_string());
    return parsed && parsed->is_array() ? std::move(*parsed) : Json::array();
}

std::string fault_message(const Error& error) {
    return cut_utf8(error.text.empty() ? error.exception : error.text, fault_message_bytes);
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

void record_fault(const OperationHost& host,
                  const rpc::Context& context,
                  const std::string& instance_uuid,
                  const Error& error) {
    const int code = fault_code(error);
    const auto created = host.conductor.create_fault(instance_uuid,
                                                     code,
                                                     fault_message(error),
                                                     code == 500 ? error.text : std::string(),
                                                     host.host,
                                                     context);
    if (!created && !instance_is_gone(created.error()))
        log::warning("the fault could not be recorded", {{"error", created.error().text}});
}

Result<Json> with_records(const OperationHost& host,
                          const rpc::Context& context,
                          objects::Object& instance,
                          const Records& records,
                          const std::function<Result<Json>()>& body) {
    const std::string uuid = instance.get("uuid").as_string();
    if (!records.event.empty() && !records.event_already_started) {
        const auto started = start_event(host, context, uuid, records.event);
        if (!started) { // Nova resets the task around the event: the server must not stay locked
            if (records.reverts_task_state && !control_plane_unreachable(started.error()) &&
                !instance_is_gone(started.error()))
                revert_task_state(host, context, instance);
            return Failure(started.error());
        }
    }
    auto result = body();
    if (result) {
        if (!records.event.empty())
            finish_event(host, context, uuid, records.event, nullptr);
        return result;
    }
    const Error& error = result.error();
    if (control_plane_unreachable(error))
        return result;
    if (records.fault && !instance_is_gone(error))
        record_fault(host, context, uuid, error);
    if (!records.event.empty())
        finish_event(host, context, uuid, records.event, &error);
    if (records.reverts_task_state && !is_unexpected_task_state(error) && !instance_is_gone(error))
        revert_task_state(host, context, instance);
    return result;
}

} // namespace novalet::tasks
