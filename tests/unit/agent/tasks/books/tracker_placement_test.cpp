// The tracker, and what is held of its host, with a Placement that answers.
#include "tests/support/fake_placement.hpp"
#include "tests/unit/agent/tasks/books/tracker_bench.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using testing::IsEmpty;
using testing::Not;
using tests::FakePlacement;
using tests::host_name;
using tests::server_in;
using tests::server_uuid;
using tests::uuid_number;

/// Uuid that the fake conductor gives to the node, and what it is called.
const std::string ours = "77777777-0000-4000-8000-000000000001";
const std::string theirs = "77777777-0000-4000-8000-000000000002";
const std::string move_uuid = "55555555-0000-4000-8000-000000000001";

struct WithPlacement {
    FakePlacement fake;
};

class TrackerPlacementTest : private WithPlacement, public tests::TrackerTest {
  protected:
    TrackerPlacementTest() : TrackerTest(WithPlacement::fake) {
        placement_.put_provider(theirs, {"c2", 0, Json::object(), {}});
    }
    /// A host that is known, with its provider.
    void begin() {
        start();
        node();
        placement_.forget_calls();
    }
    Allocations& held() { return tracker->allocations(); }
    std::size_t calls(const std::string& prefix) {
        const auto all = placement_.calls();
        return static_cast<std::size_t>(std::count_if(
            all.begin(), all.end(), [&](const auto& call) { return call.starts_with(prefix); }));
    }
    FakePlacement& placement_ = WithPlacement::fake;
};

TEST_F(TrackerPlacementTest, ANewHostGetsItsProvider) {
    start();
    const auto provider = placement_.provider(ours);
    EXPECT_EQ(provider.name, "node1");
    EXPECT_EQ(provider.inventories["MEMORY_MB"]["total"].as_int(), 1024);
    EXPECT_EQ(provider.inventories["DISK_GB"]["total"].as_int(), 20);
    EXPECT_TRUE(provider.traits.contains("COMPUTE_NODE"));
    EXPECT_FALSE(provider.traits.contains("COMPUTE_STATUS_DISABLED"));
}

TEST_F(TrackerPlacementTest, AProviderThatWasDeletedIsMadeAgain) {
    begin();
    placement_.remove_provider(ours);
    restart();
    EXPECT_THAT(placement_.calls(), IsEmpty()) << "a start does not wait for Placement";
    tracker->audit();
    EXPECT_EQ(placement_.provider(ours).name, "node1");
}

TEST_F(TrackerPlacementTest, AnIdleHostAsksNothing) {
    options.records_refresh = Seconds(600);
    make_tracker();
    begin();
    tracker->audit();
    placement_.forget_calls();
    for (int minute = 0; minute < 5; ++minute)
        tracker->audit();
    EXPECT_THAT(placement_.calls(), IsEmpty());
    ASSERT_TRUE(claim(uuid_number(1), 128));
    node();
    EXPECT_THAT(placement_.calls(), Not(IsEmpty())) << "something happened";
}

TEST_F(TrackerPlacementTest, AnotherWriterOfTheProviderIsNotOverwritten) {
    bool once = true;
    placement_.before("PUT /resource_providers/" + ours + "/inventories", [&] {
        if (std::exchange(once, false))
            placement_.touch_provider(ours);
    });
    start();
    EXPECT_EQ(calls("PUT /resource_providers/" + ours + "/inventories"), 2U);
    EXPECT_EQ(placement_.provider(ours).inventories["MEMORY_MB"]["total"].as_int(), 1024);
}

TEST_F(TrackerPlacementTest, WhatAnInventoryLosesStaysWhileItIsHeld) {
    auto& rest = placement_;
    FakePlacement::Provider before{"node1", 4, Json::object(), {}};
    before.inventories.set("CUSTOM_OLD", Json::object().set("total", 1).set("max_unit", 1));
    before.inventories.set("PCPU", Json::object().set("total", 4).set("max_unit", 4));
    rest.put_provider(ours, before);
    rest.allocate(uuid_number(1), ours, 2, "PCPU");
    start();
    EXPECT_TRUE(rest.provider(ours).inventories.contains("PCPU")) << "refused";
    EXPECT_EQ(bench.bus.written("ComputeNode")["host"].as_string(), host_name)
        << "the record does not wait for Placement";
    rest.release(uuid_number(1));
    tracker->audit();
    EXPECT_FALSE(rest.provider(ours).inventories.contains("PCPU"));
    EXPECT_TRUE(rest.provider(ours).inventories.contains("MEMORY_MB"));
}

