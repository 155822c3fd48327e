#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using hypervisor::PowerState;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using tests::FakeConductor;
using tests::server_in;
using tests::server_uuid;

class PowerTest : public tests::TaskTest {
  protected:
    /// A server and its guest, which is in this state.
    void server(const char* vm_state, const char* task_state, PowerState state) {
        bench.make_guest(
            server_in(vm_state, task_state == nullptr ? Json() : Json(task_state), state));
        const InstanceUuid uuid(server_uuid);
        if (state == PowerState::Shutdown) {
            ASSERT_TRUE(bench.host->power_off(uuid, {}));
        } else if (state == PowerState::Paused) {
            ASSERT_TRUE(bench.host->pause(uuid));
        } else if (state == PowerState::Suspended) {
            ASSERT_TRUE(bench.host->suspend(uuid));
        }
    }
    void run(const std::string& method, Json more = Json::object()) {
        Json args = bench.arguments();
        for (const auto& [key, value] : more.members())
            args.set(key, value);
        bench.send(method, std::move(args));
        ASSERT_TRUE(bench.settle());
    }
    void expect(const std::string& states, PowerState state) {
        EXPECT_EQ(bench.states(), states);
        EXPECT_EQ(bench.guest_state(), state);
        EXPECT_EQ(bench.bus.instance(server_uuid)["power_state"].as_int(), static_cast<int>(state));
        EXPECT_EQ(bench.open_entries(), 0U);
    }
};

TEST_F(PowerTest, Stop) {
    server("active", "powering-off", PowerState::Running);
    run("stop_instance", Json::object().set("clean_shutdown", false));
    expect("stopped/None", PowerState::Shutdown);
    EXPECT_THAT(bench.diary.lines(),
                ElementsAre("InstanceActionEvent.event_start compute_stop_instance",
                            "notify power_off.start",
                            "Instance.save stopped/",
                            "resources.update stopped",
                            "notify power_off.end",
                            "InstanceActionEvent.event_finish_with_failure compute_stop_instance"));
}

TEST_F(PowerTest, StopOfAGuestThatWentDownByItselfNeedsNoTask) {
    server("active", nullptr, PowerState::Shutdown);
    run("stop_instance");
    expect("stopped/None", PowerState::Shutdown);
}

TEST_F(PowerTest, StopThatAnotherOperationOvertookChangesNothing) {
    server("active", "powering-off", PowerState::Running);
    const auto args = bench.arguments();
    bench.bus.change(server_uuid, "task_state", "deleting");
    bench.send("stop_instance", args);
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "active/deleting") << "the delete keeps its task";
}

TEST_F(PowerTest, Start) {
    server("stopped", "powering-on", PowerState::Shutdown);
    run("start_instance");
    expect("active/None", PowerState::Running);
    EXPECT_EQ(bench.diary.count("networks.bind_to_host"), 1U);
}

TEST_F(PowerTest, SoftReboot) {
    server("active", "rebooting", PowerState::Running);
    run("reboot_instance", Json::object().set("reboot_type", "SOFT"));
    expect("active/None", PowerState::Running);
    EXPECT_THAT(bench.diary.of("Instance.save"),
                ElementsAre("Instance.save active/reboot_pending",
                            "Instance.save active/reboot_started",
                            "Instance.save active/"));
    const auto console = bench.host->console_log(InstanceUuid(server_uuid));
    EXPECT_THAT(console.value(), HasSubstr("goes down for a reboot"));
}

TEST_F(PowerTest, HardReboot) {
    server("active", "rebooting_hard", PowerState::Running);
    run("reboot_instance", Json::object().set("reboot_type", "HARD"));
    expect("active/None", PowerState::Running);
    EXPECT_THAT(bench.diary.of("Instance.save"),
                ElementsAre("Instance.save active/reboot_pending_hard",
                            "Instance.save active/reboot_started_hard",
                            "Instance.save active/"));
}

TEST_F(PowerTest, ASoftRebootOfAGuestThatIsDownIsAHardOne) {
    server("active", "rebooting", PowerState::Shutdown);
    run("reboot_instance", Json::object().set("reboot_type", "SOFT"));
    expect("active/None", PowerState::Running);
}

TEST_F(PowerTest, PauseAndUnpause) {
    server("active", "pausing", PowerState::Running);
    run("pause_instance");
    expect("paused/None", PowerState::Paused);
    bench.bus.change(server_uuid, "task_state", "unpausing");
    run("unpause_instance");
    expect("active/None", PowerState::Running);
}

