#include "agent/tasks/upkeep/upkeep.hpp"

#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

#include <latch>

namespace novalet::tasks {
namespace {

using hypervisor::PowerState;
using testing::ElementsAre;
using testing::IsEmpty;
using tests::server_in;
using tests::server_uuid;

const std::string other_uuid = "22222222-2222-4333-8444-555555555555";

constexpr auto running = PowerState::Running;
constexpr auto paused = PowerState::Paused;
constexpr auto off = PowerState::Shutdown;
constexpr auto crashed = PowerState::Crashed;
constexpr auto suspended = PowerState::Suspended;
constexpr auto none = PowerState::NoState;

class UpkeepTest : public tests::TaskTest {
  protected:
    void bring_guest_to(PowerState state) {
        if (state == none) {
            ASSERT_TRUE(bench.host->destroy(InstanceUuid(server_uuid),
                                            hypervisor::DestroyOptions(hypervisor::Disks::Remove)));
            return;
        }
        ASSERT_TRUE(bench.host->guest_becomes(InstanceUuid(server_uuid), state));
    }
    /// A guest that still runs although its server was deleted at `when`.
    void deleted_server(const std::string& when, const std::string& host = tests::host_name) {
        auto record = server_in("deleted", nullptr);
        record.set("deleted", true).set("deleted_at", when).set("host", host);
        bench.make_guest(record);
    }
    void turn(void (Upkeep::*task)()) {
        (upkeep.*task)();
        ASSERT_TRUE(bench.settle());
    }
    UpkeepOptions options;
    Upkeep upkeep{*bench.services, options};
};

struct Row {
    const char* name;
    const char* vm_state;
    PowerState guest;
    bool stops;
};

class PowerSyncTest : public UpkeepTest, public ::testing::WithParamInterface<Row> {};

/// Rows of ComputeManager._sync_instance_power_state.
TEST_P(PowerSyncTest, FollowsTheTable) {
    const auto& row = GetParam();
    const auto recorded = row.guest == running ? off : running; // anything else
    bench.make_guest(server_in(row.vm_state, nullptr, recorded));
    bring_guest_to(row.guest);
    bench.diary.clear();
    turn(&Upkeep::sync_power_states);
    EXPECT_EQ(bench.bus.instance(server_uuid)["power_state"].as_int(), static_cast<int>(row.guest));
    const auto casts = bench.bus.casts("stop_instance");
    ASSERT_EQ(casts.size(), row.stops ? 1U : 0U);
    EXPECT_EQ(bench.states(), std::string(row.vm_state) + (row.stops ? "/powering-off" : "/None"));
    EXPECT_EQ(bench.guest_state(), row.guest) << "the stop is an operation of its own";
    if (!row.stops)
        return;
    EXPECT_EQ(casts.front().target.topic, "compute");
    EXPECT_EQ(casts.front().target.server, tests::host_name);
    EXPECT_THAT(bench.diary.among({"InstanceAction.", "cast"}),
                ElementsAre("InstanceAction.action_start", "cast compute stop_instance"))
        << "the stop records an event under this action";
}

INSTANTIATE_TEST_SUITE_P(Table,
                         PowerSyncTest,
                         ::testing::Values(Row{"building", "building", off, false},
                                           Row{"rescued", "rescued", off, false},
                                           Row{"resized", "resized", off, false},
                                           Row{"suspended", "suspended", running, false},
                                           Row{"error", "error", off, false},
                                           Row{"active", "active", running, false},
                                           Row{"active_off", "active", off, true},
                                           Row{"active_crashed", "active", crashed, true},
                                           Row{"active_suspended", "active", suspended, true},
                                           Row{"active_paused", "active", paused, false},
                                           Row{"active_gone", "active", none, false},
                                           Row{"stopped_gone", "stopped", none, false},
                                           Row{"stopped_suspended", "stopped", suspended, true},
                                           Row{"paused_gone", "paused", none, false},
                                           Row{"paused_suspended", "paused", suspended, false},
                                           Row{"shelved", "shelved", running, false},
                                           Row{"soft_delete_gone", "soft-delete", none, false},
                                           Row{"stopped", "stopped", off, false},
                                           Row{"stopped_crashed", "stopped", crashed, false},
                                           Row{"stopped_running", "stopped", running, true},
                                           Row{"stopped_paused", "stopped", paused, true},
                                           Row{"paused", "paused", paused, false},
                                           Row{"paused_off", "paused", off, true},
                                           Row{"paused_crashed", "paused", crashed, true},
                                           Row{"paused_running", "paused", running, false},
                                           Row{"soft_delete", "soft-delete", running, false},
                                           Row{"deleted", "deleted", running, false}),
                         [](const auto& row) { return row.param.name; });

TEST_F(UpkeepTest, ServersWhoseStatesAgreeCostOneQuestion) {
    bench.make_guest(server_in("active", nullptr, running));
    bench.make_guest(server_in("active", nullptr, running, other_uuid));
    bench.diary.clear();
    turn(&Upkeep::sync_power_states);
    EXPECT_THAT(bench.diary.lines(), ElementsAre("InstanceList.get_by_host"));
}

TEST_F(UpkeepTest, AStateThatIsSavedButWrongIsTriedAgain) {
    bench.make_guest(server_in("active", nullptr, off)); // an earlier stop could not be sent
    bring_guest_to(off);
    turn(&Upkeep::sync_power_states);
    EXPECT_EQ(bench.states(), "active/powering-off");
}

TEST_F(UpkeepTest, NoStateIsChangedWhenTheHypervisorDoesNotAnswer) {
    bench.make_guest(server_in("active", nullptr, running));
    bench.host->set_reachable(false, "a test");
    turn(&Upkeep::sync_power_states);
    bench.host->set_reachable(true, "");
    EXPECT_EQ(bench.bus.instance(server_uuid)["power_state"].as_int(), static_cast<int>(running));
}

TEST_F(UpkeepTest, AServerThatMovedBetweenListAndTurnIsLeftAlone) {
    bench.make_guest(server_in("active", nullptr, running));
    bring_guest_to(none); // it runs on the other host by now
    bench.bus.before = [&](const std::string& call) {
        if (call.starts_with("Instance.get_by_uuid"))
            bench.bus.change(server_uuid, "host", "c2");
    };
    turn(&Upkeep::sync_power_states);
    bench.bus.before = nullptr;
    EXPECT_EQ(bench.bus.instance(server_uuid)["power_state"].as_int(), static_cast<int>(running));
}

TEST_F(UpkeepTest, AnEventOfAGuestThatIsGoneTellsNothing) {
    bench.make_guest(server_in("active", nullptr, running));
    bring_guest_to(none);
    upkeep.sync_power_state_of(InstanceUuid(server_uuid));
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.bus.instance(server_uuid)["power_state"].as_int(), static_cast<int>(running));
}

TEST_F(UpkeepTest, DeletedServersAreAskedForAtOnce) {
    bench.make_guest(server_in("active", nullptr));
    bench.make_guest(server_in("active", nullptr, running, other_uuid));
    bench.diary.clear();
    turn(&Upkeep::remove_running_deleted);
    EXPECT_THAT(bench.diary.lines(), ElementsAre("InstanceList.get_by_filters"));
}

TEST_F(UpkeepTest, AServerInAnOperationIsLeftAlone) {
    bench.make_guest(server_in("active", "rebooting", PowerState::NoState));
    bring_guest_to(off);
    turn(&Upkeep::sync_power_states);
    EXPECT_EQ(bench.diary.count("Instance.save"), 0U);
    EXPECT_EQ(bench.states(), "active/rebooting");
}

TEST_F(UpkeepTest, AServerOfAnotherHostIsLeftAlone) {
    bench.make_guest(server_in("active", nullptr));
    bring_guest_to(off);
    bench.bus.change(server_uuid, "host", "c2");
    turn(&Upkeep::sync_power_states);
    EXPECT_EQ(bench.diary.count("Instance.save"), 0U);
    EXPECT_THAT(bench.bus.casts("stop_instance"), IsEmpty());
}

TEST_F(UpkeepTest, AGuestThatIsNotNovasIsLeftAlone) {
    bench.make_guest(server_in("active", nullptr));
    bench.bus.remove_instance(server_uuid);
    turn(&Upkeep::sync_power_states);
    turn(&Upkeep::remove_running_deleted);
    turn(&Upkeep::finish_deletes);
    EXPECT_EQ(bench.guest_state(), running);
}

TEST_F(UpkeepTest, AStopThatCannotBeSentLeavesTheServerUnlocked) {
    bench.make_guest(server_in("active", nullptr));
    bring_guest_to(off);
    bench.bus.fail("cast compute stop_instance",
                   Error{Code::Unavailable, "the broker is away", "MessageDeliveryFailure", ""});
    turn(&Upkeep::sync_power_states);
    EXPECT_EQ(bench.states(), "active/None");
    turn(&Upkeep::sync_power_states); // the next turn
    EXPECT_EQ(bench.states(), "active/powering-off");
    EXPECT_EQ(bench.bus.casts("stop_instance").size(), 1U);
}

TEST_F(UpkeepTest, ADeletedServersGuestIsReaped) {
    deleted_server("2026-01-01T00:00:00Z");
    turn(&Upkeep::remove_running_deleted);
    EXPECT_FALSE(bench.guest_exists());
}

TEST_F(UpkeepTest, ADeletedServersGuestIsReapedAlsoWhenItsQueueIsBusy) {
    deleted_server("2026-01-01T00:00:00Z");
    std::latch reaping(1);
    bench.queues->post(server_uuid, [&](const std::stop_token&) { reaping.wait(); });
    upkeep.remove_running_deleted(); // the next turn is half an hour away
    reaping.count_down();
    ASSERT_TRUE(bench.settle());
    EXPECT_FALSE(bench.guest_exists());
}

TEST_F(UpkeepTest, ADeletedServersGuestStaysUntilTheTimeIsUp) {
    deleted_server(to_iso(system_clock().wall()));
    Upkeep patient{*bench.services, {"reap", Seconds(3600)}};
    patient.remove_running_deleted();
    ASSERT_TRUE(bench.settle());
    EXPECT_TRUE(bench.guest_exists());
}

TEST_F(UpkeepTest, TheActionOnDeletedServersIsFollowed) {
    deleted_server("2026-01-01T00:00:00Z");
    for (const char* action : {"noop", "log"}) {
        Upkeep quiet{*bench.services, {action, Seconds(0)}};
        quiet.remove_running_deleted();
        ASSERT_TRUE(bench.settle());
        EXPECT_EQ(bench.guest_state(), running) << action;
    }
    Upkeep stopping{*bench.services, {"shutdown", Seconds(0)}};
    stopping.remove_running_deleted();
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.guest_state(), off);
}