TEST_F(TrackerPlacementTest, ADisabledServiceShowsInTheProvider) {
    begin();
    ASSERT_TRUE(tracker->set_enabled(false));
    EXPECT_TRUE(placement_.provider(ours).traits.contains("COMPUTE_STATUS_DISABLED"));
    ASSERT_TRUE(tracker->set_enabled(true));
    EXPECT_FALSE(placement_.provider(ours).traits.contains("COMPUTE_STATUS_DISABLED"));
}

TEST_F(TrackerPlacementTest, RemovesWhatAConsumerHolds) {
    begin();
    for (const char* how : {"forced", "unchanged"}) {
        placement_.allocate(server_uuid, ours, 1);
        placement_.allocate(server_uuid, theirs, 1);
        const auto remove = [&] {
            return how == std::string("forced") ? held().remove(server_uuid)
                                                : held().remove_unchanged(server_uuid);
        };
        EXPECT_TRUE(remove()) << how;
        EXPECT_EQ(placement_.held(server_uuid, ours), 0) << how;
        EXPECT_EQ(placement_.held(server_uuid, theirs), 0) << how;
        EXPECT_TRUE(remove()) << "a repeat, " << how;
    }
}

TEST_F(TrackerPlacementTest, WhatSomebodyChangesMeanwhileIsRemovedOnlyByForce) {
    begin();
    placement_.allocate(server_uuid, ours, 1);
    placement_.before("PUT /allocations/", [this] { placement_.allocate(server_uuid, theirs, 3); });
    const auto refused = held().remove_unchanged(server_uuid);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "AllocationDeleteFailed");
    EXPECT_EQ(refused.error().code, Code::Conflict);
    EXPECT_EQ(placement_.held(server_uuid, theirs), 3);
    EXPECT_TRUE(held().remove(server_uuid));
    EXPECT_EQ(placement_.held(server_uuid, theirs), 0);
}

TEST_F(TrackerPlacementTest, OnlyWhatIsHeldOfThisHostIsRemoved) {
    begin();
    placement_.allocate(server_uuid, ours, 1);
    placement_.allocate(server_uuid, theirs, 2);
    EXPECT_EQ(held().remove_ours(server_uuid, "another node").error().code, Code::NotFound);
    bool once = true;
    placement_.before("PUT /allocations/", [&] {
        if (std::exchange(once, false))
            placement_.allocate(server_uuid, theirs, 5);
    });
    ASSERT_TRUE(held().remove_ours(server_uuid, "node1"));
    EXPECT_EQ(placement_.held(server_uuid, ours), 0);
    EXPECT_EQ(placement_.held(server_uuid, theirs), 5) << "what another writer made of it";
    placement_.forget_calls();
    EXPECT_TRUE(held().remove_ours(server_uuid, {})) << "a repeat";
    EXPECT_EQ(calls("PUT"), 0U);
}

TEST_F(TrackerPlacementTest, WhatAMigrationHoldsGoesBackToItsServer) {
    begin();
    placement_.allocate(move_uuid, ours, 1);
    placement_.allocate(server_uuid, theirs, 2);
    ASSERT_TRUE(held().move_back(move_uuid, server_uuid));
    EXPECT_EQ(placement_.held(server_uuid, ours), 1);
    EXPECT_EQ(placement_.held(server_uuid, theirs), 0) << "replaced";
    EXPECT_EQ(placement_.held(move_uuid, ours), 0);
    ASSERT_TRUE(held().move_back(move_uuid, server_uuid)) << "a repeat";
    EXPECT_EQ(placement_.held(server_uuid, ours), 1);
}

