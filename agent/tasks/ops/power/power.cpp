#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/ops/power/instance_verbs.hpp"

namespace novalet::tasks {
namespace {

/// What power verbs share: the record, the guest, the saves.
struct Power {
    Services& services;
    const rpc::Request& request;
    OperationHost host;
    objects::Object instance;
    InstanceUuid uuid;

    Power(Services& s, const rpc::Request& r)
        : services(s), request(r), host(s.operation_host()),
          instance(objects::Object::from_primitive(r.args["instance"])),
          uuid(instance.text("uuid")) {}

    [[nodiscard]] hypervisor::PowerState state() const {
        const auto info = services.hypervisor.info(uuid);
        return info ? info->state : hypervisor::PowerState::NoState;
    }

    Result<Json> save(const char* vm_state, const std::vector<TaskState>& expected) {
        instance.set("power_state", static_cast<int>(state()));
        instance.set("vm_state", vm_state);
        instance.set("task_state", nullptr);
        NOVALET_TRY(save_instance(host, request.context, instance, expected));
        services.resources.update(instance);
        return Json();
    }

    /// The guest as it has to be defined, with the interfaces as Neutron knows them now.
    Result<hypervisor::GuestSpec> guest() {
        NOVALET_TRY(services.conductor.load(instance, {"info_cache"}, request.context));
        NOVALET_ASSIGN(const auto info,
                       services.networks.refresh(request.context.elevated(), instance));
        return recorded_guest(services, request.context, instance, info);
    }

