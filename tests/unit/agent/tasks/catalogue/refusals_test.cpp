// What a refusal leaves in the control plane: what a failed operation of nova-compute would.
#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using tests::server_in;
using tests::server_uuid;

class RefusalTest : public tests::TaskTest {
  protected:
    /// Sends it and waits for its end.
    void refuse(const std::string& method, const Json& more) {
        Json args = bench.arguments();
        for (const auto& [name, value] : more.members())
            args.set(name, value);
        bench.send(method, std::move(args));
        const auto answer = bench.answers.take();
        ASSERT_TRUE(answer);
        ASSERT_FALSE(*answer);
        EXPECT_THAT(answer->error().text, HasSubstr("does not support " + method));
        ASSERT_TRUE(bench.settle());
        EXPECT_EQ(bench.open_entries(), 0U);
        EXPECT_TRUE(bench.guest_exists());
    }
    [[nodiscard]] Json migration(const std::string& type) {
        Json data = Json::object();
        data.set("id", 7)
            .set("uuid", "aaaaaaaa-1111-4222-8333-444444444444")
            .set("status", "accepted")
            .set("migration_type", type)
            .set("source_compute", "c2")
            .set("dest_compute", tests::host_name)
            .set("dest_node", tests::host_name)
            .set("instance_uuid", server_uuid);
        bench.bus.put_migration(data);
        return tests::nova_object("Migration", "1.7", std::move(data));
    }
};

TEST_F(RefusalTest, AnEvacuationGivesItsAllocationBackAndEndsItsMigration) {
    // The source comes back one day: by this migration it would destroy the guest with its disks.
    bench.make_guest(server_in("active", "rebuilding"));
    refuse("rebuild_instance",
           Json::object().set("recreate", true).set("migration", migration("evacuation")));
    EXPECT_EQ(bench.bus.migration(7)["status"].as_string(), "failed");
    EXPECT_THAT(bench.diary.of("allocations.remove_ours"),
                ElementsAre("allocations.remove_ours " + server_uuid));
    EXPECT_EQ(bench.states(), "active/None");
    EXPECT_EQ(bench.bus.faults().size(), 1U);
}

TEST_F(RefusalTest, ARebuildInPlaceKeepsItsAllocation) {
    bench.make_guest(server_in("active", "rebuilding"));
    refuse("rebuild_instance", Json::object().set("recreate", false).set("migration", nullptr));
    EXPECT_THAT(bench.diary.of("allocations.remove_ours"), IsEmpty());
    EXPECT_THAT(bench.diary.of("allocations.remove"), IsEmpty());
    EXPECT_EQ(bench.states(), "active/None");
}

TEST_F(RefusalTest, ALiveMigrationLeavesAHealthyServer) {
    bench.make_guest(server_in("active", "migrating"));
    refuse("live_migration", Json::object().set("migration", migration("live-migration")));
    EXPECT_EQ(bench.states(), "active/None");
    EXPECT_EQ(bench.bus.migration(7)["status"].as_string(), "failed");
}

TEST_F(RefusalTest, ASnapshotLeavesNoImage) {
    bench.make_guest(server_in("active", "image_snapshot_pending"));
    refuse("snapshot_instance", Json::object().set("image_id", "img-1"));
    EXPECT_THAT(bench.diary.of("images.remove"), ElementsAre(HasSubstr("img-1")));
    EXPECT_EQ(bench.states(), "active/None");
}

TEST_F(RefusalTest, AVolumeIsNeitherReservedNorDetaching) {
    bench.make_guest(server_in("active", nullptr));
    Json mapping = tests::root_disk(server_uuid);
    mapping.member("nova_object.data").set("volume_id", "v1").set("attachment_id", "a1");
    refuse("attach_volume", Json::object().set("bdm", mapping));
    refuse("detach_volume", Json::object().set("volume_id", "v2").set("attachment_id", "a2"));
    EXPECT_THAT(
        bench.diary.of("volumes"),
        ElementsAre(HasSubstr("volumes.forget_attachment v1"), "volumes.roll_back_detach v2"));
    EXPECT_EQ(bench.states(), "active/None");
}

TEST_F(RefusalTest, EveryMethodThatNovaKnowsHasAnAnswer) {
    bench.make_guest(server_in("active", nullptr));
    for (const auto& row : catalogue()) {
        if (row.is_served())
            continue;
        bench.send(std::string(row.facts->name), bench.arguments());
        const auto answer = bench.answers.take();
        ASSERT_TRUE(answer) << row.facts->name;
        ASSERT_FALSE(*answer) << row.facts->name;
        EXPECT_EQ(answer->error().exception, row.facts->on_failure.refusal) << row.facts->name;
        EXPECT_THAT(answer->error().text, HasSubstr(std::string(row.facts->name)));
        ASSERT_TRUE(bench.settle());
        EXPECT_EQ(bench.states(), "active/None") << row.facts->name;
    }
    EXPECT_EQ(bench.open_entries(), 0U);
    EXPECT_EQ(bench.guest_state(), hypervisor::PowerState::Running);
}

} // namespace
} // namespace novalet::tasks