TEST_F(TrackerPlacementTest, AMigrationThatHoldsNothingLeavesTheServerAsItIs) {
    begin();
    EXPECT_TRUE(held().move_back(move_uuid, server_uuid)) << "neither of them holds anything";
    placement_.allocate(server_uuid, theirs, 2);
    EXPECT_TRUE(held().move_back(move_uuid, server_uuid));
    EXPECT_EQ(placement_.held(server_uuid, theirs), 2);
}

TEST_F(TrackerPlacementTest, AServerThatIsChangedMeanwhileIsNotOverwritten) {
    begin();
    placement_.allocate(move_uuid, ours, 1);
    placement_.allocate(server_uuid, theirs, 2);
    placement_.before("POST /allocations", [this] { placement_.allocate(server_uuid, theirs, 3); });
    const auto refused = held().move_back(move_uuid, server_uuid);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "AllocationMoveFailed");
    EXPECT_EQ(placement_.held(server_uuid, theirs), 3);
    EXPECT_EQ(placement_.held(move_uuid, ours), 1);
}

/// One server of each kind holds something of this host; only the deleted one loses it.
TEST_F(TrackerPlacementTest, TheAuditRemovesWhatDeletedServersHold_AndNothingElse) {
    begin();
    const auto put = [&](int number, const std::function<void(Json&)>& change) {
        Json record =
            server_in("active", nullptr, hypervisor::PowerState::Running, uuid_number(number));
        record.set("node", "node1").set("hidden", false);
        change(record);
        bench.bus.put_instance(record);
        placement_.allocate(uuid_number(number), ours, 1);
    };
    put(1, [](Json&) {});
    put(2, [](Json& record) { record.set("deleted", true).set("host", nullptr); });
    put(3, [](Json& record) { record.set("deleted", true).set("hidden", true); });
    put(4, [](Json& record) { record.set("host", nullptr).set("vm_state", "building"); });
    put(5, [](Json& record) { record.set("host", "c2").set("node", "c2"); });
    put(6, [](Json& record) { record.set("vm_state", "shelved_offloaded"); });
    placement_.allocate(uuid_number(7), ours, 1); // nobody knows it: it is just being created
    placement_.allocate(move_uuid, ours, 1);
    bench.bus.put_migration(Json::object()
                                .set("id", 7)
                                .set("uuid", move_uuid)
                                .set("instance_uuid", uuid_number(5))
                                .set("status", "finished")
                                .set("migration_type", "migration")
                                .set("source_compute", host_name)
                                .set("source_node", "node1")
                                .set("dest_compute", "c2")
                                .set("dest_node", "c2"));
    tracker->audit();
    for (const int number : {1, 3, 4, 5, 6, 7})
        EXPECT_EQ(placement_.held(uuid_number(number), ours), 1) << number;
    EXPECT_EQ(placement_.held(move_uuid, ours), 1);
    EXPECT_EQ(placement_.held(uuid_number(2), ours), 0);
}

TEST_F(TrackerPlacementTest, ALeftoverThatCannotBeRemovedIsTriedAgain) {
    begin();
    Json gone = server_in("deleted", nullptr);
    bench.bus.put_instance(gone.set("deleted", true));
    placement_.allocate(server_uuid, ours, 1);
    placement_.before("PUT /allocations/", [this] { placement_.allocate(server_uuid, ours, 1); });
    tracker->audit();
    EXPECT_EQ(placement_.held(server_uuid, ours), 1);
    placement_.before("", {});
    tracker->audit();
    EXPECT_EQ(placement_.held(server_uuid, ours), 0);
}

TEST_F(TrackerPlacementTest, LeftoversAreFoundByTheFirstAuditAfterAStart) {
    options.records_refresh = Seconds(600);
    make_tracker();
    begin();
    Json gone = server_in("deleted", nullptr);
    bench.bus.put_instance(gone.set("deleted", true));
    placement_.allocate(server_uuid, ours, 1);
    restart();
    tracker->audit();
    EXPECT_EQ(placement_.held(server_uuid, ours), 0);
}

} // namespace
} // namespace novalet::tasks
