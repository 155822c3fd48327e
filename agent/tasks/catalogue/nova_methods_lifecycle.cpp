#include "agent/tasks/catalogue/nova_method_tables.hpp"

#include <array>

namespace novalet::tasks {
namespace {

constexpr std::array backup_instance{
    needed("instance"), needed("image_id"), needed("backup_type"), needed("rotation")};
constexpr std::array build_and_run_instance{needed("instance"),
                                            needed("image"),
                                            needed("request_spec"),
                                            needed("filter_properties"),
                                            needed("accel_uuids"),
                                            optional("admin_password"),
                                            optional("injected_files"),
                                            optional("requested_networks"),
                                            optional("security_groups"),
                                            optional("block_device_mapping"),
                                            optional("node"),
                                            optional("limits"),
                                            optional("host_list")};
constexpr std::array pause_instance{needed("instance")};
constexpr std::array reboot_instance{
    needed("instance"), needed("block_device_info"), needed("reboot_type")};
constexpr std::array rebuild_instance{needed("instance"),
                                      needed("orig_image_ref"),
                                      needed("image_ref"),
                                      needed("injected_files"),
                                      needed("new_pass"),
                                      needed("orig_sys_metadata"),
                                      needed("bdms"),
                                      needed("recreate"),
                                      needed("on_shared_storage"),
                                      needed("preserve_ephemeral"),
                                      needed("migration"),
                                      needed("scheduled_node"),
                                      needed("limits"),
                                      needed("request_spec"),
                                      needed("accel_uuids"),
                                      optional("reimage_boot_volume", "6.1"),
                                      optional("target_state", "6.2")};
constexpr std::array rescue_instance{needed("instance"),
                                     needed("rescue_password"),
                                     needed("rescue_image_ref"),
                                     needed("clean_shutdown")};
constexpr std::array restore_instance{needed("instance")};
constexpr std::array resume_instance{needed("instance")};
constexpr std::array set_admin_password{needed("instance"), needed("new_pass")};
constexpr std::array shelve_instance{
    needed("instance"), needed("image_id"), needed("clean_shutdown"), needed("accel_uuids")};
constexpr std::array shelve_offload_instance{
    needed("instance"), needed("clean_shutdown"), needed("accel_uuids")};
constexpr std::array snapshot_instance{needed("instance"), needed("image_id")};
constexpr std::array soft_delete_instance{needed("instance")};
constexpr std::array start_instance{needed("instance")};
constexpr std::array stop_instance{needed("instance"), needed("clean_shutdown")};
constexpr std::array suspend_instance{needed("instance")};
constexpr std::array terminate_instance{needed("instance"), needed("bdms")};
constexpr std::array unpause_instance{needed("instance")};
constexpr std::array unrescue_instance{needed("instance")};
constexpr std::array unshelve_instance{needed("instance"),
                                       needed("image"),
                                       needed("filter_properties"),
                                       needed("node"),
                                       needed("request_spec"),
                                       needed("accel_uuids")};

constexpr std::array lifecycle{
    MethodFacts{"backup_instance",
                "6.0",
                backup_instance,
                cast,
                "compute_backup_instance",
                Lane::Exclusive,
                deletes_image(reverts("NovaException"))},
    // The event is that of the inner function, which nova-compute runs in the background.
    MethodFacts{
        "build_and_run_instance",
        "6.0",
        build_and_run_instance,
        cast,
        "compute__do_build_and_run_instance",
        Lane::Exclusive,
        deletes_attachment(into_error(moves(
            reverts("BuildAbortException"), MigrationAfter::Untouched, AllocationAfter::Deleted)))},
    MethodFacts{"pause_instance",
                "6.0",
                pause_instance,
                cast,
                "compute_pause_instance",
                Lane::Exclusive,
                reverts("NovaException")},
    // A guest that runs although its reboot failed keeps its state and gets the fault only.
    MethodFacts{"reboot_instance",
                "6.0",
                reboot_instance,
                cast,
                "compute_reboot_instance",
                Lane::Exclusive,
                into_error(reverts("InstanceRebootFailure"))},
    // Rebuild and evacuation. Nova gives up the allocation of a failed rebuild in place, too; the
    // server is still here then, so that only an evacuation does it.
    MethodFacts{"rebuild_instance",
                "6.0",
                rebuild_instance,
                cast,
                "compute_rebuild_instance",
                Lane::Exclusive,
                into_error(moves(reverts("BuildAbortException"),
                                 MigrationAfter::Failed,
                                 AllocationAfter::OurTreeRemoved))},
    MethodFacts{"rescue_instance",
                "6.0",
                rescue_instance,
                cast,
                "compute_rescue_instance",
                Lane::Exclusive,
                into_error(reverts("InstanceNotRescuable"))},
    MethodFacts{"restore_instance",
                "6.0",
                restore_instance,
                cast,
                "compute_restore_instance",
                Lane::Exclusive,
                reverts("InstancePowerOnFailure")},
    MethodFacts{"resume_instance",
                "6.0",
                resume_instance,
                cast,
                "compute_resume_instance",
                Lane::Exclusive,
                into_error(reverts("InstanceResumeFailure"))},
    MethodFacts{"set_admin_password",
                "6.0",
                set_admin_password,
                call,
                "compute_set_admin_password",
                Lane::Exclusive,
                reverts("SetAdminPasswdNotSupported")},
    // Nova leaves the snapshot queued in Glance when the driver fails before the upload.
    MethodFacts{"shelve_instance",
                "6.0",
                shelve_instance,
                cast,
                "compute_shelve_instance",
                Lane::Exclusive,
                deletes_image(reverts("NovaException"))},
    MethodFacts{"shelve_offload_instance",
                "6.0",
                shelve_offload_instance,
                cast,
                "compute_shelve_offload_instance",
                Lane::Exclusive,
                reverts("NovaException")},
    MethodFacts{"snapshot_instance",
                "6.0",
                snapshot_instance,
                cast,
                "compute_snapshot_instance",
                Lane::Exclusive,
                deletes_image(reverts("NovaException"))},
    MethodFacts{"soft_delete_instance",
                "6.0",
                soft_delete_instance,
                cast,
                "compute_soft_delete_instance",
                Lane::Exclusive,
                reverts("InstancePowerOffFailure")},
    MethodFacts{"start_instance",
                "6.0",
                start_instance,
                cast,
                "compute_start_instance",
                Lane::Exclusive,
                reverts("InstancePowerOnFailure")},
    // A call when the server is stopped in the course of a resize.
    MethodFacts{"stop_instance",
                "6.0",
                stop_instance,
                cast,
                "compute_stop_instance",
                Lane::Exclusive,
                reverts("InstancePowerOffFailure")},
    MethodFacts{"suspend_instance",
                "6.0",
                suspend_instance,
                cast,
                "compute_suspend_instance",
                Lane::Exclusive,
                into_error(reverts("InstanceSuspendFailure"))},
    MethodFacts{"terminate_instance",
                "6.0",
                terminate_instance,
                cast,
                "compute_terminate_instance",
                Lane::Exclusive,
                into_error(reverts("InstanceTerminationFailure"))},
    MethodFacts{"unpause_instance",
                "6.0",
                unpause_instance,
                cast,
                "compute_unpause_instance",
                Lane::Exclusive,
                reverts("NovaException")},
    MethodFacts{"unrescue_instance",
                "6.0",
                unrescue_instance,
                cast,
                "compute_unrescue_instance",
                Lane::Exclusive,
                into_error(reverts("InstanceUnRescueFailure"))},
    // The server keeps shelved_offloaded and loses host and node.
    MethodFacts{
        "unshelve_instance",
        "6.0",
        unshelve_instance,
        cast,
        "compute_unshelve_instance",
        Lane::Exclusive,
        moves(reverts("UnshelveException"), MigrationAfter::Untouched, AllocationAfter::Deleted)},
};

} // namespace

std::span<const MethodFacts> lifecycle_methods() {
    return lifecycle;
}

} // namespace novalet::tasks
