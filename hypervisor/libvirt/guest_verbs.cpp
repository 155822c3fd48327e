// Verbs on guests: spawn, destroy, power (reference 07 §7 to §9).
#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/domain/hardware.hpp"
#include "hypervisor/libvirt/host_serial.hpp"
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

Result<LibvirtHypervisor::Definition> LibvirtHypervisor::definition(const InstanceUuid& uuid) {
    const auto xml = connection_.xml(uuid);
    if (!xml && xml.error().code == Code::NotFound)
        return Definition();
    if (!xml)
        return Failure(xml.error());
    NOVALET_ASSIGN(auto live, domain::read_domain(*xml));
    return Definition(std::move(live));
}

/// What was written down when the guest was made beats what is configured now.
Result<domain::Domain> LibvirtHypervisor::describe(const GuestSpec& guest,
                                                   const Definition& before) {
    NOVALET_ASSIGN(const auto known, this->known());
    domain::DomainOptions options = known->domain;
    NOVALET_ASSIGN(options.host_serial, host_serial(options.sysinfo_serial, known->host.uuid));
    NOVALET_ASSIGN(const auto kernel, topology::read_kernel_state());
    options.online_cpus = kernel.online.str();
    NOVALET_ASSIGN(options.host, topology::host_topology(known->host, kernel, options_.topology));
    GuestSpec recorded = guest;
    for (auto& disk : recorded.disks) {
        NOVALET_ASSIGN(disk.format, files_.format_of(guest.uuid, disk.file_name));
    }
    if (recorded.config_drive)
        recorded.config_drive->vfat =
            files_.config_drive_is_vfat(guest.uuid).value_or(recorded.config_drive->vfat);
    if (before)
        domain::keep_hardware(*before, recorded, options);
    return domain::build_domain(recorded, options);
}

