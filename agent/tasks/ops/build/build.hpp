#pragma once
// Builds a server (nova.compute.manager.ComputeManager.build_and_run_instance and
// _do_build_and_run_instance): ACTIVE, given back to the scheduler, ERROR with a reason, or nothing
// left when the server is being deleted.
#include "agent/tasks/instance_operation.hpp"

#include <future>
#include <optional>

namespace novalet::tasks {

class BuildInstance final : public Steps<BuildInstance, InstanceOperation> {
  public:
    BuildInstance(const Services& services, OperationCall call);
    [[nodiscard]] static std::span<const Step<BuildInstance>> table();

    [[nodiscard]] Json state() const override;
    [[nodiscard]] Result<void> restore(const Json& state, int version) override;
    [[nodiscard]] Result<bool> resume() override;
    [[nodiscard]] Result<void> resume_undo() override;
    [[nodiscard]] Result<void> begin() override;
    [[nodiscard]] Result<void> end(const Error* failure) override;
    [[nodiscard]] Result<void> conclude(const Error& failure) override;
    [[nodiscard]] Result<void> unlock(const Error& failure) override;
    [[nodiscard]] Error given_up() const override;
    [[nodiscard]] bool gives_way() const override { return true; }

  protected:
    [[nodiscard]] Result<bool> still_wanted() override;
    [[nodiscard]] std::vector<std::string> fields() const override;

  private:
    // Steps, in order.
    [[nodiscard]] Result<void> take_over();
    [[nodiscard]] Result<void> claim();
    [[nodiscard]] Result<void> start_networks();
    [[nodiscard]] Result<void> block_devices();
    [[nodiscard]] Result<void> spawn();
    [[nodiscard]] Result<void> finish();
    [[nodiscard]] Result<void> give_allocation_back();
    [[nodiscard]] Result<void> drop_claim();
    [[nodiscard]] Result<void> deallocate_networks();
    [[nodiscard]] Result<void> remove_guest();

    /// task_states in which the next save may find the record; that of the step itself is one of
    /// them when the answer to an earlier save may have been lost.
    [[nodiscard]] std::vector<TaskState> expecting(std::vector<TaskState> states,
                                                   const char* own) const;
    [[nodiscard]] Result<Json> networks();
    [[nodiscard]] std::vector<Json> mapping_documents() const;
    [[nodiscard]] Result<hypervisor::GuestSpec> guest();
    [[nodiscard]] Result<hypervisor::ConfigDrive> config_drive(const std::vector<Json>& mappings,
                                                               const Json& network_info);
    [[nodiscard]] Result<void> wait_for_plugged(EventWaiters::Waiter& waiter) const;
    void note_roles();
    [[nodiscard]] static std::vector<TaskState> building();
    void clear_host();

    [[nodiscard]] bool others_may_try() const;
    [[nodiscard]] Result<void> reschedule(const Error& failure);
    [[nodiscard]] Result<void> hand_over(const Error& failure);
    [[nodiscard]] Result<void> into_error(const Error& failure);

    const GuestServices& guests_;
    const VolumeServices& volumes_;
    const NetworkServices& network_;
    const BookServices& books_;
    std::vector<objects::Object> mappings_;
    std::future<Result<Json>> network_info_;
    std::optional<Json> known_networks_;
    bool again_ = false;   ///< a step is done a second time
    bool counted_ = false; ///< among the failed builds

    // The state that the journal keeps.
    bool taken_over_ = false; ///< the record says that we build
    bool given_back_ = false; ///< the record says that the scheduler has it
    bool fault_recorded_ = false;
    std::string message_id_; ///< of the message to the conductor
};

} // namespace novalet::tasks
