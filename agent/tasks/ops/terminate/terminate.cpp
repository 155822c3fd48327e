#include "agent/tasks/ops/terminate/terminate.hpp"

#include "agent/core/log.hpp"

#include <array>

namespace novalet::tasks {
namespace {

constexpr auto again = AfterCrash::Again;

} // namespace

TerminateInstance::TerminateInstance(const Services& services, OperationCall call)
    : Steps(services, std::move(call)), guests_(services), volumes_(services), network_(services),
      books_(services) {}

std::span<const Step<TerminateInstance>> TerminateInstance::table() {
    static constexpr std::array<Step<TerminateInstance>, 6> steps{{
        {"destroy_guest", again, &TerminateInstance::destroy_guest},
        {"deallocate_networks", again, &TerminateInstance::deallocate_networks},
        {"release_volumes", again, &TerminateInstance::release_volumes},
        {"save_deleted", again, &TerminateInstance::save_deleted},
        {"delete_allocation", again, &TerminateInstance::delete_allocation},
        {"destroy_record", again, &TerminateInstance::destroy_record},
    }};
    return steps;
}

Result<bool> TerminateInstance::resume() {
    auto wanted = InstanceOperation::resume();
    if (!wanted && instance_is_gone(wanted.error())) {
        books_.resources.drop(context(), instance(), false);
        return false;
    }
    return wanted;
}

/// A delete that failed has put the server into ERROR, where the owner sees it and may ask again.
/// Nothing else takes back what nova-api has promised, whatever the task_state became meanwhile.
Result<bool> TerminateInstance::still_wanted() {
    return instance().text("vm_state") != "error" || instance().text("task_state") == "deleting";
}

Result<void> TerminateInstance::destroy_guest() {
    network_.waiters.cancel(uuid());
    records_.notifier.instance_action(context(), instance(), "delete", "start");
    records_.notifier.instance_action(context(), instance(), "shutdown", "start");
    hypervisor::DestroyOptions options(hypervisor::Disks::Remove);
    options.interfaces = interfaces_of(cached_network_info(instance()));
    return guests_.hypervisor.destroy(uuid(), options);
}

Result<void> TerminateInstance::deallocate_networks() {
    auto gone = network_.networks.deallocate(context().elevated(), instance(), Json());
    if (!gone && !instance_is_gone(gone.error())) // the rest of a deleted server goes, too
        return gone;
    return {};
}

/// The mappings are read anew: those of the request may be older than a volume that was made for
/// the server meanwhile.
Result<void> TerminateInstance::release_volumes() {
    NOVALET_ASSIGN(const auto mappings, records_.conductor.block_devices(uuid().str(), context()));
    volumes_.volumes.release(context(), mappings);
    records_.notifier.instance_action(context(), instance(), "shutdown", "end");
    volumes_.volumes.delete_on_termination(context(), mappings);
    return {};
}

Result<void> TerminateInstance::save_deleted() {
    instance().set("vm_state", "deleted");
    instance().set("task_state", nullptr);
    instance().set("power_state", 0);
    instance().set("terminated_at", to_iso(system_clock().wall()));
    instance().set("cleaned", true); // the files went with the guest; nobody has to look again
    auto saved = save();
    if (!saved && !instance_is_gone(saved.error()))
        return saved;
    return {};
}

Result<void> TerminateInstance::delete_allocation() {
    NOVALET_TRY(books_.allocations.remove(uuid().str()));
    if (records_.options.vnc_enabled)
        warn("console tokens could not be removed",
             records_.conductor.clean_console_tokens(uuid().str(), context()));
    if (records_.options.track_instance_changes)
        warn("the scheduler could not be told of a deleted server",
             records_.conductor.tell_scheduler_deleted(
                 records_.options.host, uuid().str(), context()));
    return {};
}

Result<void> TerminateInstance::destroy_record() {
    auto destroyed = records_.conductor.destroy_instance(instance(), context());
    if (!destroyed && !instance_is_gone(destroyed.error()))
        return destroyed;
    books_.resources.drop(context(), instance(), false);
    records_.notifier.instance_action(context(), instance(), "delete", "end");
    log::info("server is deleted");
    return {};
}

} // namespace novalet::tasks