Result<std::map<std::string, std::string>> LibvirtHypervisor::hardware(const GuestSpec& guest) {
    NOVALET_ASSIGN(const auto known, this->known());
    NOVALET_ASSIGN(const auto before, definition(guest.uuid));
    domain::DomainOptions options = known->domain;
    GuestSpec recorded = guest;
    if (before)
        domain::keep_hardware(*before, recorded, options);
    return domain::hardware_of(recorded, options);
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
void LibvirtHypervisor::check_granted(const GuestSpec& guest, const std::string& name) {
    if (!guest.numa)
        return;
    const auto pid_text = read_file(cat("/run/libvirt/qemu/", name, ".pid"));
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

Result<void> LibvirtHypervisor::define(const domain::Domain& described, const SpawnHooks& hooks) {
    NOVALET_TRY(not_stopped(hooks));
    step(hooks, "define");
    return connection_.define(domain::write_domain(described));
}

/// `name`: of the domain.
Result<void>
LibvirtHypervisor::run(const GuestSpec& guest, const std::string& name, const SpawnHooks& hooks) {
    NOVALET_TRY(not_stopped(hooks));
    step(hooks, "start");
    NOVALET_TRY(connection_.drop_managed_save(guest.uuid));
    NOVALET_TRY(connection_.launch(guest.uuid, static_cast<bool>(hooks.wait_for_plugged)));
    NOVALET_TRY(let_run(guest, hooks));
    check_granted(guest, name);
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

Result<void>
LibvirtHypervisor::make(const GuestSpec& guest, const SpawnHooks& hooks, Attempt& attempt) {
    const auto existing = connection_.info(guest.uuid);
    if (!existing && existing.error().code != Code::NotFound)
        return Failure(existing.error());
    attempt.domain_was_there = static_cast<bool>(existing);
    if (existing &&
        (existing->state == PowerState::Running || existing->state == PowerState::Paused)) {
        NOVALET_ASSIGN(attempt.claimed, files_.claim(guest.uuid));
        return carry_on(guest, hooks);
    }
    if (hooks.images == nullptr)
        return fail(Code::Internal, "spawn without a source of images");
    // Described first: a guest that this host cannot run leaves no trace.
    NOVALET_ASSIGN(const auto described, describe(guest, {}));
    NOVALET_ASSIGN(attempt.claimed, files_.claim(guest.uuid));
    attempt.began = true;
    step(hooks, "disks");
    NOVALET_TRY(files_.create(guest, *hooks.images, hooks.stop));
    NOVALET_TRY(files_.create_config_drive(guest));
    NOVALET_TRY(not_stopped(hooks));
    step(hooks, "plug");
    NOVALET_TRY(plug_all(guest));
    NOVALET_TRY(define(described, hooks)); // in the place of one that was defined and never ran
    return run(guest, described.name, hooks);
}

/// A domain or a folder that this call found may be a living guest, unless this host claims it.
void LibvirtHypervisor::clean_up(const GuestSpec& guest, const Attempt& attempt) {
    if (!attempt.claimed && (attempt.domain_was_there || !attempt.began))
        return;
    const DestroyOptions options(attempt.claimed ? Disks::Remove : Disks::Keep, guest.interfaces);
    if (const auto cleaned = destroy(guest.uuid, options); !cleaned)
        log::error("what a failed spawn made could not be removed; it is left to a later destroy",
                   {{"instance", guest.uuid.str()}, {"error", cleaned.error().text}});
}

Result<void> LibvirtHypervisor::spawn(const GuestSpec& guest, const SpawnHooks& hooks) {
    Attempt attempt;
    auto made = make(guest, hooks, attempt);
    if (made)
        made = files_.release(guest.uuid);
    if (made)
        return {};
    if (link_lost(made.error()))
        return made; // the next call finds what there is and goes on
    log::warning("the guest could not be made; what this host made of it is removed",
                 {{"instance", guest.uuid.str()}, {"error", made.error().text}});
    clean_up(guest, attempt);
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

Result<void> LibvirtHypervisor::remove_domain(const InstanceUuid& uuid) {
    const auto existing = connection_.info(uuid);
    if (!existing && existing.error().code == Code::NotFound)
        return {};
    if (!existing)
        return Failure(existing.error());
    if (!is_off(existing->state))
        NOVALET_TRY(end_domain(uuid));
    auto gone = connection_.undefine(uuid);
    if (!gone && gone.error().code == Code::NotFound)
        return {};
    return gone;
}

Result<void> LibvirtHypervisor::destroy(const InstanceUuid& uuid, const DestroyOptions& options) {
    NOVALET_TRY(remove_domain(uuid));
    for (const auto& interface : options.interfaces)
        if (const auto unplugged = plugger_.unplug(interface); !unplugged)
            log::warning("an interface could not be unplugged",
                         {{"instance", uuid.str()},
                          {"port", interface.port.str()},
                          {"error", unplugged.error().text}});
    if (options.disks == Disks::Remove)
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

namespace {

/// Formats of the disks below `folder`, by file name.
std::map<std::string, std::string> formats_in(const domain::LiveDomain& domain,
                                              const std::filesystem::path& folder) {
    std::map<std::string, std::string> out;
    for (const auto& disk : domain.disks) {
        const std::filesystem::path file(disk.source);
        if (file.parent_path() == folder && (disk.format == "raw" || disk.format == "qcow2"))
            out.emplace(file.filename().string(), disk.format);
    }
    return out;
}

} // namespace

/// Look first, destroy afterwards: files, description, interfaces, and libvirt takes the new
/// definition before the old run ends.
Result<void> LibvirtHypervisor::power_on(const GuestSpec& guest, const SpawnHooks& hooks) {
    NOVALET_ASSIGN(const auto before, definition(guest.uuid));
    NOVALET_TRY(files_.note_formats(guest,
                                    before ? formats_in(*before, files_.folder(guest.uuid))
                                           : std::map<std::string, std::string>()));
    NOVALET_TRY(files_.complete(guest, hooks.images, hooks.stop));
    NOVALET_ASSIGN(const auto described, describe(guest, before));
    step(hooks, "plug");
    NOVALET_TRY(plug_all(guest));
    NOVALET_TRY(define(described, hooks));
    NOVALET_TRY(not_stopped(hooks));
    step(hooks, "remove");
    NOVALET_TRY(end_domain(guest.uuid));
    SpawnHooks at_once = hooks;
    at_once.wait_for_plugged = nullptr;
    return run(guest, described.name, at_once);
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
