// What becomes of a server whose build failed, after its steps were undone.
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/objects/remote_error.hpp"
#include "agent/tasks/ops/build/build.hpp"
#include "agent/tasks/ops/build/build_outcome.hpp"

namespace novalet::tasks {

/// task_states of a build: any other one is that of a delete which came meanwhile.
std::vector<TaskState> BuildInstance::building() {
    return {std::nullopt, "scheduling", "networking", "block_device_mapping", "spawning"};
}

void BuildInstance::clear_host() {
    for (const char* field : {"host", "node", "launched_on", "availability_zone"})
        instance().set(field, nullptr);
    if (instance().is_set("compute_id"))
        instance().set("compute_id", nullptr);
}

Error BuildInstance::given_up() const {
    return fail_as("BuildAbortException",
                   Code::Internal,
                   cat("Build of instance ",
                       uuid().str(),
                       " aborted: the compute agent of host ",
                       records_.options.host,
                       " ended unexpectedly each time it tried"))
        .value();
}

/// Without an alternate the conductor could only say that there is none: the reason would be lost.
bool BuildInstance::others_may_try() const {
    const auto& alternates = call().argument("host_list");
    return !call().argument("filter_properties")["retry"].empty() &&
           !(alternates.is_array() && alternates.empty());
}

Result<void> BuildInstance::conclude(const Error& failure) {
    const auto outcome = classify_build_failure(failure);
    // Another operation, or a delete, has it before we could begin: it is not ours to change.
    const bool never_ours = !taken_over_ && (objects::is_instance_gone(failure) ||
                                             objects::is_unexpected_task_state(failure));
    if (outcome == BuildFailure::Gone || never_ours) {
        log::info("build ended because the server is not to be built any more",
                  {{"reason", failure.text}});
        return {};
    }
    const auto& owner = instance().text("host");
    if (!owner.empty() && owner != records_.options.host) {
        log::info("the server of a failed build is another host's by now", {{"host", owner}});
        return {};
    }
    if (again_ && instance().text("vm_state") != "building") {
        log::info("the failed build had been concluded before",
                  {{"vm_state", instance().text("vm_state")}});
        return {};
    }
    if (again_) // the books of this process may have it from the record
        books_.resources.drop(context(), instance(), false);
    if (!std::exchange(counted_, true))
        books_.resources.build_finished(false);
    if (outcome == BuildFailure::Reschedule && others_may_try())
        return reschedule(failure);
    if (outcome == BuildFailure::Abort)
        NOVALET_TRY(or_warn("the volumes of a failed build could not be given back",
                            volumes_.volumes.give_up(context(), mappings_)));
    return into_error(failure);
}

Result<void> BuildInstance::unlock(const Error& /*failure*/) {
    return {}; // the conclusion's saves did it
}

/// A hand-over: the record is given back first, and noted as given back, so
/// that a repeat does not take what another host has got meanwhile; the message keeps its id.
Result<void> BuildInstance::reschedule(const Error& failure) {
    if (!given_back_) {
        clear_host();
        // Also when the very last save failed, which would have made it ACTIVE.
        instance().set("vm_state", "building");
        instance().set("task_state", "scheduling");
        instance().set("power_state", static_cast<int>(hypervisor::PowerState::NoState));
        instance().set("launched_at", nullptr);
        auto saved = save(building());
        if (!saved && objects::is_instance_gone(saved.error()))
            return {}; // the delete has the rest
        NOVALET_TRY(or_warn("the server could not be given back to the scheduler", saved));
        given_back_ = true;
        // Without the note, another process would take the record for a build that never began.
        if (auto noted = checkpoint(); !noted) {
            given_back_ = false;
            return into_error(noted.error().in("the build failed and cannot be handed over"));
        }
    }
    return hand_over(failure);
}

Result<void> BuildInstance::hand_over(const Error& failure) {
    Json filter_properties = call().argument("filter_properties");
    Json& retry = filter_properties.member("retry");
    retry.set("exc", Json::Array{failure.text});
    retry.set("exc_reason", failure.text);
    Json args = Json::object();
    args.set("instances", Json::Array{instance().to_primitive()});
    args.set("filter_properties", std::move(filter_properties));
    for (const char* key : {"image",
                            "admin_password",
                            "injected_files",
                            "requested_networks",
                            "security_groups",
                            "request_spec"})
        args.set(key, call().argument(key));
    const auto& hosts = call().argument("host_list");
    args.set("host_lists", hosts.is_null() ? Json() : Json(Json::Array{hosts}));
    NOVALET_TRY(records_.conductor.reschedule_build(std::move(args), context(), message_id_));
    log::warning("build failed here; the scheduler tries another host", {{"error", failure.text}});
    return {};
}

Result<void> BuildInstance::into_error(const Error& failure) {
    // First: who waits for ERROR asks for the reason at once.
    if (!fault_recorded_)
        NOVALET_TRY(
            or_warn("a fault could not be recorded",
                    record_fault(records_.operation_host(), context(), uuid().str(), failure)));
    if (!std::exchange(fault_recorded_, true))
        warn("the journal could not note that a fault was recorded", checkpoint());
    clear_host();
    instance().set("vm_state", "error");
    instance().set("task_state", nullptr);
    NOVALET_TRY(or_warn("the failed server could not be set to ERROR", save(building())));
    records_.notifier.instance_action(context(), instance(), "create", "error", &failure);
    log::error("build failed", {{"error", failure.text}, {"exception", failure.exception}});
    return {};
}

} // namespace novalet::tasks
