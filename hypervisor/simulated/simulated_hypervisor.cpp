#include "hypervisor/simulated/simulated_hypervisor.hpp"

#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/domain/hardware.hpp"

#include <algorithm>
#include <condition_variable>

namespace novalet::hypervisor::simulated {
namespace {

namespace fs = std::filesystem;

Failure not_found(const InstanceUuid& uuid) {
    return fail_as("InstanceNotFound",
                   Code::NotFound,
                   cat("Instance ", uuid.str(), " could not be found on this simulated host."));
}

bool really_wait(Milliseconds span, const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any wake;
    wake.wait_for(lock, stop, span, [] { return false; });
    return !stop.stop_requested();
}

std::int64_t seconds_of(WallTime time) {
    return std::chrono::duration_cast<Seconds>(time.time_since_epoch()).count();
}

bool is_off(PowerState state) {
    return state != PowerState::Running && state != PowerState::Paused;
}

void add_ports(GuestRecord& record, const std::vector<InterfaceSpec>& interfaces) {
    for (const auto& interface : interfaces)
        if (std::find(record.ports.begin(), record.ports.end(), interface.port.str()) ==
            record.ports.end())
            record.ports.push_back(interface.port.str());
}

} // namespace

SimulatedHypervisor::SimulatedHypervisor(Options options, const Clock& clock)
    : options_(std::move(options)), clock_(clock), booted_(clock.wall()) {}

SimulatedHypervisor::~SimulatedHypervisor() {
    events_.stop();
}

Result<void> SimulatedHypervisor::start(std::function<void(const GuestEvent&)> sink) {
    NOVALET_TRY(read_state());
    events_.start(std::move(sink));
    return {};
}

void SimulatedHypervisor::stop() {
    events_.stop();
}

void SimulatedHypervisor::on_link(LinkListener listener) {
    const std::lock_guard lock(mutex_);
    link_ = std::move(listener);
}

// Files ------------------------------------------------------------------------------------------

fs::path SimulatedHypervisor::file_of(const InstanceUuid& uuid) const {
    return options_.state_folder / (uuid.str() + ".json");
}

Result<void> SimulatedHypervisor::read_state() {
    if (options_.state_folder.empty())
        return {};
    std::error_code error;
    fs::create_directories(options_.state_folder, error);
    if (error)
        return fail(Code::Unavailable,
                    cat("state folder ",
                        options_.state_folder.string(),
                        " of simulated host ",
                        options_.hostname,
                        " cannot be made: ",
                        error.message()));
    std::map<InstanceUuid, GuestRecord> found;
    for (const auto& entry : fs::directory_iterator(options_.state_folder, error)) {
        if (entry.path().extension() != ".json")
            continue;
        const auto guest = [&]() -> Result<GuestRecord> {
            NOVALET_ASSIGN(const auto text, read_file(entry.path()));
            NOVALET_ASSIGN(const auto document, Json::parse(text));
            return guest_record_from_json(document);
        }();
        if (guest && file_of(guest->uuid) == entry.path()) {
            found.emplace(guest->uuid, *guest);
            continue;
        }
        log::error("the record of a simulated guest is damaged and moved aside",
                   {{"file", entry.path().string()},
                    {"reason", guest ? "it is named for another guest" : guest.error().text}});
        fs::rename(entry.path(), entry.path().string() + ".damaged", error);
    }
    const std::lock_guard lock(mutex_);
    guests_ = std::move(found);
    return {};
}

Result<void> SimulatedHypervisor::put(const GuestRecord& guest) {
    {
        const std::lock_guard lock(mutex_);
        guests_.insert_or_assign(guest.uuid, guest);
    }
    if (options_.state_folder.empty())
        return {};
    return write_file_atomically(file_of(guest.uuid), to_json(guest).dump(), 0600);
}

Result<void> SimulatedHypervisor::forget(const InstanceUuid& uuid) {
    if (!options_.state_folder.empty()) {
        std::error_code error;
        fs::remove(file_of(uuid), error);
        if (error)
            return fail(Code::Unavailable,
                        cat("removal of ", file_of(uuid).string(), ": ", error.message()));
    }
    const std::lock_guard lock(mutex_);
    guests_.erase(uuid);
    return {};
}

Result<GuestRecord> SimulatedHypervisor::find(const InstanceUuid& uuid) const {
    NOVALET_TRY(within_reach());
    const std::lock_guard lock(mutex_);
    const auto at = guests_.find(uuid);
    if (at == guests_.end())
        return not_found(uuid);
    return at->second;
}

// Failures and time ------------------------------------------------------------------------------

Result<void> SimulatedHypervisor::within_reach() const {
    const std::lock_guard lock(mutex_);
    if (lost_)
        return link_failure(
            cat("simulated host ", options_.hostname, " is out of reach: ", *lost_));
    return {};
}

Result<void> SimulatedHypervisor::begin(const char* step_name) {
    NOVALET_TRY(within_reach());
    const std::lock_guard lock(mutex_);
    const auto failure = failures_.find(step_name);
    if (failure == failures_.end())
        return {};
    Error error = std::move(failure->second);
    failures_.erase(failure);
    return Failure(std::move(error));
}

Result<void> SimulatedHypervisor::step(const SpawnHooks& hooks, const char* name) {
    if (hooks.stop.stop_requested())
        return fail(Code::Cancelled, cat("stopped before step ", name));
    if (hooks.step)
        hooks.step(name);
    return begin(name);
}

Result<void> SimulatedHypervisor::pass(Milliseconds span, const std::stop_token& stop) const {
    if (span <= Milliseconds::zero())
        return {};
    const bool whole =
        options_.pass_time ? options_.pass_time(span, stop) : really_wait(span, stop);
    return whole ? Result<void>() : fail(Code::Cancelled, "stopped while the host was at work");
}

void SimulatedHypervisor::fail_step(const std::string& step, Error error, unsigned times) {
    const std::lock_guard lock(mutex_);
    for (unsigned i = 0; i < times; ++i)
        failures_.emplace(step, error);
}

Result<void> SimulatedHypervisor::guest_becomes(const InstanceUuid& uuid, PowerState state) {
    NOVALET_ASSIGN(auto record, find(uuid));
    return change(std::move(record), state, "the guest did this by itself");
}

void SimulatedHypervisor::set_reachable(bool reachable, const std::string& reason) {
    LinkListener listener;
    {
        const std::lock_guard lock(mutex_);
        if (reachable == !lost_)
            return;
        if (reachable)
            lost_.reset();
        else
            lost_ = reason;
        listener = link_;
    }
    if (listener)
        listener(reachable, reason);
}

std::vector<std::string> SimulatedHypervisor::plugged(const InstanceUuid& uuid) const {
    const std::lock_guard lock(mutex_);
    const auto at = guests_.find(uuid);
    return at == guests_.end() ? std::vector<std::string>() : at->second.ports;
}

// Verbs ------------------------------------------------------------------------------------------

/// The new state, its line on the console and its event; nothing when it is in that state already.
Result<void>
SimulatedHypervisor::change(GuestRecord record, PowerState state, const char* console) {
    const PowerState before = record.state;
    if (before == state)
        return {};
    record.state = state;
    if (state != PowerState::Suspended)
        record.saved = false;
    record.say(cat(to_utc_text(clock_.wall()), ' ', record.name, ": ", console));
    NOVALET_TRY(put(record));
    GuestEvent event;
    event.uuid = record.uuid;
    switch (state) {
    case PowerState::Running:
        event.kind =
            before == PowerState::Paused ? GuestEvent::Kind::Resumed : GuestEvent::Kind::Started;
        break;
    case PowerState::Paused:
        event.kind = GuestEvent::Kind::Paused;
        break;
    case PowerState::Suspended:
        event.kind = GuestEvent::Kind::Suspended;
        break;
    case PowerState::NoState:
    case PowerState::Shutdown:
    case PowerState::Crashed:
        event.kind = GuestEvent::Kind::Stopped;
        break;
    }
    events_.push(event);
    return {};
}

Result<void> SimulatedHypervisor::let_run(GuestRecord record, const SpawnHooks& hooks) {
    if (hooks.wait_for_plugged) {
        NOVALET_TRY(step(hooks, "wait_for_plugged"));
        NOVALET_TRY(hooks.wait_for_plugged());
        NOVALET_ASSIGN(record, find(record.uuid)); // it may have gone while we waited
    }
    return change(std::move(record), PowerState::Running, "runs");
}

Result<void> SimulatedHypervisor::boot(GuestRecord record, const SpawnHooks& hooks) {
    NOVALET_TRY(step(hooks, "define"));
    record.claimed = true;
    record.defined_at = seconds_of(clock_.wall());
    NOVALET_TRY(put(record));
    NOVALET_TRY(start_guest(record, hooks));
    NOVALET_ASSIGN(auto made, find(record.uuid));
    made.claimed = false;
    return put(made);
}

Result<void> SimulatedHypervisor::start_guest(GuestRecord record, const SpawnHooks& hooks) {
    NOVALET_TRY(step(hooks, "start"));
    NOVALET_TRY(pass(options_.spawn_latency, hooks.stop));
    record.say(cat(to_utc_text(clock_.wall()),
                   ' ',
                   record.name,
                   ": power on, ",
                   record.vcpus,
                   " vCPUs, ",
                   record.memory_mib,
                   " MiB, simulated on ",
                   options_.hostname));
    if (hooks.wait_for_plugged)
        NOVALET_TRY(change(record, PowerState::Paused, "waits for its network"));
    return hooks.wait_for_plugged ? let_run(std::move(record), hooks)
                                  : change(std::move(record), PowerState::Running, "runs");
}

Result<void> SimulatedHypervisor::make(const GuestSpec& guest, const SpawnHooks& hooks) {
    if (!is_uuid(guest.uuid.str())) // it becomes the name of a file
        return fail(Code::InvalidArgument, cat("'", guest.uuid.str(), "' is no instance uuid"));
    NOVALET_TRY(within_reach());
    if (auto existing = find(guest.uuid); existing && !is_off(existing->state)) {
        NOVALET_TRY(step(hooks, "plug"));
        add_ports(*existing, guest.interfaces);
        NOVALET_TRY(put(*existing));
        return let_run(std::move(*existing), hooks);
    }
    NOVALET_TRY(step(hooks, "disks"));
    auto record = record_of(guest);
    NOVALET_TRY(step(hooks, "plug"));
    add_ports(record, guest.interfaces);
    return boot(std::move(record), hooks);
}

Result<void> SimulatedHypervisor::spawn(const GuestSpec& guest, const SpawnHooks& hooks) {
    auto made = make(guest, hooks);
    if (made || !within_reach())
        return made; // out of reach it cannot be cleaned up: the caller's destroy does that later
    const auto left = find(guest.uuid);
    if (!left || !left->claimed)
        return made; // nothing, or a guest that was there before
    if (const auto gone = forget(guest.uuid); !gone)
        log::error("a failed spawn could not be cleaned up",
                   {{"instance", guest.uuid.str()}, {"error", gone.error().text}});
    return made;
}

Result<void> SimulatedHypervisor::destroy(const InstanceUuid& uuid, const DestroyOptions& options) {
    NOVALET_TRY(begin("destroy"));
    if (options.disks == Disks::Remove) {
        const std::lock_guard lock(mutex_);
        std::erase_if(left_behind_, [&](const Leftover& left) {
            return left.kind == Leftover::Kind::Folder && left.uuid == uuid;
        });
    }
    auto record = find(uuid);
    if (!record && record.error().code == Code::NotFound)
        return {};
    if (!record)
        return Failure(record.error());
    NOVALET_TRY(pass(options_.destroy_latency, {}));
    const bool ran = !is_off(record->state);
    if (options.disks == Disks::Remove) {
        NOVALET_TRY(forget(uuid));
    } else {
        record->state = PowerState::Shutdown;
        record->saved = false;
        for (const auto& interface : options.interfaces)
            std::erase(record->ports, interface.port.str());
        NOVALET_TRY(put(*record));
    }
    if (ran)
        events_.push(GuestEvent{uuid, GuestEvent::Kind::Stopped});
    return {};
}

Result<void> SimulatedHypervisor::power_off(const InstanceUuid& uuid,
                                            const PowerOffOptions& /*options*/) {
    NOVALET_TRY(begin("power_off"));
    NOVALET_ASSIGN(auto record, find(uuid));
    if (record.state == PowerState::Shutdown)
        return {};
    NOVALET_TRY(pass(options_.destroy_latency, {}));
    return change(std::move(record), PowerState::Shutdown, "power off");
}

Result<void> SimulatedHypervisor::power_on(const GuestSpec& guest, const SpawnHooks& hooks) {
    const auto before = find(guest.uuid);
    if (!before && before.error().code != Code::NotFound)
        return Failure(before.error());
    auto record = record_of(guest); // defined anew: whatever changed in the spec is in force
    if (before)
        record.console = before->console;
    NOVALET_TRY(step(hooks, "plug"));
    add_ports(record, guest.interfaces);
    NOVALET_TRY(step(hooks, "define"));
    record.defined_at = seconds_of(clock_.wall());
    NOVALET_TRY(step(hooks, "remove"));
    NOVALET_TRY(put(record));
    SpawnHooks at_once = hooks;
    at_once.wait_for_plugged = nullptr;
    return start_guest(std::move(record), at_once);
}

Result<bool> SimulatedHypervisor::soft_reboot(const InstanceUuid& uuid) {
    NOVALET_TRY(begin("soft_reboot"));
    NOVALET_ASSIGN(auto record, find(uuid));
    if (record.state != PowerState::Running)
        return false;
    NOVALET_TRY(change(record, PowerState::Shutdown, "goes down for a reboot"));
    NOVALET_ASSIGN(record, find(uuid));
    NOVALET_TRY(change(std::move(record), PowerState::Running, "runs again"));
    return true;
}

Result<void> SimulatedHypervisor::pause(const InstanceUuid& uuid) {
    NOVALET_TRY(begin("pause"));
    NOVALET_ASSIGN(auto record, find(uuid));
    if (is_off(record.state))
        return fail_as("InstanceInvalidState",
                       Code::Conflict,
                       cat("Instance ", uuid.str(), " does not run and cannot be paused"));
    return change(std::move(record), PowerState::Paused, "paused");
}

Result<void> SimulatedHypervisor::unpause(const InstanceUuid& uuid) {
    NOVALET_TRY(begin("unpause"));
    NOVALET_ASSIGN(auto record, find(uuid));
    if (is_off(record.state))
        return fail_as("InstanceInvalidState",
                       Code::Conflict,
                       cat("Instance ", uuid.str(), " does not run and cannot be unpaused"));
    return change(std::move(record), PowerState::Running, "goes on");
}

Result<void> SimulatedHypervisor::suspend(const InstanceUuid& uuid) {
    NOVALET_TRY(begin("suspend"));
    NOVALET_ASSIGN(auto record, find(uuid));
    if (record.saved)
        return {};
    if (is_off(record.state))
        return fail_as("InstanceInvalidState",
                       Code::Conflict,
                       cat("Instance ", uuid.str(), " does not run and cannot be suspended"));
    record.saved = true;
    return change(std::move(record), PowerState::Suspended, "memory saved");
}

Result<void> SimulatedHypervisor::resume(const GuestSpec& guest) {
    NOVALET_TRY(begin("resume"));
    NOVALET_ASSIGN(auto record, find(guest.uuid));
    if (record.state == PowerState::Running)
        return {};
    add_ports(record, guest.interfaces);
    NOVALET_TRY(pass(options_.spawn_latency, {}));
    return change(std::move(record), PowerState::Running, "memory restored");
}

Result<void> SimulatedHypervisor::plug(const GuestSpec& guest) {
    NOVALET_TRY(begin("plug"));
    NOVALET_ASSIGN(auto record, find(guest.uuid));
    add_ports(record, guest.interfaces);
    return put(record);
}

Result<void> SimulatedHypervisor::detach_interface(const InstanceUuid& uuid,
                                                   const InterfaceSpec& interface,
                                                   const std::stop_token& /*stop*/) {
    NOVALET_TRY(begin("detach_interface"));
    NOVALET_ASSIGN(auto record, find(uuid));
    if (std::erase(record.ports, interface.port.str()) == 0)
        return {};
    return put(record);
}

Result<std::map<std::string, std::string>> SimulatedHypervisor::hardware(const GuestSpec& guest) {
    return domain::hardware_of(guest, domain::DomainOptions());
}

void SimulatedHypervisor::leave_behind(Leftover leftover) {
    const std::lock_guard lock(mutex_);
    left_behind_.push_back(std::move(leftover));
}

Result<std::vector<Leftover>> SimulatedHypervisor::leftovers() {
    NOVALET_TRY(within_reach());
    const auto now = seconds_of(clock_.wall());
    const std::lock_guard lock(mutex_);
    std::vector<Leftover> out;
    for (const auto& [uuid, guest] : guests_)
        out.push_back({Leftover::Kind::Domain,
                       uuid,
                       guest.name,
                       Seconds(std::max<std::int64_t>(0, now - guest.defined_at)),
                       !is_off(guest.state),
                       false});
    for (const auto& left : left_behind_)
        if (left.kind == Leftover::Kind::Device || !guests_.contains(left.uuid))
            out.push_back(left);
    return out;
}

Result<void> SimulatedHypervisor::sweep(const Leftover& leftover) {
    NOVALET_TRY(begin("sweep"));
    if (leftover.kind == Leftover::Kind::Domain)
        return forget(leftover.uuid);
    const std::lock_guard lock(mutex_);
    if (leftover.kind == Leftover::Kind::Folder && guests_.contains(leftover.uuid))
        return fail(Code::Conflict, cat(leftover.name, " belongs to a domain and is kept"));
    std::erase_if(left_behind_, [&](const Leftover& left) {
        return left.kind == leftover.kind && left.name == leftover.name;
    });
    return {};
}

Result<std::string> SimulatedHypervisor::console_log(const InstanceUuid& uuid) {
    NOVALET_TRY(begin("console_log"));
    NOVALET_ASSIGN(const auto record, find(uuid));
    return record.console;
}

Result<VncAddress> SimulatedHypervisor::vnc(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto record, find(uuid));
    return fail_as("ConsoleTypeUnavailable",
                   Code::NotFound,
                   cat("Unavailable console type vnc: ",
                       record.name,
                       " is a simulated guest, which has no screen."));
}

} // namespace novalet::hypervisor::simulated
