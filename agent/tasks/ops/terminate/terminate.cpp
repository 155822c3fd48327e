#include "agent/tasks/ops/terminate/terminate.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

namespace novalet::tasks {
Result<void> delete_instance(Services& services,
                             const rpc::Context& context,
                             objects::Object& instance,
                             const Progress& progress) {
    const auto host = services.operation_host();
    const InstanceUuid uuid(instance.text("uuid"));
    services.waiters.cancel(uuid);
    services.notifier.instance_action(context, instance, "delete", "start");
    progress.step("destroy_guest");
    services.notifier.instance_action(context, instance, "shutdown", "start");
    hypervisor::DestroyOptions options;
    options.interfaces = interfaces_of(cached_network_info(instance));
    NOVALET_TRY(services.hypervisor.destroy(uuid, options));
    progress.step("deallocate_networks");
    NOVALET_TRY(services.networks.deallocate(context.elevated(), instance, Json()));
    services.notifier.instance_action(context, instance, "shutdown", "end");
    progress.step("save_deleted");
    instance.set("vm_state", "deleted");
    instance.set("task_state", nullptr);
    instance.set("power_state", 0);
    instance.set("terminated_at", to_iso(system_clock().wall()));
    instance.set("cleaned", true); // the files went with the guest; nobody has to look again
    auto saved = save_instance(host, context, instance);
    if (!saved && !instance_is_gone(saved.error()))
        return saved;
    services.resources.drop(context, instance, false);
    progress.step("delete_allocation");
    NOVALET_TRY(services.resources.delete_allocation(uuid.str()));
    if (services.options.vnc_enabled)
        warn("console tokens could not be removed",
             services.conductor.clean_console_tokens(uuid.str(), context));
    if (services.options.track_instance_changes)
        warn("the scheduler could not be told of a deleted server",
             services.conductor.tell_scheduler_deleted(host.host, uuid.str(), context));
    progress.step("destroy_record");
    auto destroyed = services.conductor.destroy_instance(instance, context);
    if (!destroyed && !instance_is_gone(destroyed.error()))
        return destroyed;
    services.notifier.instance_action(context, instance, "delete", "end");
    log::info("server is deleted");
    return {};
}

Result<Json> terminate_instance(Services& services,
                                const rpc::Request& request,
                                const Progress& progress,
                                const std::stop_token& /*stop*/) {
    auto instance = objects::Object::from_primitive(request.args["instance"]);
    Records records;
    records.event = "compute_terminate_instance";
    records.event_already_started = progress.resumed();
    const auto host = services.operation_host();
    return with_records(host, request.context, instance, records, [&]() -> Result<Json> {
        auto deleted = delete_instance(services, request.context, instance, progress);
        if (deleted || instance_is_gone(deleted.error()))
            return Json();
        if (control_plane_unreachable(deleted.error()))
            return Failure(deleted.error());
        instance.set("vm_state", "error");
        warn("the server could not be set to ERROR",
             save_instance(host, request.context, instance));
        return Failure(deleted.error());
    });
}

} // namespace novalet::tasks
