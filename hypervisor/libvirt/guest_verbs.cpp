// Verbs on guests: spawn, destroy, power (reference 07 §7 to §9).
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/libvirt/libvirt_hypervisor.hpp"

#include <condition_variable>

namespace novalet::hypervisor::libvirt {
namespace {

constexpr Milliseconds poll_pause{500};
constexpr Seconds running_timeout{60};

void step(const SpawnHooks& hooks, const char* name) {
    if (hooks.step)
        hooks.step(name);
}

Result<void> not_stopped(const SpawnHooks& hooks) {
    if (hooks.stop.stop_requested())
        return fail(Code::Cancelled, "the build was interrupted");
    return {};
}

/// A pause that ends early when asked to; libvirt offers nothing to wait on here.
void nap(Milliseconds span, const std::stop_token& stop = {}) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any().wait_for(lock, stop, span, [] { return false; });
}

bool runs(PowerState state) {
    return state == PowerState::Running || state == PowerState::Paused;
}

} // namespace

Result<void> LibvirtHypervisor::wait_running(const InstanceUuid& uuid) {
    const auto deadline = Deadline::after(running_timeout);
    for (;;) {
        NOVALET_ASSIGN(const auto guest, connection_.info(uuid));
        if (guest.state == PowerState::Running)
            return {};
        if (deadline.passed())
            return fail(Code::Timeout, cat("domain ", uuid.str(), " does not reach RUNNING"));
        nap(poll_pause);
    }
}

/// Interfaces, domain, start; paused until Neutron has wired the ports.
Result<void> LibvirtHypervisor::define_and_start(const GuestSpec& guest, const SpawnHooks& hooks) {
    domain::DomainOptions options = options_.domain;
    NOVALET_ASSIGN(options.host, topology());
    NOVALET_ASSIGN(const auto described, domain::build_domain(guest, options));
    step(hooks, "plug");
    for (const auto& interface : guest.interfaces)
        NOVALET_TRY(plugger_.plug(interface, guest.uuid));
    NOVALET_TRY(not_stopped(hooks));
    step(hooks, "define");
    NOVALET_TRY(connection_.define(domain::write_domain(described)));
    NOVALET_TRY(files_.create_config_drive(guest));
    const bool waits = static_cast<bool>(hooks.wait_for_plugged);
    step(hooks, "start");
    NOVALET_TRY(connection_.launch(guest.uuid, waits));
    if (waits) {
        step(hooks, "wait_for_plugged");
        NOVALET_TRY(hooks.wait_for_plugged());
        NOVALET_TRY(connection_.resume(guest.uuid));
    }
    return wait_running(guest.uuid);
}

Result<void> LibvirtHypervisor::spawn(const GuestSpec& guest, const SpawnHooks& hooks) {
    step(hooks, "disks");
    auto made = files_.create(guest, *hooks.images, hooks.stop);
    if (made)
        made = not_stopped(hooks);
    if (made) {
        const auto existing = connection_.info(guest.uuid);
        // Left by an earlier attempt of the same build: nothing in it is worth keeping.
        if (existing)
            made = undefine_domain(guest.uuid);
    }
    if (made)
        made = define_and_start(guest, hooks);
    if (made)
        return {};
    DestroyOptions clean_up;
    clean_up.interfaces = guest.interfaces;
    if (const auto cleaned = destroy(guest.uuid, clean_up); !cleaned)
        log::error("a failed spawn could not be cleaned up completely",
                   {{"instance", guest.uuid.str()}, {"error", cleaned.error().text}});
    return made;
}

Result<void> LibvirtHypervisor::undefine_domain(const InstanceUuid& uuid) {
    const auto existing = connection_.info(uuid);
    if (!existing && existing.error().code == Code::NotFound)
        return {};
    if (!existing)
        return Failure(existing.error());
    if (runs(existing->state) || existing->state == PowerState::Crashed ||
        existing->state == PowerState::Suspended) {
        constexpr int attempts = 3; // QEMU may be stuck in I/O for a while
        Result<void> ended;
        for (int i = 0; i < attempts; ++i) {
            ended = connection_.destroy(uuid);
            if (ended || ended.error().code != Code::Timeout)
                break;
        }
        if (!ended && ended.error().code != Code::NotFound &&
            ended.error().code != Code::Conflict) {
            Error error = std::move(ended).error();
            error.exception = "InstancePowerOffFailure";
            error.module = "nova.exception";
            error.text = cat("Failed to power off instance: ", error.text);
            return Failure(std::move(error));
        }
    }
    auto gone = connection_.undefine(uuid);
    if (!gone && gone.error().code == Code::NotFound)
        return {};
    return gone;
}

