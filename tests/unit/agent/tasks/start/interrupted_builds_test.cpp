// The rule of agent/tasks/start/interrupted_builds.hpp.
#include "agent/tasks/start/interrupted_builds.hpp"

#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using tests::server_uuid;

const std::string ping = "call " + tests::host_name + " ping";

class InterruptedBuildsTest : public tests::TaskTest {
  protected:
    InterruptedBuildsTest() {
        bench.bus.answer(ping, "is the queue empty?");
        auto record = tests::new_server();
        record.set("created_at", "2026-11-21T04:00:00Z").set("updated_at", Json());
        bench.bus.put_instance(record);
        bench.allocations.holders = std::vector<std::string>{server_uuid, "a migration"};
    }
    void turn() {
        builds.turn();
        ASSERT_TRUE(bench.settle());
    }
    InterruptedBuilds builds{*bench.services};
};

TEST_F(InterruptedBuildsTest, ABuildThatNobodyWorksOnEndsInErrorWithAReason) {
    turn();
    EXPECT_EQ(bench.states(), "building/scheduling") << "its request may wait in the queue";
    turn();
    EXPECT_EQ(bench.states(), "error/None");
    ASSERT_EQ(bench.bus.faults().size(), 1U);
    EXPECT_THAT(bench.bus.faults().front()["message"].as_string(), HasSubstr("interrupted"));
    EXPECT_EQ(bench.diary.count("allocations.remove"), 0U) << "the delete does it";
    bench.diary.clear();
    turn();
    EXPECT_THAT(bench.diary.lines(), IsEmpty()) << "once for each process";
}

TEST_F(InterruptedBuildsTest, ABuildThatCameAfterTheFirstLookIsNotInterrupted) {
    bench.allocations.holders = std::vector<std::string>{"a migration"};
    auto older = tests::new_server("22222222-2222-4333-8444-555555555555");
    older.set("created_at", "2026-11-21T04:00:00Z");
    bench.bus.put_instance(older);
    bench.allocations.holders->push_back("22222222-2222-4333-8444-555555555555");
    turn();
    bench.allocations.holders->push_back(server_uuid);
    turn();
    EXPECT_EQ(bench.states(), "building/scheduling");
    EXPECT_EQ(bench.states("22222222-2222-4333-8444-555555555555"), "error/None");
}

TEST_F(InterruptedBuildsTest, ARecordThatChangedIsSomebodysWork) {
    turn();
    bench.bus.change(server_uuid, "updated_at", "2026-11-21T04:03:00Z");
    turn();
    EXPECT_EQ(bench.states(), "building/scheduling");
}

TEST_F(InterruptedBuildsTest, ABuildThatWaitsForItsTurnIsLeftAlone) {
    turn();
    tests::Mailbox<int> go;
    bench.queues->post(server_uuid, [&](const std::stop_token&) { EXPECT_TRUE(go.take()); });
    builds.turn();
    go.put(1);
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "building/scheduling");
}

TEST_F(InterruptedBuildsTest, AQueueThatWasNotEmptiedMayHoldTheRequest) {
    turn();
    bench.bus.lose(ping, 2);
    turn();
    turn();
    EXPECT_EQ(bench.states(), "building/scheduling");
    turn();
    EXPECT_EQ(bench.states(), "error/None");
}

TEST_F(InterruptedBuildsTest, WhatCannotBeReadDecidesNothing) {
    bench.bus.lose("InstanceList.get_by_filters");
    turn(); // no first look
    turn();
    EXPECT_EQ(bench.states(), "building/scheduling");
    const auto holders = bench.allocations.holders;
    bench.allocations.holders = Failure(Error{Code::Unavailable, "Placement is away", "", ""});
    turn();
    EXPECT_EQ(bench.states(), "building/scheduling");
    bench.allocations.holders = holders;
    bench.bus.lose("Instance.get_by_uuid");
    turn();
    EXPECT_EQ(bench.states(), "building/scheduling");
}

TEST_F(InterruptedBuildsTest, OtherServersAreNotTouched) {
    for (const auto& [field, value] : std::map<std::string, std::string>{
             {"host", "c2"}, {"task_state", "deleting"}, {"vm_state", "active"}}) {
        const Json before = bench.bus.instance(server_uuid)[field];
        bench.bus.change(server_uuid, field, value);
        InterruptedBuilds own(*bench.services);
        own.turn();
        own.turn();
        ASSERT_TRUE(bench.settle());
        EXPECT_EQ(bench.bus.instance(server_uuid)[field].as_string(), value);
        EXPECT_EQ(bench.diary.count("Instance.save"), 0U) << field;
        bench.bus.change(server_uuid, field, before);
    }
}

TEST_F(InterruptedBuildsTest, AHostWithoutSuchBuildsAsksOnce) {
    bench.allocations.holders = std::vector<std::string>();
    turn();
    bench.diary.clear();
    turn();
    EXPECT_THAT(bench.diary.lines(), IsEmpty());
}

} // namespace
} // namespace novalet::tasks