TEST_F(UpkeepTest, NoGuestIsReapedWithoutAClearRecord) {
    deleted_server("2026-01-01T00:00:00Z", "c2"); // of another host: migrated away
    turn(&Upkeep::remove_running_deleted);
    EXPECT_TRUE(bench.guest_exists());
    bench.bus.change(server_uuid, "host", tests::host_name);
    bench.bus.set_outage(true);
    turn(&Upkeep::remove_running_deleted);
    EXPECT_TRUE(bench.guest_exists());
    bench.bus.set_outage(false);
    bench.bus.change(server_uuid, "deleted", false);
    turn(&Upkeep::remove_running_deleted);
    EXPECT_TRUE(bench.guest_exists());
}

TEST_F(UpkeepTest, FilesOfDeletedServersGo) {
    deleted_server("2026-01-01T00:00:00Z");
    ASSERT_TRUE(bench.host->destroy(InstanceUuid(server_uuid),
                                    hypervisor::DestroyOptions(hypervisor::Disks::Remove)));
    turn(&Upkeep::finish_deletes);
    EXPECT_TRUE(bench.bus.instance(server_uuid)["cleaned"].as_bool());
    bench.diary.clear();
    turn(&Upkeep::finish_deletes);
    EXPECT_EQ(bench.diary.count("Instance.save"), 0U) << "once is enough";
}

