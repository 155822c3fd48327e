// Work that waits (in a line, for a peer) leaves the threads to others, and ends when it is asked.
#include "agent/tasks/upkeep/upkeep.hpp"
#include "tests/support/task_bench.hpp"

#include <atomic>
#include <gtest/gtest.h>
#include <latch>

namespace novalet::tasks {
namespace {

using tests::FakeConductor;
using tests::server_in;

constexpr unsigned many = 90;

std::string server(unsigned number) {
    std::string text = std::to_string(number);
    return "00000000-0000-4000-8000-" + std::string(12 - text.size(), '0') + text;
}

class WaitingTest : public tests::TaskTest {
  protected:
    void restart_with(unsigned threads, Milliseconds retry_pause) {
        bench.pool_threads = threads;
        bench.options.max_concurrent_builds = 2;
        bench.options.retry_pause = retry_pause;
        bench.restart();
    }
    void put_new_server(const std::string& uuid) {
        bench.bus.put_instance(tests::new_server(uuid));
        bench.bus.put_mappings(uuid, Json::Array{tests::root_disk(uuid)});
    }
    void send_builds() {
        for (unsigned i = 0; i < many; ++i) {
            put_new_server(server(i));
            bench.send("build_and_run_instance", bench.build_arguments(true, server(i)));
        }
    }
    void send_delete(const std::string& uuid) {
        bench.bus.change(uuid, "task_state", "deleting");
        bench.send("terminate_instance", bench.arguments(uuid).set("bdms", Json::array()));
    }
    /// Every operation waits, and no thread is at work. False when patience is over.
    [[nodiscard]] bool all_wait(std::size_t operations) {
        const auto patience = Deadline::after(Seconds(50));
        while (!patience.passed())
            if (bench.pool->wait_idle(patience) && bench.queues->parked() == operations)
                return true;
        return false;
    }
    void expect_answers(unsigned number) {
        for (unsigned i = 0; i < number; ++i)
            ASSERT_TRUE(bench.answers.take()) << "answer " << i;
    }
};

TEST_F(WaitingTest, BuildsInLineLeaveTheThreadsToOthers) {
    restart_with(4, Milliseconds(1));
    bench.make_guest(
        server_in("active", "powering-off", hypervisor::PowerState::Running, server(100)));
    bench.make_guest(server_in("active", nullptr, hypervisor::PowerState::Running, server(101)));
    std::latch two_are_held(2);
    std::latch go_on(1);
    std::atomic<unsigned> builds{0};
    bench.images.on_request = [&] {
        if (builds++ < 2)
            two_are_held.count_down();
        go_on.wait();
    };
    send_builds();
    two_are_held.wait();

    bench.send("stop_instance", bench.arguments(server(100)));
    send_delete(server(many - 1));
    bench.send("get_console_output", bench.arguments(server(101)).set("tail_length", 1));
    expect_answers(4); // the stop, the delete and the build it overtook, the console
    EXPECT_EQ(bench.states(server(100)), "stopped/None");
    EXPECT_TRUE(bench.bus.instance(server(many - 1))["deleted"].as_bool());

    Upkeep upkeep(*bench.services, {});
    ASSERT_TRUE(
        bench.host->guest_becomes(InstanceUuid(server(101)), hypervisor::PowerState::Shutdown));
    upkeep.sync_power_states();
    std::latch synced(1);
    bench.queues->post(server(101), [&](const std::stop_token&) { synced.count_down(); });
    synced.wait();
    EXPECT_EQ(bench.bus.casts("stop_instance").size(), 1U);
    EXPECT_EQ(builds.load(), 2U) << "not more than max_concurrent_builds";

    go_on.count_down();
    ASSERT_TRUE(bench.settle());
    for (unsigned i = 0; i + 1 < many; ++i)
        EXPECT_EQ(bench.states(server(i)), "active/None") << i;
    EXPECT_EQ(bench.open_entries(), 0U);
}

TEST_F(WaitingTest, AnOutageHoldsNoThreadAndAllEndWhenItIsOver) {
    restart_with(4, Seconds(1));
    for (unsigned i = 0; i < many; ++i)
        bench.make_guest(
            server_in("active", "powering-off", hypervisor::PowerState::Running, server(i)));
    bench.bus.set_outage(true);
    std::atomic<unsigned> calls{0};
    bench.bus.before = [&](const std::string& /*call*/) { ++calls; };
    for (unsigned i = 0; i < many; ++i)
        bench.send("stop_instance", bench.arguments(server(i)));
    ASSERT_TRUE(all_wait(many));
    EXPECT_EQ(bench.open_entries(), many);
    EXPECT_LT(calls.load(), many / 2) << "a call takes a minute to fail: not all of them may try";
    bench.bus.set_outage(false);
    ASSERT_TRUE(bench.settle());
    for (unsigned i = 0; i < many; ++i)
        EXPECT_EQ(bench.states(server(i)), "stopped/None") << i;
    EXPECT_EQ(bench.open_entries(), 0U);
}

TEST_F(WaitingTest, BuildsThatWaitForTheControlPlaneAllEnd) {
    restart_with(4, Milliseconds(5));
    bench.bus.set_outage(true);
    send_builds();
    ASSERT_TRUE(all_wait(many));
    bench.bus.set_outage(false);
    ASSERT_TRUE(bench.settle());
    for (unsigned i = 0; i < many; ++i)
        EXPECT_EQ(bench.states(server(i)), "active/None") << i;
}

TEST_F(WaitingTest, ABuildThatWaitsForTheControlPlaneIsUndoneByADelete) {
    restart_with(4, Seconds(1));
    put_new_server(tests::server_uuid);
    bench.bus.before = [&](const std::string& call) {
        if (call.starts_with("Instance.save building/block_device_mapping"))
            bench.bus.set_outage(true);
    };
    bench.send("build_and_run_instance", bench.build_arguments());
    ASSERT_TRUE(all_wait(1));
    bench.bus.before = nullptr;
    bench.bus.set_outage(false);
    send_delete(tests::server_uuid);
    ASSERT_TRUE(bench.settle());
    EXPECT_TRUE(bench.bus.instance(tests::server_uuid)["deleted"].as_bool());
    EXPECT_FALSE(bench.guest_exists());
    EXPECT_TRUE(bench.bus.faults().empty());
    EXPECT_GE(bench.diary.count("networks.deallocate"), 1U);
    EXPECT_EQ(bench.open_entries(), 0U);
}

/// The record cannot be read when it has to be read again.
class BlindWayBack : public WaitingTest {
  protected:
    void SetUp() override {
        restart_with(4, Milliseconds(1));
        bench.bus.fail("Instance.get_by_uuid", FakeConductor::remote("DBError"));
    }
};

TEST_F(BlindWayBack, TheFailureIsRecordedAllTheSame) {
    bench.make_guest(server_in("active", "powering-off"));
    bench.host->fail_step("power_off", Error{Code::Internal, "no power button", "", ""});
    bench.bus.lose("InstanceFault.create");
    bench.send("stop_instance", bench.arguments());
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "active/None");
    EXPECT_EQ(bench.bus.faults().size(), 1U);
    EXPECT_EQ(bench.open_entries(), 0U);
}

TEST_F(BlindWayBack, TheStepsAreUndoneAllTheSame) {
    put_new_server(tests::server_uuid);
    bench.host->fail_step("start", Error{Code::Internal, "no kernel", "", ""});
    bench.host->fail_step("destroy",
                          Error{Code::Unavailable, "libvirt is away", "HypervisorUnavailable", ""});
    bench.send("build_and_run_instance", bench.build_arguments());
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.diary.count("networks.deallocate"), 1U);
    EXPECT_EQ(bench.states(), "building/scheduling");
    EXPECT_EQ(bench.bus.casts("build_instances").size(), 1U);
}

TEST_F(BlindWayBack, ARecordThatCannotBeReadOnceIsReadAgain) {
    put_new_server(tests::server_uuid);
    ASSERT_TRUE(
        bench.router->accept(bench.request("build_and_run_instance", bench.build_arguments())));
    bench.restart();
    ASSERT_TRUE(bench.router->recover());
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "active/None");
    EXPECT_TRUE(bench.bus.casts("build_instances").empty());
}

TEST_F(BlindWayBack, ABuildWhoseRecordCannotBeReadIsGivenToTheScheduler) {
    bench.bus.fail("Instance.get_by_uuid", FakeConductor::remote("DBError"), 3);
    put_new_server(tests::server_uuid);
    ASSERT_TRUE(
        bench.router->accept(bench.request("build_and_run_instance", bench.build_arguments())));
    bench.restart();
    ASSERT_TRUE(bench.router->recover());
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "building/scheduling");
    EXPECT_EQ(bench.bus.casts("build_instances").size(), 1U);
    EXPECT_EQ(bench.diary.count("allocations.remove"), 1U);
}

} // namespace
} // namespace novalet::tasks