TEST_F(PowerTest, SuspendAndResume) {
    server("active", "suspending", PowerState::Running);
    run("suspend_instance");
    expect("suspended/None", PowerState::Suspended);
    EXPECT_EQ(bench.bus.instance(server_uuid)["system_metadata"]["old_vm_state"].as_string(),
              "active");
    bench.bus.change(server_uuid, "task_state", "resuming");
    run("resume_instance");
    expect("active/None", PowerState::Running);
    EXPECT_FALSE(bench.bus.instance(server_uuid)["system_metadata"].contains("old_vm_state"));
}

struct Failing {
    const char* method;
    const char* step; ///< of the simulated host
    const char* vm_state;
    const char* task_state;
    PowerState state;
    const char* after; ///< vm_state of the failed operation
};

class PowerFailureTest : public PowerTest, public ::testing::WithParamInterface<Failing> {};

TEST_P(PowerFailureTest, IsRecordedAndUnlocksTheServer) {
    const auto& failing = GetParam();
    server(failing.vm_state, failing.task_state, failing.state);
    bench.host->fail_step(failing.step, Error{Code::Internal, "libvirt says no", "", ""});
    run(failing.method);
    EXPECT_EQ(bench.states(), std::string(failing.after) + "/None");
    EXPECT_EQ(bench.guest_state(), failing.state);
    ASSERT_EQ(bench.bus.faults().size(), 1U);
    EXPECT_EQ(bench.bus.faults().front()["message"].as_string(), "libvirt says no");
    EXPECT_EQ(bench.bus.faults().front()["host"].as_string(), tests::host_name);
    EXPECT_EQ(bench.diary.count(std::string("InstanceActionEvent.event_finish_with_failure "
                                            "compute_") +
                                failing.method + " Error"),
              1U);
    EXPECT_EQ(bench.open_entries(), 0U);
}

/// A repeated verb when the last save was carried out, but nobody heard of it.
TEST_P(PowerFailureTest, IsNotDoneTwiceWhenOnlyTheAnswerWasLost) {
    const auto& failing = GetParam();
    server(failing.vm_state, failing.task_state, failing.state);
    bench.bus.lose_answer("Instance.save " +
                          std::string(std::string(failing.method) == "stop_instance"    ? "stopped"
                                      : std::string(failing.method) == "pause_instance" ? "paused"
                                      : std::string(failing.method) == "suspend_instance"
                                          ? "suspended"
                                          : "active"));
    run(failing.method);
    EXPECT_THAT(bench.bus.faults(), IsEmpty());
    EXPECT_TRUE(bench.bus.instance(server_uuid)["task_state"].is_null());
    EXPECT_EQ(bench.diary.count("Instance.save"), 1U);
    EXPECT_EQ(bench.open_entries(), 0U);
}

INSTANTIATE_TEST_SUITE_P(
    EachVerb,
    PowerFailureTest,
    ::testing::Values(
        Failing{
            "stop_instance", "power_off", "active", "powering-off", PowerState::Running, "active"},
        Failing{
            "start_instance", "plug", "stopped", "powering-on", PowerState::Shutdown, "stopped"},
        Failing{"pause_instance", "pause", "active", "pausing", PowerState::Running, "active"},
        Failing{"unpause_instance", "unpause", "paused", "unpausing", PowerState::Paused, "paused"},
        Failing{
            "suspend_instance", "suspend", "active", "suspending", PowerState::Running, "error"},
        Failing{
            "resume_instance", "resume", "suspended", "resuming", PowerState::Suspended, "error"}),
    [](const auto& verb) { return verb.param.method; });

TEST_F(PowerTest, AnOperationOfAnEarlierProcessIsDone) {
    server("stopped", "powering-on", PowerState::Shutdown);
    const auto message = bench.request("start_instance", bench.arguments());
    ASSERT_TRUE(bench.router->accept(message));
    bench.restart();
    ASSERT_TRUE(bench.router->recover());
    ASSERT_TRUE(bench.settle());
    expect("active/None", PowerState::Running);
}

TEST_F(PowerTest, AGuestThatWasStartedBeforeIsNotStartedAgain) {
    server("stopped", "powering-on", PowerState::Shutdown);
    const auto message = bench.request("start_instance", bench.arguments());
    ASSERT_TRUE(bench.router->accept(message));
    const auto entries = bench.journal->open_entries();
    ASSERT_TRUE(bench.journal->set_step(entries->front().id, "start_instance"));
    bench.make_guest(server_in("active", nullptr)); // all was done but the entry's closing
    bench.restart();
    bench.host->fail_step("remove", Error{Code::Internal, "must not be restarted", "", ""});
    ASSERT_TRUE(bench.router->recover());
    ASSERT_TRUE(bench.settle());
    expect("active/None", PowerState::Running);
    EXPECT_THAT(bench.bus.faults(), IsEmpty());
}

} // namespace
} // namespace novalet::tasks
