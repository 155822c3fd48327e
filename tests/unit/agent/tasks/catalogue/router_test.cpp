#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>
#include <latch>

namespace novalet::tasks {
namespace {

using hypervisor::PowerState;
using testing::ElementsAre;
using testing::HasSubstr;
using tests::server_in;
using tests::server_uuid;

class RouterTest : public tests::TaskTest {
  protected:
    /// A running server that is about to be stopped.
    void server_to_stop() { bench.make_guest(server_in("active", "powering-off")); }
};

TEST_F(RouterTest, ARequestIsDurableBeforeItIsAcknowledged) {
    server_to_stop();
    const auto message = bench.request("stop_instance", bench.arguments());
    const auto admitted = bench.router->accept(message);
    ASSERT_TRUE(admitted);
    EXPECT_TRUE(admitted->fresh);
    const auto entries = bench.journal->open_entries();
    ASSERT_TRUE(entries);
    ASSERT_EQ(entries->size(), 1U);
    EXPECT_EQ(entries->front().request.method, "stop_instance");
    EXPECT_EQ(entries->front().request.unique_id, message.unique_id);
    EXPECT_EQ(entries->front().request.instance_uuid, server_uuid);
    EXPECT_EQ(entries->front().request.context["request_id"].as_string(), "req-1");
    EXPECT_EQ(bench.states(), "active/powering-off") << "nothing is done before the dispatch";
}

TEST_F(RouterTest, AFinishedRequestIsClosedAndAnswered) {
    server_to_stop();
    bench.send("stop_instance", bench.arguments());
    const auto answer = bench.answers.take();
    ASSERT_TRUE(answer);
    EXPECT_TRUE(*answer);
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.open_entries(), 0U);
    EXPECT_EQ(bench.states(), "stopped/None");
}

TEST_F(RouterTest, ADuplicateIsDroppedAlsoByTheNextProcess) {
    server_to_stop();
    const auto message = bench.request("stop_instance", bench.arguments());
    EXPECT_TRUE(bench.deliver(message));
    ASSERT_TRUE(bench.settle());
    EXPECT_FALSE(bench.deliver(message));
    bench.restart();
    EXPECT_FALSE(bench.deliver(message));
    EXPECT_EQ(bench.diary.count("InstanceActionEvent.event_start"), 1U);
}

TEST_F(RouterTest, WhatCannotBeWrittenDownIsNotAccepted) {
    server_to_stop();
    bench.journal_bytes = 256U << 10U;
    bench.restart();
    auto message = bench.request("stop_instance", bench.arguments());
    message.context = rpc::Context(Json::object().set("blob", std::string(1U << 20U, 'x')));
    EXPECT_FALSE(bench.router->accept(message)); // stays with the broker
    EXPECT_EQ(bench.open_entries(), 0U);
}

TEST_F(RouterTest, OperationsOnOneServerAreSerialAndInOrder) {
    bench.make_guest(server_in("active", "pausing"));
    bench.bus.before = [&](const std::string& call) {
        // The second verb must not have begun when the first saves its result.
        if (call.starts_with("Instance.save paused")) {
            EXPECT_EQ(bench.diary.count("InstanceActionEvent.event_start"), 1U);
        }
    };
    bench.send("pause_instance", bench.arguments());
    bench.send("unpause_instance", bench.arguments());
    ASSERT_TRUE(bench.settle());
    bench.bus.before = nullptr;
    EXPECT_THAT(bench.diary.of("InstanceActionEvent"),
                ElementsAre("InstanceActionEvent.event_start compute_pause_instance",
                            "InstanceActionEvent.event_finish_with_failure compute_pause_instance",
                            "InstanceActionEvent.event_start compute_unpause_instance",
                            HasSubstr("compute_unpause_instance")));
}

TEST_F(RouterTest, ADeleteInterruptsTheBuildBeforeIt) {
    bench.networks.info = tests::one_port(false);
    bench.bus.put_instance(tests::new_server());
    std::latch spawning(1);
    bench.images.on_request = [&] { spawning.count_down(); };
    bench.send("build_and_run_instance", bench.build_arguments());
    spawning.wait();                                         // from here on it waits for Neutron
    bench.bus.change(server_uuid, "task_state", "deleting"); // as nova-api does it
    bench.send("terminate_instance", bench.arguments().set("bdms", Json::array()));
    ASSERT_TRUE(bench.settle());
    EXPECT_TRUE(bench.bus.instance(server_uuid)["deleted"].as_bool());
    EXPECT_EQ(bench.bus.instance(server_uuid)["vm_state"].as_string(), "deleted");
    EXPECT_FALSE(bench.guest_exists());
    EXPECT_TRUE(bench.bus.faults().empty());
    EXPECT_TRUE(bench.bus.casts("build_instances").empty());
    EXPECT_EQ(bench.open_entries(), 0U);
}

TEST_F(RouterTest, ARefusedOperationLeavesTheServerUnlocked) {
    bench.make_guest(server_in("active", "rebuilding"));
    bench.send("rebuild_instance", bench.arguments().set("anything", 1));
    const auto answer = bench.answers.take();
    ASSERT_TRUE(answer);
    ASSERT_FALSE(*answer);
    EXPECT_THAT(answer->error().text, HasSubstr("does not support rebuild_instance"));
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "active/None");
    ASSERT_EQ(bench.bus.faults().size(), 1U);
    EXPECT_THAT(bench.diary.of("InstanceActionEvent.event_finish"),
                ElementsAre("InstanceActionEvent.event_finish_with_failure "
                            "compute_rebuild_instance Error"));
    EXPECT_TRUE(bench.guest_exists());
}