    Result<void> power_on() {
        NOVALET_ASSIGN(const auto spec, guest());
        const auto images = services.images.for_request(request.context);
        hypervisor::SpawnHooks hooks;
        hooks.images = images.get();
        return services.hypervisor.power_on(spec, hooks);
    }
};

/// A second try finds the task gone when only the answer, or the closing of the journal entry, was
/// lost: doing it again would restart a guest that runs.
Result<bool> ended_before(Power& power, const Progress& progress) {
    if (!progress.resumed())
        return false;
    NOVALET_ASSIGN(
        const auto now,
        power.services.conductor.get_instance(power.uuid.str(), {}, power.request.context));
    if (!now.get("task_state").is_null())
        return false;
    log::info("the operation had ended before", {{"vm_state", now.text("vm_state")}});
    return true;
}

/// `action` is the name that notifications give the operation (reference 03 §9).
Result<Json> recorded(Power& power,
                      const char* method,
                      const char* action,
                      const Progress& progress,
                      const std::function<Result<Json>()>& body) {
    Records records;
    records.event = cat("compute_", method);
    records.event_already_started = progress.resumed();
    progress.step(method);
    const auto& context = power.request.context;
    auto& notifier = power.services.notifier;
    return with_records(power.host, context, power.instance, records, [&]() -> Result<Json> {
        NOVALET_ASSIGN(const bool ended, ended_before(power, progress));
        if (ended)
            return Json();
        notifier.instance_action(context, power.instance, action, "start");
        auto done = body();
        if (done)
            notifier.instance_action(context, power.instance, action, "end");
        return done;
    });
}

} // namespace

Result<hypervisor::GuestSpec> recorded_guest(Services& services,
                                             const rpc::Context& context,
                                             objects::Object& instance,
                                             const Json& network_info) {
    NOVALET_TRY(services.conductor.load(
        instance, {"flavor", "system_metadata", "info_cache", "numa_topology"}, context));
    NOVALET_ASSIGN(const auto mappings,
                   services.conductor.block_devices(instance.text("uuid"), context));
    std::vector<Json> documents;
    for (const auto& mapping : mappings)
        documents.push_back(mapping.data());
    NOVALET_ASSIGN(auto spec,
                   guest_spec(instance.data(), documents, network_info, services.options.guest));
    NOVALET_ASSIGN(spec.numa,
                   scheduler_hooks::model::guest_topology_from_json(instance.get("numa_topology")));
    if (needs_config_drive(instance.data(), services.options.guest))
        spec.config_drive = hypervisor::ConfigDrive{}; // the existing one is kept
    return spec;
}

Result<Json> stop_instance(Services& services,
                           const rpc::Request& request,
                           const Progress& progress,
                           const std::stop_token& /*stop*/) {
    Power power(services, request);
    return recorded(power, "stop_instance", "power_off", progress, [&]() -> Result<Json> {
        std::vector<TaskState> expected{"powering-off"};
        const auto before = power.state();
        if (before == hypervisor::PowerState::Shutdown ||
            before == hypervisor::PowerState::NoState || before == hypervisor::PowerState::Crashed)
            expected.emplace_back(std::nullopt);
        hypervisor::PowerOffOptions options;
        if (request.args["clean_shutdown"].as_bool(true)) {
            options.timeout = services.options.shutdown_timeout;
            options.retry_interval = services.options.shutdown_retry_interval;
            const auto& wished =
                power.instance.get("system_metadata")["image_os_shutdown_timeout"].as_string();
            if (const auto seconds = to_number<unsigned>(wished))
                options.timeout = Seconds(*seconds);
        }
        NOVALET_TRY(services.hypervisor.power_off(power.uuid, options));
        return power.save("stopped", expected);
    });
}

Result<Json> start_instance(Services& services,
                            const rpc::Request& request,
                            const Progress& progress,
                            const std::stop_token& /*stop*/) {
    Power power(services, request);
    return recorded(power, "start_instance", "power_on", progress, [&]() -> Result<Json> {
        NOVALET_TRY(power.power_on());
        return power.save("active", {"powering-on"});
    });
}

Result<Json> reboot_instance(Services& services,
                             const rpc::Request& request,
                             const Progress& progress,
                             const std::stop_token& /*stop*/) {
    Power power(services, request);
    const bool hard = request.args["reboot_type"].as_string() == "HARD";
    const std::string suffix = hard ? "_hard" : "";
    return recorded(power, "reboot_instance", "reboot", progress, [&]() -> Result<Json> {
        const std::string rebooting = "rebooting" + suffix;
        const std::string pending = "reboot_pending" + suffix;
        const std::string started = "reboot_started" + suffix;
        power.instance.set("task_state", pending);
        NOVALET_TRY(save_instance(
            power.host, request.context, power.instance, {rebooting, pending, started}));
        power.instance.set("task_state", started);
        NOVALET_TRY(save_instance(power.host, request.context, power.instance, {pending}));
        bool done = false;
        if (!hard) {
            NOVALET_ASSIGN(done, services.hypervisor.soft_reboot(power.uuid));
        }
        if (!done)
            NOVALET_TRY(power.power_on());
        return power.save("active", {started});
    });
}

Result<Json> pause_instance(Services& services,
                            const rpc::Request& request,
                            const Progress& progress,
                            const std::stop_token& /*stop*/) {
    Power power(services, request);
    return recorded(power, "pause_instance", "pause", progress, [&]() -> Result<Json> {
        NOVALET_TRY(services.hypervisor.pause(power.uuid));
        return power.save("paused", {"pausing"});
    });
}

Result<Json> unpause_instance(Services& services,
                              const rpc::Request& request,
                              const Progress& progress,
                              const std::stop_token& /*stop*/) {
    Power power(services, request);
    return recorded(power, "unpause_instance", "unpause", progress, [&]() -> Result<Json> {
        NOVALET_TRY(services.hypervisor.unpause(power.uuid));
        return power.save("active", {"unpausing"});
    });
}

Result<Json> suspend_instance(Services& services,
                              const rpc::Request& request,
                              const Progress& progress,
                              const std::stop_token& /*stop*/) {
    Power power(services, request);
    return recorded(power, "suspend_instance", "suspend", progress, [&]() -> Result<Json> {
        NOVALET_TRY(services.conductor.load(power.instance, {"system_metadata"}, request.context));
        power.instance.set_item("system_metadata", "old_vm_state", power.instance.get("vm_state"));
        NOVALET_TRY(services.hypervisor.suspend(power.uuid));
        return power.save("suspended", {"suspending"});
    });
}

Result<Json> resume_instance(Services& services,
                             const rpc::Request& request,
                             const Progress& progress,
                             const std::stop_token& /*stop*/) {
    Power power(services, request);
    return recorded(power, "resume_instance", "resume", progress, [&]() -> Result<Json> {
        NOVALET_ASSIGN(const auto spec, power.guest());
        NOVALET_TRY(services.hypervisor.resume(spec));
        const std::string before =
            power.instance.get("system_metadata")["old_vm_state"].as_string("active");
        power.instance.erase_item("system_metadata", "old_vm_state");
        return power.save(before.c_str(), {"resuming"});
    });
}

namespace {

Failure not_supported(const Services& services, const rpc::Request& request) {
    Error error;
    error.code = Code::Unsupported;
    error.exception = "NotImplementedError";
    error.module = "builtins";
    error.text = cat("The compute agent of host ",
                     services.options.host,
                     " does not support ",
                     request.method,
                     " yet; the server is unchanged.");
    return Failure(std::move(error));
}

Result<Json> refuse(Services& services,
                    const rpc::Request& request,
                    const Progress& progress,
                    bool reverts_task_state) {
    auto instance = objects::Object::from_primitive(request.args["instance"]);
    Records records;
    records.event = cat("compute_", request.method);
    records.event_already_started = progress.resumed();
    records.reverts_task_state = reverts_task_state;
    return with_records(
        services.operation_host(), request.context, instance, records, [&]() -> Result<Json> {
            return not_supported(services, request);
        });
}

} // namespace

Result<Json> refuse_operation(Services& services,
                              const rpc::Request& request,
                              const Progress& progress,
                              const std::stop_token& /*stop*/) {
    return refuse(services, request, progress, true);
}

Result<Json> refuse_change(Services& services,
                           const rpc::Request& request,
                           const Progress& progress,
                           const std::stop_token& /*stop*/) {
    return refuse(services, request, progress, false);
}

Result<Json> refuse_question(Services& services,
                             const rpc::Request& request,
                             const Progress& /*progress*/,
                             const std::stop_token& /*stop*/) {
    return not_supported(services, request);
}

} // namespace novalet::tasks
