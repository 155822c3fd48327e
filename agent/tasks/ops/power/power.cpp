#include "agent/tasks/ops/power/power.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/recorded_guest.hpp"

#include <array>

namespace novalet::tasks {
namespace {

using hypervisor::PowerState;

constexpr auto again = AfterCrash::Again;

} // namespace

PowerOperation::PowerOperation(const Services& services, OperationCall call, const char* action)
    : InstanceOperation(services, std::move(call)), guests_(services), network_(services),
      books_(services), action_(action) {}

PowerState PowerOperation::power_state() const {
    const auto info = guests_.hypervisor.info(uuid());
    return info ? info->state : PowerState::NoState;
}

void PowerOperation::tell(const char* phase, const Error* error) {
    records_.notifier.instance_action(context(), instance(), action_, phase, error);
}

Result<void> PowerOperation::save_states(const std::string& vm_state,
                                         const std::vector<TaskState>& expected) {
    instance().set("power_state", static_cast<int>(power_state()));
    instance().set("vm_state", vm_state);
    instance().set("task_state", nullptr);
    NOVALET_TRY(save(expected));
    books_.resources.update(instance());
    tell("end");
    return {};
}

Result<hypervisor::GuestSpec> PowerOperation::guest() {
    NOVALET_TRY(records_.conductor.load(instance(), {"info_cache"}, context()));
    // With every port that Neutron has for it: a card that the cache lost is there again, and a
    // port that is not bound to this host is.
    NOVALET_ASSIGN(const auto info,
                   network_.networks.bind_to_host(context().elevated(), instance()));
    return recorded_guest(records_, context(), instance(), info);
}

Result<void> PowerOperation::power_on(const hypervisor::GuestSpec& spec) {
    const auto images = guests_.images.for_request(context());
    hypervisor::SpawnHooks hooks;
    hooks.images = images.get();
    hooks.stop = stop();
    return guests_.hypervisor.power_on(spec, hooks);
}

// --- stop

std::span<const Step<StopInstance>> StopInstance::table() {
    static constexpr std::array<Step<StopInstance>, 2> steps{{
        {"stop_instance", again, &StopInstance::power_off},
        {"record", again, &StopInstance::record},
    }};
    return steps;
}

Result<void> StopInstance::power_off() {
    const auto before = power_state();
    was_down_ = before == PowerState::Shutdown || before == PowerState::NoState ||
                before == PowerState::Crashed;
    tell("start");
    hypervisor::PowerOffOptions options;
    if (call().argument("clean_shutdown").as_bool(true)) {
        options.timeout = records_.options.shutdown_timeout;
        options.retry_interval = records_.options.shutdown_retry_interval;
        const auto& wished =
            instance().get("system_metadata")["image_os_shutdown_timeout"].as_string();
        if (const auto seconds = to_number<unsigned>(wished))
            options.timeout = Seconds(*seconds);
    }
    return guests_.hypervisor.power_off(uuid(), options);
}

Result<void> StopInstance::record() {
    std::vector<TaskState> expected{"powering-off"};
    if (was_down_)
        expected.emplace_back(std::nullopt);
    return save_states("stopped", expected);
}

// --- start

std::span<const Step<StartInstance>> StartInstance::table() {
    static constexpr std::array<Step<StartInstance>, 2> steps{{
        {"start_instance", again, &StartInstance::start},
        {"record", again, &StartInstance::record},
    }};
    return steps;
}

Result<void> StartInstance::start() {
    tell("start");
    NOVALET_ASSIGN(const auto spec, guest());
    return power_on(spec);
}

Result<void> StartInstance::record() {
    return save_states("active", {"powering-on"});
}

// --- reboot

RebootInstance::RebootInstance(const Services& services, OperationCall call)
    : Steps(services, std::move(call), "reboot"),
      hard_(this->call().argument("reboot_type").as_string() == "HARD") {}

std::span<const Step<RebootInstance>> RebootInstance::table() {
    static constexpr std::array<Step<RebootInstance>, 3> steps{{
        {"announce", again, &RebootInstance::announce},
        {"reboot_instance", again, &RebootInstance::reboot},
        {"record", again, &RebootInstance::record},
    }};
    return steps;
}

std::string RebootInstance::task(const char* name) const {
    return hard_ ? cat(name, "_hard") : name;
}

std::vector<std::string> RebootInstance::own_task_states() const {
    return {task("rebooting"), task("reboot_pending"), task("reboot_started")};
}

Result<void> RebootInstance::announce() {
    tell("start");
    instance().set("task_state", task("reboot_pending"));
    NOVALET_TRY(save({task("rebooting"), task("reboot_pending"), task("reboot_started")}));
    instance().set("task_state", task("reboot_started"));
    return save({task("reboot_pending")});
}

Json RebootInstance::state() const {
    return Json::object().set("guest_failed", guest_failed_);
}

Result<void> RebootInstance::restore(const Json& state, int /*version*/) {
    guest_failed_ = state["guest_failed"].as_bool();
    return {};
}

VmStateAfter RebootInstance::vm_state_after() const {
    return guest_failed_ ? VmStateAfter::Error : VmStateAfter::Kept;
}

Result<void> RebootInstance::reboot_guest() {
    if (!hard_) {
        NOVALET_ASSIGN(const bool done, guests_.hypervisor.soft_reboot(uuid()));
        if (done)
            return {};
    }
    NOVALET_ASSIGN(const auto spec, guest());
    auto on = power_on(spec);
    guest_failed_ = !on && !waits_for_peer(on.error());
    return on;
}

Result<void> RebootInstance::reboot() {
    auto done = reboot_guest();
    if (done || waits_for_peer(done.error()) || power_state() != PowerState::Running)
        return done;
    log::warning("the reboot failed but the guest runs", {{"error", done.error().text}});
    NOVALET_TRY(record_fault(records_.operation_host(), context(), uuid().str(), done.error()));
    tell("error", &done.error());
    return {};
}

Result<void> RebootInstance::record() {
    return save_states(instance().text("vm_state") == "rescued" ? "rescued" : "active",
                       {task("reboot_started")});
}

// --- pause and unpause

std::span<const Step<PauseInstance>> PauseInstance::table() {
    static constexpr std::array<Step<PauseInstance>, 2> steps{{
        {"pause_instance", again, &PauseInstance::pause},
        {"record", again, &PauseInstance::record},
    }};
    return steps;
}

Result<void> PauseInstance::pause() {
    tell("start");
    return guests_.hypervisor.pause(uuid());
}

Result<void> PauseInstance::record() {
    return save_states("paused", {"pausing"});
}

std::span<const Step<UnpauseInstance>> UnpauseInstance::table() {
    static constexpr std::array<Step<UnpauseInstance>, 2> steps{{
        {"unpause_instance", again, &UnpauseInstance::unpause},
        {"record", again, &UnpauseInstance::record},
    }};
    return steps;
}

Result<void> UnpauseInstance::unpause() {
    tell("start");
    return guests_.hypervisor.unpause(uuid());
}

Result<void> UnpauseInstance::record() {
    return save_states("active", {"unpausing"});
}

// --- suspend and resume

std::span<const Step<SuspendInstance>> SuspendInstance::table() {
    static constexpr std::array<Step<SuspendInstance>, 2> steps{{
        {"suspend_instance", again, &SuspendInstance::suspend},
        {"record", again, &SuspendInstance::record},
    }};
    return steps;
}

Result<void> SuspendInstance::suspend() {
    NOVALET_TRY(records_.conductor.load(instance(), {"system_metadata"}, context()));
    tell("start");
    return guests_.hypervisor.suspend(uuid());
}

Result<void> SuspendInstance::record() {
    NOVALET_TRY(records_.conductor.load(instance(), {"system_metadata"}, context()));
    instance().set_item("system_metadata", "old_vm_state", instance().get("vm_state"));
    return save_states("suspended", {"suspending"});
}

std::span<const Step<ResumeInstance>> ResumeInstance::table() {
    static constexpr std::array<Step<ResumeInstance>, 2> steps{{
        {"resume_instance", again, &ResumeInstance::resume_guest},
        {"record", again, &ResumeInstance::record},
    }};
    return steps;
}

Result<void> ResumeInstance::resume_guest() {
    tell("start");
    NOVALET_ASSIGN(const auto spec, guest());
    return guests_.hypervisor.resume(spec);
}

Result<void> ResumeInstance::record() {
    const std::string before =
        instance().get("system_metadata")["old_vm_state"].as_string("active");
    instance().erase_item("system_metadata", "old_vm_state");
    return save_states(before, {"resuming"});
}

} // namespace novalet::tasks
