#pragma once
// Power verbs on a server that exists (nova.compute.manager.ComputeManager: stop_instance,
// start_instance, reboot_instance, pause_instance, unpause_instance, suspend_instance,
// resume_instance). Each is two steps: the guest, then the record.
#include "agent/tasks/instance_operation.hpp"

namespace novalet::tasks {

/// What the verbs share.
class PowerOperation : public InstanceOperation {
  public:
    /// `action`: the name that notifications give the operation.
    PowerOperation(const Services& services, OperationCall call, const char* action);

  protected:
    [[nodiscard]] hypervisor::PowerState power_state() const;
    void tell(const char* phase, const Error* error = nullptr);
    /// The record's new states; the operation is over with it.
    [[nodiscard]] Result<void> save_states(const std::string& vm_state,
                                           const std::vector<TaskState>& expected);
    /// The guest as it has to be defined, with the interfaces as Neutron knows them now.
    [[nodiscard]] Result<hypervisor::GuestSpec> guest();
    [[nodiscard]] Result<void> power_on(const hypervisor::GuestSpec& spec);

    const GuestServices& guests_;
    const NetworkServices& network_;
    const BookServices& books_;

  private:
    const char* const action_;
};

class StopInstance final : public Steps<StopInstance, PowerOperation> {
  public:
    StopInstance(const Services& services, OperationCall call)
        : Steps(services, std::move(call), "power_off") {}
    [[nodiscard]] static std::span<const Step<StopInstance>> table();

  private:
    [[nodiscard]] Result<void> power_off();
    [[nodiscard]] Result<void> record();
    bool was_down_ = false; ///< before it was powered off
};

class StartInstance final : public Steps<StartInstance, PowerOperation> {
  public:
    StartInstance(const Services& services, OperationCall call)
        : Steps(services, std::move(call), "power_on") {}
    [[nodiscard]] static std::span<const Step<StartInstance>> table();

  private:
    [[nodiscard]] Result<void> start();
    [[nodiscard]] Result<void> record();
};

/// A failed reboot of a guest that runs is none: the fault is recorded and the server is ACTIVE.
class RebootInstance final : public Steps<RebootInstance, PowerOperation> {
  public:
    RebootInstance(const Services& services, OperationCall call);
    [[nodiscard]] static std::span<const Step<RebootInstance>> table();
    [[nodiscard]] Json state() const override;
    [[nodiscard]] Result<void> restore(const Json& state, int version) override;

  protected:
    [[nodiscard]] std::vector<std::string> own_task_states() const override;
    /// ERROR only when it was the guest that failed.
    [[nodiscard]] VmStateAfter vm_state_after() const override;

  private:
    [[nodiscard]] std::string task(const char* name) const;
    [[nodiscard]] Result<void> announce();
    [[nodiscard]] Result<void> reboot();
    [[nodiscard]] Result<void> reboot_guest();
    [[nodiscard]] Result<void> record();
    const bool hard_;
    bool guest_failed_ = false;
};

class PauseInstance final : public Steps<PauseInstance, PowerOperation> {
  public:
    PauseInstance(const Services& services, OperationCall call)
        : Steps(services, std::move(call), "pause") {}
    [[nodiscard]] static std::span<const Step<PauseInstance>> table();

  private:
    [[nodiscard]] Result<void> pause();
    [[nodiscard]] Result<void> record();
};

class UnpauseInstance final : public Steps<UnpauseInstance, PowerOperation> {
  public:
    UnpauseInstance(const Services& services, OperationCall call)
        : Steps(services, std::move(call), "unpause") {}
    [[nodiscard]] static std::span<const Step<UnpauseInstance>> table();

  private:
    [[nodiscard]] Result<void> unpause();
    [[nodiscard]] Result<void> record();
};

class SuspendInstance final : public Steps<SuspendInstance, PowerOperation> {
  public:
    SuspendInstance(const Services& services, OperationCall call)
        : Steps(services, std::move(call), "suspend") {}
    [[nodiscard]] static std::span<const Step<SuspendInstance>> table();

  private:
    [[nodiscard]] Result<void> suspend();
    [[nodiscard]] Result<void> record();
};

class ResumeInstance final : public Steps<ResumeInstance, PowerOperation> {
  public:
    ResumeInstance(const Services& services, OperationCall call)
        : Steps(services, std::move(call), "resume") {}
    [[nodiscard]] static std::span<const Step<ResumeInstance>> table();

  private:
    [[nodiscard]] Result<void> resume_guest();
    [[nodiscard]] Result<void> record();
};

} // namespace novalet::tasks
