#pragma once
// What the operations on one server share: its record, the records around the work (action event,
// fault, task_state), and what a failure leaves by the method's policy.
#include "agent/rpc/request.hpp"
#include "agent/tasks/engine/saga.hpp"
#include "agent/tasks/records/failure_policy.hpp"
#include "agent/tasks/services.hpp"

#include <memory>
#include <string>
#include <vector>

namespace novalet::tasks {

/// One accepted request and what the catalogue says of its method.
struct OperationCall {
    std::shared_ptr<const rpc::Request> request;
    std::string event; ///< action event; empty = none
    FailurePolicy on_failure;

    [[nodiscard]] const Json& argument(std::string_view name) const { return request->args[name]; }
    [[nodiscard]] const rpc::Context& context() const { return request->context; }
};

class InstanceOperation : public Saga {
  public:
    InstanceOperation(const Services& services, OperationCall call);

    [[nodiscard]] Result<void> restore(const Json& state, int version) override;
    [[nodiscard]] Result<bool> resume() override;
    [[nodiscard]] Result<void> resume_undo() override;
    [[nodiscard]] Result<void> begin() override;
    [[nodiscard]] Result<void> end(const Error* failure) override;
    [[nodiscard]] Result<void> conclude(const Error& failure) override;
    [[nodiscard]] Result<void> unlock(const Error& failure) override;
    [[nodiscard]] Error given_up() const override;

  protected:
    /// After the record was read again: is the operation still to be done? By default as long as
    /// the server has the task_state that it came with, or one that `own_task_states` names.
    [[nodiscard]] virtual Result<bool> still_wanted();
    /// task_states that the operation itself gives the server on its way.
    [[nodiscard]] virtual std::vector<std::string> own_task_states() const { return {}; }
    /// Fields of the record that the operation reads beside its columns.
    [[nodiscard]] virtual std::vector<std::string> fields() const {
        return {"info_cache", "system_metadata", "flavor"};
    }
    /// vm_state after a failure; by default as the method's policy says.
    [[nodiscard]] virtual VmStateAfter vm_state_after() const { return call_.on_failure.vm_state; }
    /// Notification of the operation's failure, after the fault; by default none.
    virtual void tell_failure(const Error& /*failure*/) {}

    [[nodiscard]] const OperationCall& call() const noexcept { return call_; }
    [[nodiscard]] const rpc::Context& context() const { return call_.context(); }
    [[nodiscard]] objects::Object& instance() noexcept { return instance_; }
    [[nodiscard]] const InstanceUuid& uuid() const noexcept { return uuid_; }
    /// Instance.save; `expected` empty = no check of the task_state.
    [[nodiscard]] Result<void> save(const std::vector<TaskState>& expected = {});

    const RecordServices& records_;

  private:
    [[nodiscard]] Result<void> conclude_volumes();
    [[nodiscard]] Result<void> conclude_allocation();
    [[nodiscard]] Result<void> conclude_migration();
    [[nodiscard]] Result<void> conclude_vm_state(const Error& failure);

    const GuestServices& guests_;
    const VolumeServices& volumes_;
    const BookServices& books_;
    const OperationCall call_;
    objects::Object instance_;
    const InstanceUuid uuid_;
    const std::string first_vm_state_;
    const std::string first_task_state_;
};

} // namespace novalet::tasks
