#include "agent/tasks/catalogue/nova_methods.hpp"

#include "agent/core/text.hpp"
#include "agent/tasks/records/nova_exceptions.hpp"

#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <set>
#include <string>

namespace novalet::tasks {
namespace {

/// nova/compute/rpcapi.py and the signatures and decorators of nova/compute/manager.py, as read
/// from the release: name, version, arguments ("?" = has a default, "@6.1" = came with), how it is
/// sent, decorators E(vent) F(ault) R(everts task_state) M(igration in error).
struct Nova {
    std::string_view name, since, arguments, kind, decorators;
};
constexpr std::array nova{
    Nova{"add_fixed_ip_to_instance", "6.0", "network_id instance", "cast", "F"},
    Nova{"allow_share", "6.4", "instance share_mapping", "cast", ""},
    Nova{"attach_interface", "6.0", "instance network_id port_id requested_ip tag", "call", "EF"},
    Nova{"attach_volume", "6.0", "instance bdm", "cast", "EF"},
    Nova{"backup_instance", "6.0", "instance image_id backup_type rotation", "cast", "EFR"},
    Nova{
        "build_and_run_instance",
        "6.0",
        "instance image request_spec filter_properties accel_uuids admin_password? injected_files? "
        "requested_networks? security_groups? block_device_mapping? node? limits? host_list?",
        "cast",
        "FR"},
    Nova{"cache_images", "6.0", "image_ids", "call", ""},
    Nova{"check_can_live_migrate_destination",
         "6.0",
         "instance block_migration disk_over_commit migration limits",
         "call",
         "EF"},
    Nova{"check_can_live_migrate_source", "6.0", "instance dest_check_data", "call", "EF"},
    Nova{"check_instance_shared_storage", "6.0", "data", "call", ""},
    Nova{"confirm_resize", "6.0", "instance migration", "cast", "EFM"},
    Nova{"confirm_snapshot_based_resize_at_source", "6.0", "instance migration", "call", "EFM"},
    Nova{"deny_share", "6.4", "instance share_mapping", "cast", ""},
    Nova{"detach_interface", "6.0", "instance port_id", "cast", "EF"},
    Nova{"detach_volume", "6.0", "volume_id instance attachment_id", "cast", "EF"},
    Nova{"drop_move_claim_at_destination", "6.0", "instance", "call", "F"},
    Nova{"external_instance_event", "6.0", "instances events", "cast", ""},
    Nova{"finish_resize", "6.0", "disk_info image instance migration request_spec", "cast", "EFRM"},
    Nova{"finish_revert_resize", "6.0", "instance migration request_spec", "cast", "EFRM"},
    Nova{"finish_revert_snapshot_based_resize_at_source",
         "6.0",
         "instance migration",
         "call",
         "EFRM"},
    Nova{"finish_snapshot_based_resize_at_dest",
         "6.0",
         "instance migration snapshot_id",
         "call",
         "EFRM"},
    Nova{"get_console_output", "6.0", "instance tail_length", "call", "F"},
    Nova{"get_diagnostics", "6.0", "instance", "call", "F"},
    Nova{"get_host_uptime", "6.0", "", "call", ""},
    Nova{"get_instance_diagnostics", "6.0", "instance", "call", "F"},
    Nova{"get_mks_console", "6.0", "console_type instance", "call", "F"},
    Nova{"get_rdp_console", "6.0", "console_type instance", "call", "F"},
    Nova{"get_serial_console", "6.0", "console_type instance", "call", "F"},
    Nova{"get_spice_console", "6.0", "console_type instance", "call", "F"},
    Nova{"get_vnc_console", "6.0", "console_type instance", "call", "F"},
    Nova{"host_maintenance_mode", "6.0", "host mode", "call", ""},
    Nova{"host_power_action", "6.0", "action", "call", ""},
    Nova{"inject_network_info", "6.0", "instance", "cast", "F"},
    Nova{"live_migration",
         "6.0",
         "dest instance block_migration migration migrate_data",
         "cast",
         "EFM"},
    Nova{"live_migration_abort", "6.0", "instance migration_id", "cast", "EF"},
    Nova{"live_migration_force_complete", "6.0", "instance", "cast", "EF"},
    Nova{"pause_instance", "6.0", "instance", "cast", "EFR"},
    Nova{"post_live_migration_at_destination", "6.0", "instance block_migration", "call", "EF"},
    Nova{"pre_live_migration", "6.0", "instance disk migrate_data", "call", "EF"},
    Nova{"prep_resize",
         "6.0",
         "image instance flavor request_spec filter_properties node clean_shutdown migration "
         "host_list",
         "cast",
         "EFR"},
    Nova{"prep_snapshot_based_resize_at_dest",
         "6.0",
         "instance flavor nodename migration limits",
         "call",
         "EF"},
    Nova{"prep_snapshot_based_resize_at_source",
         "6.0",
         "instance migration snapshot_id?",
         "call",
         "EFRM"},
    Nova{"quiesce_instance", "6.0", "instance", "call", ""},
    Nova{"reboot_instance", "6.0", "instance block_device_info reboot_type", "cast", "EFR"},
    Nova{"rebuild_instance",
         "6.0",
         "instance orig_image_ref image_ref injected_files new_pass orig_sys_metadata bdms "
         "recreate on_shared_storage preserve_ephemeral migration scheduled_node limits "
         "request_spec accel_uuids reimage_boot_volume?@6.1 target_state?@6.2",
         "cast",
         "EFR"},
    Nova{"remove_fixed_ip_from_instance", "6.0", "address instance", "cast", "F"},
    Nova{
        "remove_volume_connection", "6.0", "volume_id instance delete_attachment?@6.3", "call", ""},
    Nova{"rescue_instance",
         "6.0",
         "instance rescue_password rescue_image_ref clean_shutdown",
         "cast",
         "EFR"},
    Nova{"reserve_block_device_name",
         "6.0",
         "instance device volume_id disk_bus device_type tag multiattach",
         "call",
         "FR"},
    Nova{"resize_instance",
         "6.0",
         "instance image migration flavor clean_shutdown request_spec",
         "cast",
         "EFR"},
    Nova{"restore_instance", "6.0", "instance", "cast", "EFR"},
    Nova{"resume_instance", "6.0", "instance", "cast", "EFR"},
    Nova{"revert_resize", "6.0", "instance migration request_spec", "cast", "EFRM"},
    Nova{"revert_snapshot_based_resize_at_dest", "6.0", "instance migration", "call", "EFRM"},
    Nova{"rollback_live_migration_at_destination",
         "6.0",
         "instance destroy_disks migrate_data",
         "cast",
         "EF"},
    Nova{"set_admin_password", "6.0", "instance new_pass", "call", "EFR"},
    Nova{"set_host_enabled", "6.0", "enabled", "call", ""},
    Nova{"shelve_instance", "6.0", "instance image_id clean_shutdown accel_uuids", "cast", "EFR"},
    Nova{"shelve_offload_instance", "6.0", "instance clean_shutdown accel_uuids", "cast", "EFR"},
    Nova{"snapshot_instance", "6.0", "instance image_id", "cast", "EFR"},
    Nova{"soft_delete_instance", "6.0", "instance", "cast", "EFR"},
    Nova{"start_instance", "6.0", "instance", "cast", "EFR"},
    Nova{"stop_instance", "6.0", "instance clean_shutdown", "cast", "EFR"},
    Nova{"suspend_instance", "6.0", "instance", "cast", "EFR"},
    Nova{"swap_volume",
         "6.0",
         "old_volume_id new_volume_id instance new_attachment_id",
         "cast",
         "EF"},
    Nova{"terminate_instance", "6.0", "instance bdms", "cast", "EFR"},
    Nova{"trigger_crash_dump", "6.0", "instance", "cast", "EF"},
    Nova{"unpause_instance", "6.0", "instance", "cast", "EFR"},
    Nova{"unquiesce_instance", "6.0", "instance mapping?", "cast", ""},
    Nova{"unrescue_instance", "6.0", "instance", "cast", "EFR"},
    Nova{"unshelve_instance",
         "6.0",
         "instance image filter_properties node request_spec accel_uuids",
         "cast",
         "EFR"},
    Nova{"validate_console_port", "6.0", "instance port console_type", "call", "F"},
    Nova{"volume_snapshot_create", "6.0", "instance volume_id create_info", "cast", ""},
    Nova{"volume_snapshot_delete", "6.0", "instance volume_id snapshot_id delete_info", "cast", ""},
};

std::string spelled(const MethodFacts& method) {
    std::string text;
    for (const auto& argument : method.arguments) {
        EXPECT_TRUE(argument.until.empty()) << "6.x has dropped no argument";
        text += text.empty() ? "" : " ";
        text += argument.name;
        text += argument.required ? "" : "?";
        text += argument.since.empty() ? "" : cat("@", argument.since);
    }
    return text;
}

FailurePolicy policy(std::string_view name) {
    const auto* method = find_method(name);
    return method != nullptr ? method->on_failure : FailurePolicy{};
}

TEST(NovaMethods, AreThoseOfNovasInterfaceWithTheirArguments) {
    ASSERT_EQ(nova_methods().size(), nova.size());
    for (const auto& fact : nova) {
        const auto* method = find_method(fact.name);
        ASSERT_NE(method, nullptr) << fact.name;
        EXPECT_EQ(method->since, fact.since) << fact.name;
        EXPECT_EQ(spelled(*method), fact.arguments) << fact.name;
        EXPECT_EQ(method->answered, fact.kind == "call") << fact.name;
    }
}

TEST(NovaMethods, AreFoundByNameAndNoOthers) {
    EXPECT_TRUE(std::is_sorted(nova_methods().begin(),
                               nova_methods().end(),
                               [](const auto& a, const auto& b) { return a.name < b.name; }));
    EXPECT_EQ(find_method("refresh_instance_security_rules"), nullptr); // gone with 6.0
    EXPECT_EQ(find_method("add_aggregate_host"), nullptr);
    EXPECT_EQ(find_method(""), nullptr);
    EXPECT_EQ(find_method("zzz"), nullptr);
}

TEST(NovaMethods, KeepTheRecordsThatNovasDecoratorsKeep) {
    // What a method does in its body in place of a decorator:
    const std::set<std::string_view> reverts_in_body{
        "live_migration",                     // _rollback_live_migration
        "post_live_migration_at_destination", // its last save
    };
    const std::set<std::string_view> migration_in_body{
        "live_migration",   // _rollback_live_migration sets "failed"
        "prep_resize",      // errors_out_migration_ctxt
        "rebuild_instance", // _set_migration_status
        "resize_instance",  // errors_out_migration_ctxt
    };
    for (const auto& fact : nova) {
        const auto has = [&](char letter) {
            return fact.decorators.find(letter) != std::string_view::npos;
        };
        const auto* method = find_method(fact.name);
        ASSERT_NE(method, nullptr) << fact.name;
        if (fact.name == "build_and_run_instance") // the inner function has the decorator
            EXPECT_EQ(method->event, "compute__do_build_and_run_instance");
        else
            EXPECT_EQ(method->event, has('E') ? cat("compute_", fact.name) : "") << fact.name;
        EXPECT_EQ(method->on_failure.fault, has('F')) << fact.name;
        EXPECT_EQ(method->on_failure.reverts_task_state,
                  has('R') || reverts_in_body.contains(fact.name))
            << fact.name;
        EXPECT_EQ(method->on_failure.migration != MigrationAfter::Untouched,
                  has('M') || migration_in_body.contains(fact.name))
            << fact.name;
    }
}

TEST(NovaMethods, AreRefusedWithAClassThatNovaKnows) {
    for (const auto& method : nova_methods())
        EXPECT_NE(find_exception(method.on_failure.refusal), nullptr) << method.name;
}

TEST(NovaMethods, ARefusalReachesTheUserAs4xxOr501) {
    // nova.api.openstack.compute.remote_consoles: 400 for ConsoleTypeUnavailable.
    for (const char* console : {"get_vnc_console",
                                "get_spice_console",
                                "get_rdp_console",
                                "get_mks_console",
                                "get_serial_console"})
        EXPECT_EQ(policy(console).refusal, "ConsoleTypeUnavailable") << console;
    // hosts, hypervisors, server_diagnostics: 501 for NotImplementedError.
    for (const char* name : {"host_power_action", "host_maintenance_mode", "get_diagnostics"})
        EXPECT_EQ(policy(name).refusal, "NotImplementedError") << name;
    EXPECT_EQ(policy("attach_interface").refusal, "AttachInterfaceNotSupported");  // 400
    EXPECT_EQ(policy("reserve_block_device_name").refusal, "InvalidVolume");       // 400
    EXPECT_EQ(policy("set_admin_password").refusal, "SetAdminPasswdNotSupported"); // 409
    EXPECT_EQ(policy("quiesce_instance").refusal, "InstanceQuiesceNotSupported");  // goes on
}

TEST(NovaMethods, ARefusedLiveMigrationLeavesTheServerHealthy) {
    // nova.conductor.manager._live_migrate: the server's vm_state stays for these classes only.
    for (const char* check :
         {"check_can_live_migrate_destination", "check_can_live_migrate_source"}) {
        const auto refusal = nova_error(policy(check).refusal, {{"reason", "no"}});
        EXPECT_EQ(family_of(refusal), Family::MigrationPreCheck) << check;
        EXPECT_EQ(policy(check).allocation, AllocationAfter::Kept) << "the conductor's to remove";
    }
    // nova.compute.manager._rollback_live_migration.
    EXPECT_EQ(policy("live_migration").vm_state, VmStateAfter::Kept);
    EXPECT_EQ(policy("live_migration").migration, MigrationAfter::Failed);
    EXPECT_EQ(policy("live_migration").allocation, AllocationAfter::MovedBack);
    // nova.compute.manager.pre_live_migration: new attachments go, the source rolls back.
    EXPECT_TRUE(policy("pre_live_migration").delete_attachment);
    EXPECT_FALSE(policy("pre_live_migration").reverts_task_state);
}

TEST(NovaMethods, ARebuildOrEvacuationGivesBackWhatItWasGiven) {
    const auto rebuild = policy("rebuild_instance"); // ComputeManager.rebuild_instance
    EXPECT_EQ(rebuild.vm_state, VmStateAfter::Error);
    EXPECT_EQ(rebuild.migration, MigrationAfter::Failed);
    EXPECT_EQ(rebuild.allocation, AllocationAfter::OurTreeRemoved);
    EXPECT_EQ(rebuild.refusal, "BuildAbortException");
    const auto refused = of_refusal(rebuild); // ComputeManager._error_out_instance_on_exception
    EXPECT_EQ(refused.vm_state, VmStateAfter::Previous);
    EXPECT_EQ(refused.migration, MigrationAfter::Failed);
    EXPECT_EQ(refused.allocation, AllocationAfter::OurTreeRemoved);
}

TEST(NovaMethods, EachStepOfAResizePutsTheAllocationWhereTheServerIs) {
    EXPECT_EQ(policy("prep_resize").allocation, AllocationAfter::MovedBack); // _revert_allocation
    EXPECT_EQ(policy("resize_instance").allocation,
              AllocationAfter::MovedBack);                       // _revert_allocation
    for (const char* step : {"finish_resize", "confirm_resize"}) // _delete_allocation_after_move
        EXPECT_EQ(policy(step).allocation, AllocationAfter::MigrationsDeleted) << step;
    for (const char* step : {"prep_resize",
                             "resize_instance",
                             "finish_resize",
                             "confirm_resize",
                             "revert_resize",
                             "finish_revert_resize"}) {
        EXPECT_EQ(policy(step).migration, MigrationAfter::Error) << step;
        EXPECT_EQ(policy(step).vm_state, VmStateAfter::Error) << step;
    }
    EXPECT_EQ(policy("prep_snapshot_based_resize_at_dest").migration, MigrationAfter::Untouched);
}

TEST(NovaMethods, AFailedSnapshotLeavesNoImage) { // decorator delete_image_on_error
    for (const char* name :
         {"snapshot_instance", "backup_instance", "prep_snapshot_based_resize_at_source"})
        EXPECT_TRUE(policy(name).delete_image) << name;
    EXPECT_FALSE(policy("rebuild_instance").delete_image);
    EXPECT_EQ(policy("snapshot_instance").vm_state, VmStateAfter::Kept);
}

TEST(NovaMethods, AFailedVolumeOperationLeavesTheVolumeUsable) {
    EXPECT_TRUE(policy("attach_volume").delete_attachment); // ComputeManager._attach_volume
    EXPECT_FALSE(policy("attach_volume").roll_detaching);
    EXPECT_TRUE(policy("detach_volume").roll_detaching); // DriverVolumeBlockDevice.driver_detach
    EXPECT_FALSE(policy("detach_volume").delete_attachment);
    EXPECT_TRUE(policy("swap_volume").roll_detaching); // ComputeManager._swap_volume
    EXPECT_TRUE(policy("swap_volume").delete_attachment);
}

TEST(NovaMethods, PowerVerbsEndInTheStateThatNovaLeaves) {
    for (const char* name : {"suspend_instance", "resume_instance", "unrescue_instance"})
        EXPECT_EQ(policy(name).vm_state, VmStateAfter::Error) << name; // _error_out_instance_...
    for (const char* name : {"reboot_instance", "rescue_instance", "terminate_instance"})
        EXPECT_EQ(policy(name).vm_state, VmStateAfter::Error)
            << name; // _set_instance_obj_error_...
    for (const char* name : {"start_instance", "stop_instance", "pause_instance"})
        EXPECT_EQ(policy(name).vm_state, VmStateAfter::Kept) << name;
    EXPECT_EQ(policy("build_and_run_instance").allocation, AllocationAfter::Deleted);
    EXPECT_EQ(policy("unshelve_instance").allocation, AllocationAfter::Deleted);
    EXPECT_EQ(policy("unshelve_instance").vm_state, VmStateAfter::Kept);
}

TEST(NovaMethods, AnAbortNeverWaitsBehindItsMigration) {
    ASSERT_NE(find_method("live_migration"), nullptr);
    EXPECT_EQ(find_method("live_migration")->lane, Lane::Exclusive);
    for (const char* name :
         {"live_migration_abort", "live_migration_force_complete", "external_instance_event"})
        EXPECT_EQ(find_method(name)->lane, Lane::Beside) << name;
    for (const auto& method : nova_methods())
        if (method.lane == Lane::Question) {
            EXPECT_TRUE(method.answered) << method.name;
        }
}

} // namespace
} // namespace novalet::tasks