TEST_F(UpkeepTest, FilesThatCannotBeRemovedAreTriedAgain) {
    deleted_server("2026-01-01T00:00:00Z");
    ASSERT_TRUE(bench.host->destroy(InstanceUuid(server_uuid),
                                    hypervisor::DestroyOptions(hypervisor::Disks::Remove)));
    bench.host->fail_step("destroy", Error{Code::Internal, "the disk is read-only", "", ""});
    turn(&Upkeep::finish_deletes);
    EXPECT_FALSE(bench.bus.instance(server_uuid)["cleaned"].as_bool());
    turn(&Upkeep::finish_deletes);
    EXPECT_TRUE(bench.bus.instance(server_uuid)["cleaned"].as_bool());
}

TEST_F(UpkeepTest, CachesAreHealedAndPortsBoundOneServerATurn) {
    bench.bus.put_instance(server_in("active", nullptr));
    bench.bus.put_instance(server_in("active", nullptr, running, other_uuid));
    bench.resources.claimed = {server_uuid, other_uuid};
    for (int i = 0; i < 3; ++i)
        turn(&Upkeep::heal_info_cache);
    EXPECT_THAT(bench.diary.of("networks."),
                ElementsAre("networks.bind_to_host " + server_uuid,
                            "networks.bind_to_host " + other_uuid,
                            "networks.bind_to_host " + server_uuid));
    bench.resources.claimed.clear();
    bench.diary.clear();
    turn(&Upkeep::heal_info_cache);
    EXPECT_THAT(bench.diary.lines(), IsEmpty()) << "an empty host asks nobody";
}

