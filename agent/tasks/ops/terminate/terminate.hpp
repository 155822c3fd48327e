#pragma once
// Deletes a server (nova.compute.manager.ComputeManager.terminate_instance). Every step makes sure
// that something is gone, so nothing is undone: a delete that was interrupted goes on.
#include "agent/tasks/instance_operation.hpp"

namespace novalet::tasks {

class TerminateInstance final : public Steps<TerminateInstance, InstanceOperation> {
  public:
    TerminateInstance(const Services& services, OperationCall call);
    [[nodiscard]] static std::span<const Step<TerminateInstance>> table();
    /// False when the record is gone already.
    [[nodiscard]] Result<bool> resume() override;

  protected:
    [[nodiscard]] Result<bool> still_wanted() override;

  private:
    [[nodiscard]] Result<void> destroy_guest();
    [[nodiscard]] Result<void> deallocate_networks();
    [[nodiscard]] Result<void> release_volumes();
    [[nodiscard]] Result<void> save_deleted();
    [[nodiscard]] Result<void> delete_allocation();
    [[nodiscard]] Result<void> destroy_record();

    const GuestServices& guests_;
    const VolumeServices& volumes_;
    const NetworkServices& network_;
    const BookServices& books_;
};

} // namespace novalet::tasks
