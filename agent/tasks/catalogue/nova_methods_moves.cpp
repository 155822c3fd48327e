#include "agent/tasks/catalogue/nova_method_tables.hpp"

#include <array>

namespace novalet::tasks {
namespace {

constexpr std::array check_can_live_migrate_destination{needed("instance"),
                                                        needed("block_migration"),
                                                        needed("disk_over_commit"),
                                                        needed("migration"),
                                                        needed("limits")};
constexpr std::array check_can_live_migrate_source{needed("instance"), needed("dest_check_data")};
constexpr std::array confirm_resize{needed("instance"), needed("migration")};
constexpr std::array confirm_snapshot_based_resize_at_source{needed("instance"),
                                                             needed("migration")};
constexpr std::array drop_move_claim_at_destination{needed("instance")};
constexpr std::array finish_resize{needed("disk_info"),
                                   needed("image"),
                                   needed("instance"),
                                   needed("migration"),
                                   needed("request_spec")};
constexpr std::array finish_revert_resize{
    needed("instance"), needed("migration"), needed("request_spec")};
constexpr std::array finish_revert_snapshot_based_resize_at_source{needed("instance"),
                                                                   needed("migration")};
constexpr std::array finish_snapshot_based_resize_at_dest{
    needed("instance"), needed("migration"), needed("snapshot_id")};
constexpr std::array live_migration{needed("dest"),
                                    needed("instance"),
                                    needed("block_migration"),
                                    needed("migration"),
                                    needed("migrate_data")};
constexpr std::array live_migration_abort{needed("instance"), needed("migration_id")};
constexpr std::array live_migration_force_complete{needed("instance")};
constexpr std::array post_live_migration_at_destination{needed("instance"),
                                                        needed("block_migration")};
constexpr std::array pre_live_migration{needed("instance"), needed("disk"), needed("migrate_data")};
constexpr std::array prep_resize{needed("image"),
                                 needed("instance"),
                                 needed("flavor"),
                                 needed("request_spec"),
                                 needed("filter_properties"),
                                 needed("node"),
                                 needed("clean_shutdown"),
                                 needed("migration"),
                                 needed("host_list")};
constexpr std::array prep_snapshot_based_resize_at_dest{needed("instance"),
                                                        needed("flavor"),
                                                        needed("nodename"),
                                                        needed("migration"),
                                                        needed("limits")};
constexpr std::array prep_snapshot_based_resize_at_source{
    needed("instance"), needed("migration"), optional("snapshot_id")};
constexpr std::array resize_instance{needed("instance"),
                                     needed("image"),
                                     needed("migration"),
                                     needed("flavor"),
                                     needed("clean_shutdown"),
                                     needed("request_spec")};
constexpr std::array revert_resize{needed("instance"), needed("migration"), needed("request_spec")};
constexpr std::array revert_snapshot_based_resize_at_dest{needed("instance"), needed("migration")};
constexpr std::array rollback_live_migration_at_destination{
    needed("instance"), needed("destroy_disks"), needed("migrate_data")};

constexpr std::array move{
    MethodFacts{"check_can_live_migrate_destination",
                "6.0",
                check_can_live_migrate_destination,
                call,
                "compute_check_can_live_migrate_destination",
                Lane::Exclusive,
                faults("MigrationPreCheckError")},
    MethodFacts{"check_can_live_migrate_source",
                "6.0",
                check_can_live_migrate_source,
                call,
                "compute_check_can_live_migrate_source",
                Lane::Question,
                faults("MigrationPreCheckError")},
    // A call when the API server deletes a resized server.
    MethodFacts{"confirm_resize",
                "6.0",
                confirm_resize,
                cast,
                "compute_confirm_resize",
                Lane::Exclusive,
                into_error(moves(faults("ResizeError"),
                                 MigrationAfter::Error,
                                 AllocationAfter::MigrationsDeleted))},
    MethodFacts{"confirm_snapshot_based_resize_at_source",
                "6.0",
                confirm_snapshot_based_resize_at_source,
                call,
                "compute_confirm_snapshot_based_resize_at_source",
                Lane::Exclusive,
                into_error(moves(faults("ResizeError"),
                                 MigrationAfter::Error,
                                 AllocationAfter::MigrationsDeleted))},
    MethodFacts{"drop_move_claim_at_destination",
                "6.0",
                drop_move_claim_at_destination,
                call,
                "",
                Lane::Exclusive,
                faults("MigrationError")},
    // The server belongs to this host already: what goes is what the migration holds on the source.
    MethodFacts{"finish_resize",
                "6.0",
                finish_resize,
                cast,
                "compute_finish_resize",
                Lane::Exclusive,
                into_error(moves(reverts("ResizeError"),
                                 MigrationAfter::Error,
                                 AllocationAfter::MigrationsDeleted))},
    MethodFacts{
        "finish_revert_resize",
        "6.0",
        finish_revert_resize,
        cast,
        "compute_finish_revert_resize",
        Lane::Exclusive,
        into_error(moves(reverts("ResizeError"), MigrationAfter::Error, AllocationAfter::Kept))},
    MethodFacts{
        "finish_revert_snapshot_based_resize_at_source",
        "6.0",
        finish_revert_snapshot_based_resize_at_source,
        call,
        "compute_finish_revert_snapshot_based_resize_at_source",
        Lane::Exclusive,
        into_error(moves(reverts("ResizeError"), MigrationAfter::Error, AllocationAfter::Kept))},
    MethodFacts{"finish_snapshot_based_resize_at_dest",
                "6.0",
                finish_snapshot_based_resize_at_dest,
                call,
                "compute_finish_snapshot_based_resize_at_dest",
                Lane::Exclusive,
                deletes_attachment(into_error(moves(
                    reverts("MigrationError"), MigrationAfter::Error, AllocationAfter::Kept)))},
    // As _rollback_live_migration leaves it: nova-compute migrates in a thread of a pool, whose
    // failures no decorator sees.
    MethodFacts{"live_migration",
                "6.0",
                live_migration,
                cast,
                "compute_live_migration",
                Lane::Exclusive,
                moves(reverts("MigrationPreCheckError"),
                      MigrationAfter::Failed,
                      AllocationAfter::MovedBack)},
    MethodFacts{"live_migration_abort",
                "6.0",
                live_migration_abort,
                cast,
                "compute_live_migration_abort",
                Lane::Beside,
                faults("MigrationError")},
    MethodFacts{"live_migration_force_complete",
                "6.0",
                live_migration_force_complete,
                cast,
                "compute_live_migration_force_complete",
                Lane::Beside,
                faults("MigrationError")},
    // No decorator resets the task_state, but the last save of the method does in any case.
    MethodFacts{"post_live_migration_at_destination",
                "6.0",
                post_live_migration_at_destination,
                call,
                "compute_post_live_migration_at_destination",
                Lane::Exclusive,
                into_error(reverts("MigrationError"))},
    MethodFacts{"pre_live_migration",
                "6.0",
                pre_live_migration,
                call,
                "compute_pre_live_migration",
                Lane::Exclusive,
                deletes_attachment(faults("MigrationPreCheckError"))},
    MethodFacts{"prep_resize",
                "6.0",
                prep_resize,
                cast,
                "compute_prep_resize",
                Lane::Exclusive,
                into_error(moves(
                    reverts("ResizeError"), MigrationAfter::Error, AllocationAfter::MovedBack))},
    // Allocation and migration of a cross-cell resize are put right by the conductor.
    MethodFacts{"prep_snapshot_based_resize_at_dest",
                "6.0",
                prep_snapshot_based_resize_at_dest,
                call,
                "compute_prep_snapshot_based_resize_at_dest",
                Lane::Exclusive,
                faults("MigrationPreCheckError")},
    MethodFacts{
        "prep_snapshot_based_resize_at_source",
        "6.0",
        prep_snapshot_based_resize_at_source,
        call,
        "compute_prep_snapshot_based_resize_at_source",
        Lane::Exclusive,
        deletes_image(into_error(moves(
            reverts("InstancePowerOffFailure"), MigrationAfter::Error, AllocationAfter::Kept)))},
    MethodFacts{"resize_instance",
                "6.0",
                resize_instance,
                cast,
                "compute_resize_instance",
                Lane::Exclusive,
                into_error(moves(
                    reverts("ResizeError"), MigrationAfter::Error, AllocationAfter::MovedBack))},
    MethodFacts{
        "revert_resize",
        "6.0",
        revert_resize,
        cast,
        "compute_revert_resize",
        Lane::Exclusive,
        into_error(moves(reverts("ResizeError"), MigrationAfter::Error, AllocationAfter::Kept))},
    MethodFacts{
        "revert_snapshot_based_resize_at_dest",
        "6.0",
        revert_snapshot_based_resize_at_dest,
        call,
        "compute_revert_snapshot_based_resize_at_dest",
        Lane::Exclusive,
        into_error(moves(reverts("ResizeError"), MigrationAfter::Error, AllocationAfter::Kept))},
    MethodFacts{"rollback_live_migration_at_destination",
                "6.0",
                rollback_live_migration_at_destination,
                cast,
                "compute_rollback_live_migration_at_destination",
                Lane::Exclusive,
                faults("MigrationError")},
};

} // namespace

std::span<const MethodFacts> move_methods() {
    return move;
}

} // namespace novalet::tasks
