#pragma once
// What a failed operation leaves behind in the control plane, as data: Nova says it with decorators
// and except blocks (nova/compute/manager.py of Zed to 2026.2).
#include <string_view>

namespace novalet::tasks {

enum class VmStateAfter {
    Kept,    ///< as it is when the operation fails
    Error,   ///< ERROR
    Previous ///< what it was before the operation changed it
};

enum class MigrationAfter {
    Untouched,
    Failed, ///< status "failed": nothing of the move has begun, or it was undone
    Error   ///< status "error": decorator errors_out_migration
};

enum class AllocationAfter {
    Kept,
    Deleted,          ///< all that the server holds
    OurTreeRemoved,   ///< only what it holds below this host's root provider
    MovedBack,        ///< from the migration's uuid to the server's, in place of the server's own
    MigrationsDeleted ///< what the migration's uuid holds; the server's stays
};

/// Of one method of the compute interface: what an operation that fails on its way leaves. Kept,
/// Untouched and false mean that nova-compute does nothing of the kind. `migration` and
/// `allocation` concern only operations that were given a migration, but for a build and an
/// unshelving: a rebuild in place has none.
struct FailurePolicy {
    VmStateAfter vm_state = VmStateAfter::Kept;
    bool fault = true;              ///< InstanceFault (wrap_instance_fault)
    bool reverts_task_state = true; ///< task_state null (reverts_task_state)
    MigrationAfter migration = MigrationAfter::Untouched;
    AllocationAfter allocation = AllocationAfter::Kept;
    bool delete_image = false; ///< the snapshot's image in Glance (delete_image_on_error)
    /// The volumes' attachments that were made for it; with attach_volume the mapping, too.
    bool delete_attachment = false;
    bool roll_detaching = false; ///< Cinder's os-roll_detaching: "detaching" back to "in-use"
    /// Class of an honest refusal (find_exception knows it): nova-api or the conductor turns it
    /// into a 4xx or 501, or into a failure that leaves the server as it was.
    std::string_view refusal = "NotImplementedError";
};

/// The policy when the operation is refused or rolled back before it has touched the guest: the
/// server keeps its state (`_error_out_instance_on_exception` with NotImplementedError or
/// InstanceFaultRollback), and what the caller had prepared is given back as after any failure.
[[nodiscard]] constexpr FailurePolicy of_refusal(FailurePolicy policy) {
    if (policy.vm_state == VmStateAfter::Error)
        policy.vm_state = VmStateAfter::Previous;
    return policy;
}

} // namespace novalet::tasks
