// Verbs on guests: spawn, destroy, power (reference 07 §7 to §9).
#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/libvirt/libvirt_hypervisor.hpp"
#include "hypervisor/topology/placement_check.hpp"

#include <condition_variable>

namespace novalet::hypervisor::libvirt {
namespace {

constexpr Milliseconds poll_pause{500};
constexpr Seconds running_timeout{60};
constexpr int end_attempts = 3; // QEMU may be stuck in I/O for a while

void step(const SpawnHooks& hooks, const char* name) {
    if (hooks.step)
        hooks.step(name);
}

Result<void> not_stopped(const SpawnHooks& hooks) {
    if (hooks.stop.stop_requested())
        return fail(Code::Cancelled, "the build was interrupted");
    return {};
}

/// A pause; libvirt offers nothing to wait on here.
void nap(Milliseconds span) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable().wait_until(lock, Deadline::after(span).time());
}

bool is_off(PowerState state) {
    return state == PowerState::Shutdown || state == PowerState::NoState;
}

} // namespace

Result<domain::Domain> LibvirtHypervisor::describe(const GuestSpec& guest) {
    NOVALET_ASSIGN(const auto known, this->known());
    domain::DomainOptions options = known->domain;
    NOVALET_ASSIGN(const auto kernel, topology::read_kernel_state());
    options.online_cpus = kernel.online.str();
    NOVALET_ASSIGN(options.host, topology::host_topology(known->host, kernel, options_.topology));
    return domain::build_domain(guest, options);
}

Result<void> LibvirtHypervisor::wait_running(const InstanceUuid& uuid) {
    const auto deadline = Deadline::after(running_timeout);
    for (;;) {
        NOVALET_ASSIGN(const auto guest, connection_.info(uuid));
        if (guest.state == PowerState::Running)
            return {};
        if (guest.state == PowerState::Shutdown) {
            // It was started, and switched itself off at once: that is the guest's own business.
            log::info("the guest switched itself off right after its start",
                      {{"instance", uuid.str()}});
            return {};
        }
        if (guest.state == PowerState::Crashed || deadline.passed())
            return fail_as("InstancePowerOnFailure",
                           Code::Timeout,
                           cat("Failed to power on instance: domain ",
                               uuid.str(),
                               guest.state == PowerState::Crashed ? " crashed at its start"
                                                                  : " does not reach RUNNING"));
        nap(poll_pause);
    }
}

Result<void> LibvirtHypervisor::plug_all(const GuestSpec& guest) {
    for (const auto& interface : guest.interfaces)
        NOVALET_TRY(plugger_.plug(interface, guest.uuid));
    return {};
}

/// Pins and pages that the kernel did not give are told and counted; the guest runs on.
void LibvirtHypervisor::check_granted(const GuestSpec& guest) {
    if (!guest.numa)
        return;
    const auto pid_text = read_file(cat("/run/libvirt/qemu/", guest.name, ".pid"));
    const auto pid = pid_text ? to_number<pid_t>(trim(*pid_text)) : std::nullopt;
    const auto known = this->known();
    const auto kernel = topology::read_kernel_state();
    if (!pid || !known || !kernel)
        return; // a libvirt elsewhere, or a guest that has ended: nothing to look at
    const auto host = topology::host_topology((*known)->host, *kernel, options_.topology);
    if (!host)
        return;
    topology::Granted granted{*guest.numa, *host, {}};
    if (guest.numa->emulator_policy == scheduler_hooks::model::EmulatorPolicy::Share)
        if (const auto shared =
                scheduler_hooks::model::CpuSet::parse(options_.topology.shared_cpus))
            granted.emulator = *shared;
    const auto checked = topology::check_placement(granted, *pid);
    if (!checked)
        return;
    for (const auto& difference : *checked)
        log::error("the kernel did not give a guest what it was granted",
                   {{"instance", guest.uuid.str()}, {"difference", difference}});
}

/// From the first instruction on: waits for Neutron while paused, then runs.
Result<void> LibvirtHypervisor::let_run(const GuestSpec& guest, const SpawnHooks& hooks) {
    if (hooks.wait_for_plugged) {
        step(hooks, "wait_for_plugged");
        NOVALET_TRY(hooks.wait_for_plugged());
    }
    NOVALET_ASSIGN(const auto now, connection_.info(guest.uuid));
    if (now.state == PowerState::Paused)
        NOVALET_TRY(connection_.resume(guest.uuid));
    return wait_running(guest.uuid);
}

