#include "agent/tasks/ops/build/build_undo.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/ops/build/build_outcome.hpp"

namespace novalet::tasks {
namespace {

void clear_host(objects::Object& instance) {
    for (const char* field : {"host", "node", "launched_on", "availability_zone"})
        instance.set(field, nullptr);
    if (instance.is_set("compute_id"))
        instance.set("compute_id", nullptr);
}

/// A failure means that the control plane could not be told: the build starts over then, for
/// nobody else would end it.
Result<void> into_error(Services& services,
                        const rpc::Request& request,
                        objects::Object& instance,
                        const Error& error) {
    const auto host = services.operation_host();
    // First: who waits for ERROR asks for the reason at once.
    record_fault(host, request.context, instance.text("uuid"), error);
    clear_host(instance);
    instance.set("vm_state", "error");
    instance.set("task_state", nullptr);
    auto saved = save_instance(host, request.context, instance);
    if (!saved && control_plane_unreachable(saved.error()))
        return saved;
    warn("the failed server could not be set to ERROR", saved);
    services.notifier.instance_action(request.context, instance, "create", "error", &error);
    log::error("build failed", {{"error", error.text}, {"exception", error.exception}});
    return {};
}

} // namespace

Result<void> wait_for_plugged(const Services& services,
                              EventWaiters::Waiter& waiter,
                              const hypervisor::GuestSpec& guest,
                              const std::stop_token& stop) {
    auto waited = waiter.wait(Deadline::after(services.options.vif_plugging_timeout), stop);
    if (waited || waited.error().code == Code::Cancelled)
        return waited;
    if (!services.options.vif_plugging_is_fatal) {
        log::warning("the guest starts although its ports are not reported as plugged",
                     {{"reason", waited.error().text}});
        return {};
    }
    return fail_as("VirtualInterfaceCreateException",
                   Code::Timeout,
                   cat("Virtual Interface creation failed for ",
                       guest.uuid.str(),
                       ": ",
                       waited.error().text,
                       "; is the L2 agent of this host alive?"));
}

void remove_guest(Services& services, const objects::Object& instance, const BuildLeftovers& left) {
    hypervisor::DestroyOptions options;
    options.interfaces = left.interfaces;
    warn("what was made of the guest could not be removed",
         services.hypervisor.destroy(InstanceUuid(instance.text("uuid")), options));
}

Result<void> give_back_to_scheduler(Services& services,
                                    const rpc::Request& request,
                                    objects::Object& instance,
                                    const Error& error) {
    Json filter_properties = request.args["filter_properties"];
    Json& retry = filter_properties.member("retry");
    retry.set("exc", Json::Array{error.text});
    retry.set("exc_reason", error.text);
    Json args = Json::object();
    args.set("instances", Json::Array{instance.to_primitive()});
    args.set("filter_properties", std::move(filter_properties));
    for (const char* key : {"image",
                            "admin_password",
                            "injected_files",
                            "requested_networks",
                            "security_groups",
                            "request_spec"})
        args.set(key, request.args[key]);
    args.set("host_lists",
             request.args["host_list"].is_null() ? Json()
                                                 : Json(Json::Array{request.args["host_list"]}));
    NOVALET_TRY(services.conductor.reschedule_build(std::move(args), request.context));
    log::warning("build failed here; the scheduler tries another host", {{"error", error.text}});
    return {};
}

namespace {

/// Without an alternate the conductor could only say that there is none: the reason would be lost.
bool others_may_try(const rpc::Request& request) {
    const auto& alternates = request.args["host_list"];
    return !request.args["filter_properties"]["retry"].empty() &&
           !(alternates.is_array() && alternates.empty());
}

Result<void> reschedule(Services& services,
                        const rpc::Request& request,
                        const Progress& progress,
                        objects::Object& instance,
                        const Error& error) {
    progress.step(step_reschedule);
    clear_host(instance);
    // Also when the very last save failed, which would have made it ACTIVE.
    instance.set("vm_state", "building");
    instance.set("task_state", "scheduling");
    instance.set("power_state", static_cast<int>(hypervisor::PowerState::NoState));
    instance.set("launched_at", nullptr);
    auto saved = save_instance(services.operation_host(), request.context, instance);
    // Another host refuses a server whose record still says that it is ours.
    if (!saved && control_plane_unreachable(saved.error()))
        return saved;
    warn("the server could not be given back to the scheduler", saved);
    warn("the allocation could not be removed",
         services.resources.delete_allocation(instance.text("uuid")));
    return give_back_to_scheduler(services, request, instance, error);
}

} // namespace

Result<void> undo_build(Services& services,
                        const rpc::Request& request,
                        const Progress& progress,
                        objects::Object& instance,
                        const BuildLeftovers& left,
                        const Error& error) {
    const InstanceUuid uuid(instance.text("uuid"));
    if (left.guest_may_exist)
        remove_guest(services, instance, left);
    if (left.ports_may_exist) {
        const auto context = request.context.elevated();
        auto gone =
            services.networks.deallocate(context, instance, request.args["requested_networks"]);
        if (!gone && !instance_is_gone(gone.error()))
            log::error("ports of a failed build could not be removed",
                       {{"error", gone.error().text}});
        if (instance.get("system_metadata").is_object())
            instance.set_item("system_metadata", "network_allocated", "False");
    }
    if (left.claimed)
        services.resources.drop(request.context, instance, false);
    switch (classify_build_failure(error)) {
    case BuildFailure::Gone:
        log::info("build ended because the server is being deleted", {{"reason", error.text}});
        break;
    case BuildFailure::Reschedule:
        services.resources.build_finished(false);
        if (others_may_try(request))
            return reschedule(services, request, progress, instance, error);
        NOVALET_TRY(into_error(services, request, instance, error));
        break;
    case BuildFailure::Abort:
        services.resources.build_finished(false);
        NOVALET_TRY(into_error(services, request, instance, error));
        break;
    }
    warn("the allocation could not be removed", services.resources.delete_allocation(uuid.str()));
    return {};
}

Result<Json> give_up_build(Services& services,
                           const rpc::Request& request,
                           const Progress& progress,
                           const std::stop_token& /*stop*/) {
    auto instance = services.conductor.get_instance(
        objects::data_of(request.args["instance"])["uuid"].as_string(),
        {"system_metadata", "info_cache"},
        request.context);
    if (!instance && instance_is_gone(instance.error()))
        return Json();
    if (!instance)
        return Failure(instance.error());
    const auto& owner = instance->text("host");
    if (instance->text("vm_state") != "building" || instance->text("task_state") == "deleting" ||
        (!owner.empty() && owner != services.options.host))
        return Json(); // somebody else's by now
    BuildLeftovers left;
    left.guest_may_exist = true;
    left.ports_may_exist = true;
    left.claimed = true;
    left.interfaces = interfaces_of(cached_network_info(*instance));
    const Error error = fail_as("BuildAbortException",
                                Code::Internal,
                                cat("Build of instance ",
                                    instance->text("uuid"),
                                    " aborted: the compute agent of host ",
                                    services.options.host,
                                    " ended unexpectedly each time it tried"))
                            .value();
    NOVALET_TRY(undo_build(services, request, progress, *instance, left, error));
    return Json();
}

} // namespace novalet::tasks