TEST_F(RouterTest, ARefusedQuestionTouchesNoRecord) {
    // Somebody stops the server while an operator asks: the stop must not lose its task_state.
    bench.make_guest(server_in("active", nullptr));
    const auto asked = bench.arguments();
    bench.bus.change(server_uuid, "task_state", "powering-off");
    bench.diary.clear();
    const std::map<std::string, std::string> classes{
        {"get_diagnostics", "NotImplementedError"},
        {"get_instance_diagnostics", "NotImplementedError"},
        {"check_can_live_migrate_destination", "MigrationPreCheckError"},
        {"check_can_live_migrate_source", "MigrationPreCheckError"},
        {"pre_live_migration", "MigrationPreCheckError"},
        {"get_spice_console", "ConsoleTypeUnavailable"},
        {"get_serial_console", "ConsoleTypeUnavailable"},
        {"host_power_action", "NotImplementedError"},
        {"reserve_block_device_name", "InvalidVolume"},
        {"attach_volume", "VolumeAttachFailed"}};
    for (const auto& [method, exception] : classes) {
        bench.send(method, asked);
        const auto answer = bench.answers.take();
        ASSERT_TRUE(answer) << method;
        ASSERT_FALSE(*answer) << method;
        EXPECT_EQ(answer->error().exception, exception) << method;
        EXPECT_THAT(answer->error().text, HasSubstr("does not support " + method));
    }
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "active/powering-off");
    EXPECT_EQ(bench.diary.count("Instance.save"), 0U);
}

TEST_F(RouterTest, AQuestionIsAnsweredWithoutJournal) {
    bench.make_guest(server_in("active", nullptr));
    bench.send("get_console_output", bench.arguments().set("tail_length", 1));
    const auto answer = bench.answers.take();
    ASSERT_TRUE(answer);
    ASSERT_TRUE(*answer) << answer->error().text;
    EXPECT_THAT((*answer)->as_string(), HasSubstr("runs"));
    EXPECT_EQ(bench.open_entries(), 0U);
}

TEST_F(RouterTest, AnUnknownMethodAndWrongArgumentsAreRefusedAndNotJournalled) {
    bench.bus.put_instance(server_in("active", nullptr));
    bench.send("make_coffee", bench.arguments());
    auto answer = bench.answers.take();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->error().exception, "NoSuchMethod");
    bench.send("stop_instance", bench.arguments().set("speed", 11));
    answer = bench.answers.take();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->error().exception, "TypeError");
    EXPECT_EQ(bench.open_entries(), 0U);
}

TEST_F(RouterTest, AnOperationOutlivesAnOutageOfTheControlPlane) {
    server_to_stop();
    bench.bus.lose("Instance.save stopped", 3);
    bench.send("stop_instance", bench.arguments());
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "stopped/None");
    EXPECT_TRUE(bench.bus.faults().empty());
    EXPECT_EQ(bench.open_entries(), 0U);
}

TEST_F(RouterTest, AnOutageAtTheEndLeavesTheEntryForTheNextProcess) {
    server_to_stop();
    bench.options.retry_pause = Seconds(3600);
    bench.restart();
    bench.bus.lose("Instance.save stopped", 1);
    bench.send("stop_instance", bench.arguments());
    while (bench.queues->parked() == 0)
        ASSERT_TRUE(bench.pool->wait_idle(Deadline::after(Seconds(50))));
    EXPECT_EQ(bench.open_entries(), 1U);
    EXPECT_EQ(bench.states(), "active/powering-off");
    bench.restart();
    EXPECT_EQ(bench.router->recover().value_or(0), 1U);
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "stopped/None");
    EXPECT_EQ(bench.guest_state(), PowerState::Shutdown);
    EXPECT_EQ(bench.open_entries(), 0U);
}

TEST_F(RouterTest, AFailedEventStartDoesNotLeaveTheServerLocked) {
    server_to_stop();
    bench.bus.fail("InstanceActionEvent.event_start",
                   tests::FakeConductor::remote("InstanceActionNotFound", Code::NotFound));
    bench.send("stop_instance", bench.arguments());
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "active/None");
    EXPECT_EQ(bench.guest_state(), PowerState::Running);
    EXPECT_EQ(bench.open_entries(), 0U);
}

} // namespace
} // namespace novalet::tasks