Result<void> LibvirtHypervisor::define_and_start(const GuestSpec& guest, const SpawnHooks& hooks) {
    // Described first: a guest that this host cannot run leaves no trace in the network.
    NOVALET_ASSIGN(const auto described, describe(guest));
    step(hooks, "plug");
    NOVALET_TRY(plug_all(guest));
    NOVALET_TRY(not_stopped(hooks));
    step(hooks, "define");
    NOVALET_TRY(connection_.define(domain::write_domain(described)));
    NOVALET_TRY(files_.create_config_drive(guest));
    NOVALET_TRY(not_stopped(hooks));
    step(hooks, "start");
    NOVALET_TRY(connection_.launch(guest.uuid, static_cast<bool>(hooks.wait_for_plugged)));
    NOVALET_TRY(let_run(guest, hooks));
    check_granted(guest);
    return {};
}

/// An earlier attempt of the same build, cut off by a crash of the agent, left a domain that has
/// already been started.
Result<void> LibvirtHypervisor::carry_on(const GuestSpec& guest, const SpawnHooks& hooks) {
    log::info("the domain of this build is there already and is carried on with",
              {{"instance", guest.uuid.str()}});
    step(hooks, "plug");
    NOVALET_TRY(plug_all(guest));
    return let_run(guest, hooks);
}

Result<void> LibvirtHypervisor::make(const GuestSpec& guest, const SpawnHooks& hooks) {
    const auto existing = connection_.info(guest.uuid);
    if (!existing && existing.error().code != Code::NotFound)
        return Failure(existing.error());
    if (existing &&
        (existing->state == PowerState::Running || existing->state == PowerState::Paused))
        return carry_on(guest, hooks);
    if (existing)
        NOVALET_TRY(remove_domain(guest.uuid, false)); // defined, never run: described anew
    if (hooks.images == nullptr)
        return fail(Code::Internal, "spawn without a source of images");
    step(hooks, "disks");
    NOVALET_TRY(files_.create(guest, *hooks.images, hooks.stop));
    NOVALET_TRY(not_stopped(hooks));
    return define_and_start(guest, hooks);
}

Result<void> LibvirtHypervisor::spawn(const GuestSpec& guest, const SpawnHooks& hooks) {
    auto made = make(guest, hooks);
    if (made)
        return {};
    log::warning("the guest could not be made; what there is of it is removed",
                 {{"instance", guest.uuid.str()}, {"error", made.error().text}});
    DestroyOptions clean_up;
    clean_up.interfaces = guest.interfaces;
    if (const auto cleaned = destroy(guest.uuid, clean_up); !cleaned)
        log::error("a failed spawn could not be cleaned up completely",
                   {{"instance", guest.uuid.str()}, {"error", cleaned.error().text}});
    return made;
}

/// Ends what runs. QEMU that does not go away: InstancePowerOffFailure.
Result<void> LibvirtHypervisor::end_domain(const InstanceUuid& uuid) {
    Result<void> ended;
    for (int i = 0; i < end_attempts; ++i) {
        ended = connection_.destroy(uuid);
        if (ended || ended.error().code != Code::Timeout)
            break;
    }
    if (ended || ended.error().code == Code::NotFound)
        return {};
    if (ended.error().code == Code::Unavailable)
        return ended;
    return fail_as("InstancePowerOffFailure",
                   ended.error().code,
                   cat("Failed to power off instance: ", ended.error().text));
}

Result<void> LibvirtHypervisor::remove_domain(const InstanceUuid& uuid, bool keep_nvram) {
    const auto existing = connection_.info(uuid);
    if (!existing && existing.error().code == Code::NotFound)
        return {};
    if (!existing)
        return Failure(existing.error());
    if (!is_off(existing->state))
        NOVALET_TRY(end_domain(uuid));
    auto gone = connection_.undefine(uuid, keep_nvram);
    if (!gone && gone.error().code == Code::NotFound)
        return {};
    return gone;
}

Result<void> LibvirtHypervisor::destroy(const InstanceUuid& uuid, const DestroyOptions& options) {
    NOVALET_TRY(remove_domain(uuid, !options.destroy_disks));
    for (const auto& interface : options.interfaces)
        if (const auto unplugged = plugger_.unplug(interface); !unplugged)
            log::warning("an interface could not be unplugged",
                         {{"instance", uuid.str()},
                          {"port", interface.port.str()},
                          {"error", unplugged.error().text}});
    if (options.destroy_disks)
        return files_.remove(uuid);
    return {};
}

Result<void> LibvirtHypervisor::power_off(const InstanceUuid& uuid,
                                          const PowerOffOptions& options) {
    NOVALET_ASSIGN(const auto guest, connection_.info(uuid));
    if (is_off(guest.state))
        return {};
    if (options.timeout > Seconds(0) && guest.state == PowerState::Running) {
        const auto deadline = Deadline::after(options.timeout);
        auto again = Deadline::after(Milliseconds(0));
        while (!deadline.passed()) {
            NOVALET_ASSIGN(const auto now, connection_.info(uuid));
            if (is_off(now.state))
                return {};
            if (again.passed()) { // a guest may miss the first press of the button
                discard(connection_.shutdown(uuid), "the state is looked at above");
                again = Deadline::after(options.retry_interval);
            }
            nap(std::min(poll_pause, deadline.left()));
        }
        log::info("the guest did not shut down in time and is powered off",
                  {{"instance", uuid.str()}});
    }
    return end_domain(uuid);
}

