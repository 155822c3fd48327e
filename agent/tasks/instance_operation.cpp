#include "agent/tasks/instance_operation.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/objects/remote_error.hpp"

#include <algorithm>

namespace novalet::tasks {
namespace {

/// Nobody is left to be told, or the server is another operation's now.
bool is_not_ours(const Error& error) {
    return objects::is_instance_gone(error) || objects::is_unexpected_task_state(error);
}

} // namespace

InstanceOperation::InstanceOperation(const Services& services, OperationCall call)
    : records_(services), guests_(services), volumes_(services), books_(services),
      call_(std::move(call)),
      instance_(objects::Object::from_primitive(call_.argument("instance"))),
      uuid_(instance_.text("uuid")), first_vm_state_(instance_.text("vm_state")),
      first_task_state_(instance_.text("task_state")) {}

Result<void> InstanceOperation::restore(const Json& /*state*/, int /*version*/) {
    return {};
}

Result<bool> InstanceOperation::resume() {
    NOVALET_ASSIGN(instance_, records_.conductor.get_instance(uuid_.str(), fields(), context()));
    return still_wanted();
}

Result<bool> InstanceOperation::still_wanted() {
    const std::string now = instance_.text("task_state");
    // An operation that came without one does not go by it.
    if (first_task_state_.empty() || now == first_task_state_)
        return true;
    const auto own = own_task_states();
    return std::find(own.begin(), own.end(), now) != own.end();
}

Result<void> InstanceOperation::resume_undo() {
    auto fresh = records_.conductor.get_instance(uuid_.str(), fields(), context());
    if (fresh)
        instance_ = std::move(*fresh);
    else if (!instance_is_gone(fresh.error()))
        return Failure(fresh.error());
    return {};
}

Result<void> InstanceOperation::begin() {
    if (call_.event.empty())
        return {};
    return records_.conductor.start_event(
        uuid_.str(), call_.event, records_.options.host, context());
}

Result<void> InstanceOperation::end(const Error* failure) {
    if (call_.event.empty())
        return {};
    std::optional<objects::EventFailure> texts;
    if (failure != nullptr)
        texts = event_failure(*failure);
    auto finished = records_.conductor.finish_event(uuid_.str(), call_.event, texts, context());
    if (!finished && instance_is_gone(finished.error()))
        return {};
    return finished;
}

Result<void> InstanceOperation::save(const std::vector<TaskState>& expected) {
    return save_instance(records_.operation_host(), context(), instance_, expected);
}

/// One part that fails does not stop the others: what is left is healed by audits, and the reason
/// of the failure is what matters.
Result<void> InstanceOperation::conclude(const Error& failure) {
    if (call_.on_failure.delete_image)
        guests_.images.remove(context(), call_.argument("image_id").as_string());
    NOVALET_TRY(
        or_warn("the volumes of a failed operation could not be given back", conclude_volumes()));
    const bool in_place = call_.request->args.contains("migration") &&
                          call_.argument("migration").is_null(); // a rebuild that is no evacuation
    if (!in_place) {
        NOVALET_TRY(or_warn("the allocation of a failed operation could not be given back",
                            conclude_allocation()));
        NOVALET_TRY(or_warn("the migration of a failed operation could not be ended",
                            conclude_migration()));
    }
    if (is_not_ours(failure))
        return {};
    NOVALET_TRY(or_warn("the state of a server could not be set", conclude_vm_state(failure)));
    if (call_.on_failure.fault)
        NOVALET_TRY(
            or_warn("a fault could not be recorded",
                    record_fault(records_.operation_host(), context(), uuid_.str(), failure)));
    tell_failure(failure);
    return {};
}

Result<void> InstanceOperation::conclude_volumes() {
    if (call_.on_failure.roll_detaching) {
        const auto& new_volume = call_.argument("new_volume_id").as_string();
        if (new_volume.empty())
            return volumes_.volumes.roll_back_detach(context(),
                                                     call_.argument("volume_id").as_string());
        return volumes_.volumes.roll_back_swap(context(),
                                               {uuid_.str(),
                                                call_.argument("old_volume_id").as_string(),
                                                new_volume,
                                                call_.argument("new_attachment_id").as_string()});
    }
    if (!call_.on_failure.delete_attachment || call_.argument("bdm").is_null())
        return {};
    auto mapping = objects::Object::from_primitive(call_.argument("bdm"));
    return volumes_.volumes.forget_attachment(context(), mapping);
}

Result<void> InstanceOperation::conclude_allocation() {
    const std::string migration = objects::data_of(call_.argument("migration"))["uuid"].as_string();
    switch (call_.on_failure.allocation) {
    case AllocationAfter::Kept:
        return {};
    case AllocationAfter::Deleted:
        return books_.allocations.remove(uuid_.str());
    case AllocationAfter::OurTreeRemoved:
        return books_.allocations.remove_ours(uuid_.str(), {});
    case AllocationAfter::MovedBack:
        return migration.empty() ? Result<void>()
                                 : books_.allocations.move_back(migration, uuid_.str());
    case AllocationAfter::MigrationsDeleted:
        return migration.empty() ? Result<void>() : books_.allocations.remove_unchanged(migration);
    }
    return {};
}

Result<void> InstanceOperation::conclude_migration() {
    const auto after = call_.on_failure.migration;
    if (after == MigrationAfter::Untouched || call_.argument("migration").is_null())
        return {};
    auto migration = objects::Object::from_primitive(call_.argument("migration"));
    migration.set("status", after == MigrationAfter::Failed ? "failed" : "error");
    return records_.conductor.save_migration(migration, context().elevated());
}

/// A failure of a kind that changed nothing is no reason for ERROR
/// (nova.compute.manager._error_out_instance_on_exception).
Result<void> InstanceOperation::conclude_vm_state(const Error& failure) {
    std::string wanted = instance_.text("vm_state");
    const bool nothing_changed =
        failure.exception == "NotImplementedError" || failure.exception == "InstanceFaultRollback";
    if (vm_state_after() == VmStateAfter::Error && !nothing_changed)
        wanted = "error";
    else if (vm_state_after() != VmStateAfter::Kept)
        wanted = first_vm_state_;
    if (wanted == instance_.text("vm_state"))
        return {};
    instance_.set("vm_state", wanted);
    return save();
}

Error InstanceOperation::given_up() const {
    return fail(Code::Internal,
                cat("the compute agent of host ",
                    records_.options.host,
                    " ended unexpectedly each time it tried ",
                    call_.request->method))
        .value();
}

Result<void> InstanceOperation::unlock(const Error& failure) {
    // An operation that came without a task_state must not clear that of another one.
    const bool has_task = !first_task_state_.empty() || !own_task_states().empty();
    if (!call_.on_failure.reverts_task_state || !has_task || is_not_ours(failure))
        return {};
    // Ours only: the task_state of a delete that came meanwhile says that it is still to be done.
    std::vector<TaskState> ours{std::nullopt};
    if (!first_task_state_.empty())
        ours.emplace_back(first_task_state_);
    for (const auto& own : own_task_states())
        ours.emplace_back(own);
    instance_.set("task_state", nullptr);
    auto saved = save(ours);
    if (!saved && is_not_ours(saved.error()))
        return {};
    return saved;
}

} // namespace novalet::tasks
