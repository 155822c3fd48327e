#include "agent/tasks/books/host_records.hpp"

#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using scheduler_hooks::claims::MigrationUuid;
using scheduler_hooks::claims::Move;
using scheduler_hooks::claims::Record;
using scheduler_hooks::claims::Side;
using tests::nova_object;
using tests::server_uuid;

const NodeNames us{"c1", "n1"};
const std::string move_uuid = "55555555-0000-4000-8000-000000000001";

Json flavor(int id, int vcpus) {
    return nova_object("Flavor",
                       "1.2",
                       Json::object()
                           .set("id", id)
                           .set("vcpus", vcpus)
                           .set("memory_mb", vcpus * 100)
                           .set("root_gb", vcpus)
                           .set("ephemeral_gb", 0)
                           .set("swap", 0)
                           .set("extra_specs", Json::object()));
}

/// One cell of so much memory: which topology it is can be seen.
Json topology(int memory_mib) {
    scheduler_hooks::model::GuestTopology out;
    out.cells.emplace_back();
    out.cells[0].cpuset = {0};
    out.cells[0].memory_mib = memory_mib;
    return scheduler_hooks::model::to_json(out);
}

/// A server that is resized from one CPU (flavor 1) to two (flavor 2).
Json server(const char* host, const char* vm_state, Json task_state, bool new_flavor = false) {
    Json data = tests::new_server();
    data.set("host", host)
        .set("node", host == us.host ? "n1" : "n2")
        .set("vm_state", vm_state)
        .set("task_state", std::move(task_state))
        .set("instance_type_id", new_flavor ? 2 : 1)
        .set("flavor", flavor(new_flavor ? 2 : 1, new_flavor ? 2 : 1))
        .set("old_flavor", flavor(1, 1))
        .set("new_flavor", flavor(2, 2))
        .set("numa_topology", topology(new_flavor ? 2 : 1))
        .set("migration_context",
             nova_object("MigrationContext",
                         "1.2",
                         Json::object()
                             .set("migration_id", 7)
                             .set("old_numa_topology", topology(1))
                             .set("new_numa_topology", topology(2))));
    return data;
}

Json move(const char* from, const char* to, const char* type = "resize") {
    return Json::object()
        .set("id", 7)
        .set("uuid", move_uuid)
        .set("instance_uuid", server_uuid)
        .set("migration_type", type)
        .set("status", "migrating")
        .set("source_compute", from)
        .set("source_node", from == us.host ? "n1" : "n2")
        .set("dest_compute", to)
        .set("dest_node", to == us.host ? "n1" : "n2")
        .set("old_instance_type_id", 1)
        .set("new_instance_type_id", 2)
        .set("created_at", "2026-11-21T04:00:00Z")
        .set("updated_at", nullptr);
}

HostRecords records(const Json& instance, const std::vector<Json>& migrations) {
    HostRecords out;
    auto& place = instance["host"].as_string() == us.host ? out.instances : out.elsewhere;
    place[instance["uuid"].as_string()] =
        objects::Object::from_primitive(nova_object("Instance", "2.7", instance));
    for (const auto& migration : migrations)
        out.migrations.push_back(
            objects::Object::from_primitive(nova_object("Migration", "1.7", migration)));
    return out;
}

HostUsage usage(const HostRecords& of, const std::vector<Record>& sources = {}) {
    const auto found = usage_of(of, us, sources);
    EXPECT_TRUE(found) << found.error().text;
    return found ? *found : HostUsage();
}

/// "own 2 CPUs cell 2 by …1" for each record, in order: what a reader compares at a glance.
std::vector<std::string> lines(const HostUsage& usage) {
    std::vector<std::string> out;
    for (const auto& record : usage.claims) {
        std::string line = !record.move                        ? "own"
                           : record.move->side == Side::Source ? "source"
                                                               : "destination";
        line += ' ' + std::to_string(record.amounts.vcpus) + " CPUs";
        if (record.topology)
            line += " cell " + std::to_string(record.topology->cells.at(0).memory_mib);
        if (record.came_by)
            line += " came";
        out.push_back(line);
    }
    return out;
}

using Lines = std::vector<std::string>;

TEST(HostRecords, AServerThatComesCountsWithItsNewSide) {
    const auto resize = move("c2", "c1");
    EXPECT_EQ(lines(usage(records(server("c2", "active", "resize_prep"), {resize}))),
              Lines{"destination 2 CPUs cell 2"});
    EXPECT_EQ(lines(usage(records(server("c1", "active", "resize_migrated"), {resize}))),
              Lines{"own 2 CPUs cell 2 came"})
        << "the source has handed over, finish_resize has not stored the new flavor";
    EXPECT_EQ(lines(usage(records(server("c1", "resized", nullptr, true), {resize}))),
              Lines{"own 2 CPUs cell 2 came"});
    EXPECT_EQ(lines(usage(records(server("c1", "active", nullptr, true), {}))),
              Lines{"own 2 CPUs cell 2"})
        << "confirmed";
}

TEST(HostRecords, AServerThatLeavesCountsWithItsOldSide) {
    const auto resize = move("c1", "c2");
    EXPECT_EQ(lines(usage(records(server("c1", "active", "resize_migrating"), {resize}))),
              Lines{"own 1 CPUs cell 1"});
    EXPECT_EQ(lines(usage(records(server("c2", "active", "resize_finish"), {resize}))),
              Lines{"source 1 CPUs cell 1"});
    EXPECT_EQ(lines(usage(records(server("c2", "resized", nullptr, true), {resize}))),
              Lines{"source 1 CPUs cell 1"});
    auto confirmed = server("c2", "resized", nullptr, true);
    confirmed.set("old_flavor", nullptr);
    EXPECT_EQ(lines(usage(records(confirmed, {resize}))), Lines()) << "just being confirmed";
}