Result<void> LibvirtHypervisor::destroy(const InstanceUuid& uuid, const DestroyOptions& options) {
    NOVALET_TRY(undefine_domain(uuid));
    for (const auto& interface : options.interfaces)
        if (const auto unplugged = plugger_.unplug(interface); !unplugged)
            log::warning("an interface could not be unplugged",
                         {{"port", interface.port.str()}, {"error", unplugged.error().text}});
    if (options.destroy_disks)
        return files_.remove(uuid);
    return {};
}

Result<void> LibvirtHypervisor::power_off(const InstanceUuid& uuid,
                                          const PowerOffOptions& options) {
    NOVALET_ASSIGN(const auto guest, connection_.info(uuid));
    if (guest.state == PowerState::Shutdown || guest.state == PowerState::NoState)
        return {};
    if (options.timeout > Seconds(0) && guest.state == PowerState::Running) {
        const auto deadline = Deadline::after(options.timeout);
        auto again = Deadline::after(Milliseconds(0));
        while (!deadline.passed()) {
            NOVALET_ASSIGN(const auto now, connection_.info(uuid));
            if (now.state == PowerState::Shutdown)
                return {};
            if (again.passed()) { // a guest may miss the first press of the button
                discard(connection_.shutdown(uuid), "the state is looked at above");
                again = Deadline::after(options.retry_interval);
            }
            nap(poll_pause);
        }
        log::info("the guest did not shut down in time and is powered off",
                  {{"instance", uuid.str()}});
    }
    auto ended = connection_.destroy(uuid);
    if (!ended && ended.error().code == Code::Conflict) // ended by itself meanwhile
        return {};
    return ended;
}

Result<void> LibvirtHypervisor::power_on(const GuestSpec& guest, const SpawnHooks& hooks) {
    NOVALET_TRY(undefine_domain(guest.uuid));
    if (hooks.images != nullptr)
        NOVALET_TRY(files_.create(guest, *hooks.images, hooks.stop)); // only what is missing
    SpawnHooks without_wait = hooks;
    without_wait.wait_for_plugged = nullptr;
    return define_and_start(guest, without_wait);
}

Result<bool> LibvirtHypervisor::soft_reboot(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto guest, connection_.info(uuid));
    if (guest.state != PowerState::Running)
        return false;
    NOVALET_TRY(connection_.shutdown(uuid));
    const auto deadline = Deadline::after(options_.soft_reboot_timeout);
    while (!deadline.passed()) {
        NOVALET_ASSIGN(const auto now, connection_.info(uuid));
        if (now.state == PowerState::Shutdown || now.state == PowerState::Crashed) {
            NOVALET_TRY(connection_.launch(uuid, false));
            return true;
        }
        nap(poll_pause);
    }
    return false;
}

Result<void> LibvirtHypervisor::pause(const InstanceUuid& uuid) {
    return connection_.suspend(uuid);
}

Result<void> LibvirtHypervisor::unpause(const InstanceUuid& uuid) {
    return connection_.resume(uuid);
}

Result<void> LibvirtHypervisor::suspend(const InstanceUuid& uuid) {
    return connection_.managed_save(uuid);
}

Result<void> LibvirtHypervisor::resume(const GuestSpec& guest) {
    for (const auto& interface : guest.interfaces)
        NOVALET_TRY(plugger_.plug(interface, guest.uuid));
    NOVALET_TRY(connection_.launch(guest.uuid, false)); // restores the saved state
    return wait_running(guest.uuid);
}

Result<void> LibvirtHypervisor::plug(const GuestSpec& guest) {
    for (const auto& interface : guest.interfaces)
        NOVALET_TRY(plugger_.plug(interface, guest.uuid));
    return {};
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
