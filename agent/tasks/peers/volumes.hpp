#pragma once
// Volumes as operations need them where a server's use of one ends: deletes, refusals, failures.
// All of it is Cinder's and the conductor's side. What this host itself has of a volume (an iSCSI
// or Fibre Channel session, a mount, the disk of a guest) is taken off by whoever put it there,
// before these are called.
#include "agent/core/result.hpp"
#include "agent/objects/object.hpp"
#include "agent/rpc/context.hpp"

#include <string>
#include <vector>

namespace novalet::tasks {

/// Thread safe; each verb blocks for its calls. A mapping is a BlockDeviceMapping. All verbs may be
/// repeated, by an operation that starts over: what is gone already is no error. A failed call of
/// the conductor comes back as it is, so that the operation can start over.
class Volumes {
  public:
    virtual ~Volumes() = default;

    /// The server is being deleted, or a build is given up, and its guest is gone: Cinder ends the
    /// attachments of all mappings with a volume, one after the other; those without an id the old
    /// way (os-terminate_connection, os-detach). The volumes stay. There is no error to return: a
    /// server must be deletable whatever Cinder says, so a failure is logged (debug when there was
    /// nothing to end, else a warning) and the next mapping is taken
    /// (nova.compute.manager._shutdown_instance, after the driver's destroy).
    virtual void release(const rpc::Context& context,
                         const std::vector<objects::Object>& mappings) = 0;
    /// After release(): volumes of mappings with delete_on_termination are deleted, in this order.
    /// A failure is logged as a warning and does not end it (_cleanup_volumes with detach=False;
    /// its raise_exc only makes nova-compute log once more). A volume with snapshots is refused by
    /// Cinder and stays, as it does with Nova.
    virtual void delete_on_termination(const rpc::Context& context,
                                       const std::vector<objects::Object>& mappings) = 0;
    /// A build failed for good (BuildAbort): release() for each mapping, the record of those with
    /// delete_on_termination destroyed where that went well, and their volumes deleted
    /// (_cleanup_volumes with raise_exc=False). Only an unanswered conductor is an error; all
    /// mappings are tried before.
    [[nodiscard]] virtual Result<void> give_up(const rpc::Context& context,
                                               std::vector<objects::Object>& mappings) = 0;

    /// attach_volume failed or was refused; `mapping` is that of the request. Its attachment is
    /// deleted, without an id the volume unreserved, and the record destroyed in any case. The
    /// error is the conductor's or else Cinder's; Nova's caller then sees it in place of the reason
    /// of the refusal (nova.compute.manager.attach_volume, _attach_volume).
    [[nodiscard]] virtual Result<void> forget_attachment(const rpc::Context& context,
                                                         objects::Object& mapping) = 0;

    /// detach_volume failed or was refused after its mapping was found: the volume is in use again
    /// and the mapping stays (nova.virt.block_device.DriverVolumeBlockDevice.driver_detach). Errors
    /// are Cinder's.
    [[nodiscard]] virtual Result<void> roll_back_detach(const rpc::Context& context,
                                                        const std::string& volume_id) = 0;

    /// What a swap_volume is about. `new_attachment_id` is empty for an attachment without id.
    struct Swap {
        std::string instance_uuid;
        std::string old_volume_id;
        std::string new_volume_id;
        std::string new_attachment_id;
    };
    /// swap_volume failed or was refused before the new volume was connected: the old volume is in
    /// use again, the new one free, and where Cinder asked for the swap to move a volume, it is
    /// told that it failed (nova.compute.manager._do_swap_volume, _swap_volume). VolumeBDMNotFound
    /// when the server has no mapping of the old volume, or the error of reading mapping or volume:
    /// then nothing was changed. Else all steps are tried; the error is that of the last one that
    /// failed.
    [[nodiscard]] virtual Result<void> roll_back_swap(const rpc::Context& context,
                                                      const Swap& swap) = 0;
};

} // namespace novalet::tasks