TEST_F(UpkeepTest, PortsOfAServerOnItsWayAreNotBound) {
    bench.bus.put_instance(server_in("active", "migrating"));
    bench.resources.claimed = {server_uuid};
    turn(&Upkeep::heal_info_cache);
    EXPECT_THAT(bench.diary.of("networks."), ElementsAre("networks.heal " + server_uuid));
}

TEST_F(UpkeepTest, TheCacheOfAServerThatIsMadeRemovedOrElsewhereIsLeftAlone) {
    bench.resources.claimed = {server_uuid};
    auto elsewhere = server_in("active", nullptr);
    elsewhere.set("host", "c2");
    for (const auto& record :
         {server_in("building", "spawning"), server_in("active", "deleting"), elsewhere}) {
        bench.bus.put_instance(record);
        turn(&Upkeep::heal_info_cache);
        EXPECT_EQ(bench.diary.count("networks"), 0U) << record.dump();
    }
}

TEST_F(UpkeepTest, SchedulersHearWhatIsHere) {
    bench.resources.claimed = {server_uuid};
    turn(&Upkeep::sync_scheduler);
    EXPECT_THAT(bench.diary.lines(), ElementsAre("cast scheduler sync_instance_info"));
    const auto casts = bench.bus.casts("sync_instance_info");
    ASSERT_EQ(casts.size(), 1U);
    EXPECT_TRUE(casts.front().target.fanout);
    EXPECT_EQ(casts.front().args["host_name"].as_string(), tests::host_name);
    EXPECT_EQ(casts.front().args["instance_uuids"].at(0).as_string(), server_uuid);
}

} // namespace
} // namespace novalet::tasks