/// A guest that exists has its disks. Making new ones in their place would hide a loss.
Result<void> LibvirtHypervisor::check_disks(const GuestSpec& guest) const {
    for (const auto& disk : guest.disks) {
        const auto path = files_.folder(guest.uuid) / disk.file_name;
        std::error_code error;
        if (disk.source != DiskSource::Swap && !std::filesystem::exists(path, error))
            return fail_as("DiskNotFound",
                           Code::NotFound,
                           cat("No disk at ", path.string(), "; the guest is left as it is"));
    }
    return {};
}

Result<void> LibvirtHypervisor::power_on(const GuestSpec& guest, const SpawnHooks& hooks) {
    NOVALET_TRY(check_disks(guest));
    step(hooks, "remove");
    NOVALET_TRY(remove_domain(guest.uuid, true));
    // Overlays need their base; a cache on a new disk may have lost it.
    if (hooks.images != nullptr && options_.files.copy_on_write)
        NOVALET_TRY(files_.create(guest, *hooks.images, hooks.stop));
    SpawnHooks at_once = hooks;
    at_once.wait_for_plugged = nullptr;
    return define_and_start(guest, at_once);
}

Result<bool> LibvirtHypervisor::soft_reboot(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto guest, connection_.info(uuid));
    if (guest.state != PowerState::Running)
        return false;
    NOVALET_ASSIGN(const auto before, connection_.running_id(uuid));
    if (const auto asked = connection_.shutdown(uuid); !asked) {
        log::info("the guest cannot be asked to shut down",
                  {{"instance", uuid.str()}, {"error", asked.error().text}});
        return false;
    }
    const auto deadline = Deadline::after(options_.soft_reboot_timeout);
    for (;;) {
        NOVALET_ASSIGN(const auto id, connection_.running_id(uuid));
        NOVALET_ASSIGN(const auto now, connection_.info(uuid));
        if (id == -1 && (now.state == PowerState::Shutdown || now.state == PowerState::Crashed)) {
            NOVALET_TRY(connection_.launch(uuid, false));
            NOVALET_TRY(wait_running(uuid));
            return true;
        }
        if (id != -1 && id != before) // somebody started it already
            return true;
        if (deadline.passed())
            return false;
        nap(std::min(poll_pause, deadline.left()));
    }
}

Result<void> LibvirtHypervisor::pause(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto guest, connection_.info(uuid));
    if (guest.state == PowerState::Paused)
        return {};
    return connection_.suspend(uuid);
}

Result<void> LibvirtHypervisor::unpause(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto guest, connection_.info(uuid));
    if (guest.state == PowerState::Running)
        return {};
    NOVALET_TRY(connection_.resume(uuid));
    if (const auto synced = connection_.sync_time(uuid); !synced)
        log::debug("the guest's clock was not set after the pause",
                   {{"instance", uuid.str()}, {"reason", synced.error().text}});
    return {};
}

Result<void> LibvirtHypervisor::suspend(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto guest, connection_.info(uuid));
    if (is_off(guest.state)) {
        NOVALET_ASSIGN(const auto saved, connection_.has_managed_save(uuid));
        if (saved)
            return {};
    }
    return connection_.managed_save(uuid);
}

Result<void> LibvirtHypervisor::resume(const GuestSpec& guest) {
    NOVALET_ASSIGN(const auto now, connection_.info(guest.uuid));
    if (now.state == PowerState::Running)
        return {};
    NOVALET_TRY(plug_all(guest));
    if (is_off(now.state))
        NOVALET_TRY(connection_.launch(guest.uuid, false)); // restores the saved state
    NOVALET_TRY(let_run(guest, {}));
    if (const auto synced = connection_.sync_time(guest.uuid); !synced)
        log::debug("the guest's clock was not set after the suspension",
                   {{"instance", guest.uuid.str()}, {"reason", synced.error().text}});
    return {};
}

Result<void> LibvirtHypervisor::plug(const GuestSpec& guest) {
    return plug_all(guest);
}

Result<std::string> LibvirtHypervisor::console_log(const InstanceUuid& uuid) {
    NOVALET_TRY(connection_.info(uuid));
    return files_.console_tail(uuid);
}

Result<VncAddress> LibvirtHypervisor::vnc(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto xml, connection_.xml(uuid));
    NOVALET_ASSIGN(const auto live, domain::read_domain(xml));
    if (live.vnc_port == 0)
        return fail_as("ConsoleTypeUnavailable",
                       Code::NotFound,
                       "Unavailable console type vnc: the guest has no VNC port now.");
    return VncAddress{options_.vnc_proxyclient_address, live.vnc_port};
}

} // namespace novalet::hypervisor::libvirt