TEST(HostRecords, AResizeOnOneHostCountsBothSides) {
    const auto resize = move("c1", "c1");
    EXPECT_EQ(lines(usage(records(server("c1", "active", "resize_migrating"), {resize}))),
              (Lines{"destination 2 CPUs cell 2", "own 1 CPUs cell 1"}));
    EXPECT_EQ(lines(usage(records(server("c1", "resized", nullptr, true), {resize}))),
              (Lines{"source 1 CPUs cell 1", "own 2 CPUs cell 2 came"}));
}

TEST(HostRecords, OtherMovesKeepTheFlavor) {
    for (const auto& [type, task] :
         std::map<const char*, const char*>{{"live-migration", "migrating"},
                                            {"migration", "resize_prep"},
                                            {"evacuation", "rebuilding"}}) {
        EXPECT_EQ(lines(usage(records(server("c2", "active", task), {move("c2", "c1", type)}))),
                  Lines{"destination 1 CPUs cell 2"})
            << type;
        EXPECT_EQ(lines(usage(records(server("c2", "active", task), {move("c1", "c2", type)}))),
                  Lines{"source 1 CPUs cell 1"})
            << type;
    }
}

TEST(HostRecords, OnlyServersOnTheWayCountBesideTheirOwnRecord) {
    const std::vector<std::pair<const char*, const char*>> standing{{"active", nullptr},
                                                                    {"active", "rebooting"},
                                                                    {"error", "resize_prep"},
                                                                    {"paused", "resize_prep"},
                                                                    {"stopped", "migrating"},
                                                                    {"building", "spawning"}};
    for (const auto& [vm, task] : standing)
        EXPECT_EQ(lines(usage(records(server("c2", vm, task == nullptr ? Json() : Json(task)),
                                      {move("c2", "c1")}))),
                  Lines())
            << vm;
    EXPECT_EQ(lines(usage(records(server("c2", "paused", "migrating"),
                                  {move("c2", "c1", "live-migration")})))
                  .size(),
              1U);
    EXPECT_EQ(lines(usage(records(server("c2", "stopped", "rebuild_spawning"), {move("c2", "c1")})))
                  .size(),
              1U);
}

TEST(HostRecords, OfSeveralMigrationsTheLatestChangeCounts) {
    const auto old_one = move("c1", "c2").set("uuid", "old").set("updated_at", nullptr);
    auto changed = move("c2", "c1").set("created_at", "2026-11-21T03:00:00Z");
    changed.set("updated_at", "2026-11-21T04:00:01Z");
    for (const bool swapped : {false, true})
        EXPECT_EQ(lines(usage(records(server("c2", "active", "resize_prep"),
                                      swapped ? std::vector{changed, old_one}
                                              : std::vector{old_one, changed}))),
                  Lines{"destination 2 CPUs cell 2"});
}

TEST(HostRecords, AMigrationThatTheServerDoesNotNameIsStale) {
    auto late = server("c2", "active", "resize_prep");
    auto resize = move("c2", "c1").set("id", 6);
    const auto found = usage(records(late, {resize}));
    EXPECT_EQ(lines(found), Lines());
    EXPECT_EQ(found.stale, std::vector<std::string>{move_uuid});
    late.set("migration_context", nullptr);
    const auto without = usage(records(late, {resize}));
    EXPECT_EQ(lines(without), Lines{"destination 2 CPUs"}) << "no context yet: it counts";
    EXPECT_TRUE(without.stale.empty());
}

TEST(HostRecords, AMigrationOfANodeWithAnotherNameIsNotOurs) {
    auto elsewhere = move("c2", "c1").set("dest_node", "an earlier name");
    EXPECT_EQ(lines(usage(records(server("c2", "active", "resize_prep"), {elsewhere}))), Lines());
}

TEST(HostRecords, OffloadedServersTakeNothingUntilTheyAreSpawned) {
    EXPECT_EQ(lines(usage(records(server("c1", "shelved_offloaded", nullptr), {}))), Lines());
    EXPECT_EQ(lines(usage(records(server("c1", "deleted", nullptr), {}))), Lines());
    EXPECT_EQ(lines(usage(records(server("c1", "shelved_offloaded", "spawning"), {}))),
              Lines{"own 1 CPUs cell 1"});
}

TEST(HostRecords, TheRootDiskOfAServerWithoutAnImageIsAVolume) {
    auto instance = server("c1", "active", nullptr);
    EXPECT_EQ(amounts_of(instance, instance["flavor"]).root_gib, 1);
    instance.set("image_ref", "");
    EXPECT_EQ(amounts_of(instance, instance["flavor"]).root_gib, 0);
}

TEST(HostRecords, WhatIsHeldForARevertStaysWhileTheServerComesBack) {
    Record held;
    held.instance = InstanceUuid(server_uuid);
    held.move = Move{MigrationUuid(move_uuid), Side::Source};
    held.amounts.vcpus = 1;
    const auto reverting = server("c2", "resized", "resize_reverting");
    EXPECT_EQ(lines(usage(records(reverting, {}), {held})), Lines{"source 1 CPUs"})
        << "the destination has ended the migration";
    EXPECT_EQ(lines(usage(records(reverting, {move("c1", "c2")}), {held})),
              Lines{"source 1 CPUs cell 1"})
        << "not twice";
    EXPECT_EQ(lines(usage(records(server("c2", "active", nullptr), {}), {held})), Lines());
    EXPECT_EQ(lines(usage(records(server("c1", "resized", "resize_reverting"), {}), {held})),
              Lines{"own 1 CPUs cell 1"});
}

} // namespace
} // namespace novalet::tasks
