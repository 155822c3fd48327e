#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using tests::FakeConductor;
using tests::server_in;
using tests::server_uuid;

class TerminateTest : public tests::TaskTest {
  protected:
    TerminateTest() { bench.make_guest(server_in("active", "deleting")); }

    void terminate() {
        bench.send("terminate_instance", bench.arguments().set("bdms", Json::array()));
        ASSERT_TRUE(bench.settle());
    }
    void expect_gone() {
        const auto record = bench.bus.instance(server_uuid);
        EXPECT_TRUE(record["deleted"].as_bool());
        EXPECT_EQ(record["vm_state"].as_string(), "deleted");
        EXPECT_TRUE(record["task_state"].is_null());
        EXPECT_EQ(record["power_state"].as_int(), 0);
        EXPECT_FALSE(record["terminated_at"].is_null());
        EXPECT_FALSE(bench.guest_exists());
        EXPECT_THAT(bench.bus.faults(), IsEmpty());
        EXPECT_EQ(bench.open_entries(), 0U);
    }
};

TEST_F(TerminateTest, GoesInNovasOrder) {
    terminate();
    expect_gone();
    EXPECT_THAT(bench.diary.lines(),
                ElementsAre("InstanceActionEvent.event_start compute_terminate_instance",
                            "notify delete.start",
                            "notify shutdown.start",
                            "networks.deallocate",
                            "BlockDeviceMappingList.get_by_instance_uuid",
                            "notify shutdown.end",
                            "Instance.save deleted/",
                            "allocations.remove",
                            "ConsoleAuthToken.clean_console_auths_for_instance",
                            "cast scheduler delete_instance_info",
                            "Instance.destroy",
                            "resources.drop",
                            "notify delete.end",
                            "InstanceActionEvent.event_finish_with_failure "
                            "compute_terminate_instance"));
}

TEST_F(TerminateTest, VolumesAreGivenBackAndThoseThatGoWithTheServerAreDeleted) {
    Json kept = tests::root_disk(server_uuid);
    kept.member("nova_object.data")
        .set("source_type", "volume")
        .set("destination_type", "volume")
        .set("volume_id", "v-kept")
        .set("attachment_id", "a-kept")
        .set("delete_on_termination", false);
    Json gone = kept;
    gone.member("nova_object.data").set("volume_id", "v-gone").set("delete_on_termination", true);
    bench.bus.put_mappings(server_uuid, Json::Array{kept, gone});
    terminate();
    expect_gone();
    EXPECT_THAT(
        bench.diary.of("volumes"),
        ElementsAre("volumes.release v-kept", "volumes.release v-gone", "volumes.delete v-gone"));
}

TEST_F(TerminateTest, AServerWithoutAGuestGoesAsWell) {
    ASSERT_TRUE(bench.host->destroy(InstanceUuid(server_uuid),
                                    hypervisor::DestroyOptions(hypervisor::Disks::Remove)));
    terminate();
    expect_gone();
}

TEST_F(TerminateTest, ADeletedServerIsNoFailure) {
    auto message =
        bench.request("terminate_instance", bench.arguments().set("bdms", Json::array()));
    terminate();
    bench.diary.clear();
    EXPECT_TRUE(bench.deliver(message));
    ASSERT_TRUE(bench.settle());
    expect_gone();
    EXPECT_EQ(bench.diary.count("InstanceActionEvent.event_finish_with_failure "
                                "compute_terminate_instance Error"),
              0U);
}

TEST_F(TerminateTest, AGuestThatCannotBeRemovedPutsTheServerIntoError) {
    bench.host->fail_step("destroy",
                          Error{Code::Internal, "the guest hangs", "InstancePowerOffFailure", ""});
    terminate();
    EXPECT_EQ(bench.states(), "error/None");
    ASSERT_EQ(bench.bus.faults().size(), 1U);
    EXPECT_EQ(bench.bus.faults().front()["message"].as_string(), "the guest hangs");
    EXPECT_EQ(bench.diary.count("networks.deallocate"), 0U) << "a guest that runs keeps its ports";
    EXPECT_EQ(bench.diary.count("Instance.destroy"), 0U);
    EXPECT_TRUE(bench.guest_exists());
    terminate(); // the user tries again
    EXPECT_TRUE(bench.bus.instance(server_uuid)["deleted"].as_bool());
}

TEST_F(TerminateTest, PortsThatStayPutTheServerIntoError) {
    bench.networks.deallocate_error = Error{Code::Unavailable, "Neutron is away", "", ""};
    terminate();
    EXPECT_EQ(bench.states(), "error/None");
    EXPECT_FALSE(bench.bus.instance(server_uuid)["deleted"].as_bool());
    bench.networks.deallocate_error.reset();
    terminate();
    EXPECT_TRUE(bench.bus.instance(server_uuid)["deleted"].as_bool());
}

TEST_F(TerminateTest, TokensAndSchedulerAreNoReasonToFail) {
    bench.bus.fail("ConsoleAuthToken", FakeConductor::remote("DBError"));
    bench.bus.fail("cast scheduler", FakeConductor::remote("MessageDeliveryFailure"));
    terminate();
    expect_gone();
}

class TerminateOutageTest : public TerminateTest,
                            public ::testing::WithParamInterface<const char*> {};

TEST_P(TerminateOutageTest, ALostCallOrAnswerEndsInTheSameDelete) {
    bench.bus.lose(GetParam());
    bench.bus.lose_answer(GetParam());
    terminate();
    expect_gone();
}

INSTANTIATE_TEST_SUITE_P(EachCall,
                         TerminateOutageTest,
                         ::testing::Values("InstanceActionEvent.event_start",
                                           "Instance.save deleted",
                                           "Instance.destroy"));

class TerminateRecoveryTest : public TerminateTest,
                              public ::testing::WithParamInterface<const char*> {};

TEST_P(TerminateRecoveryTest, ADeleteOfAnEarlierProcessIsFinished) {
    const auto message =
        bench.request("terminate_instance", bench.arguments().set("bdms", Json::array()));
    ASSERT_TRUE(bench.router->accept(message));
    const auto entries = bench.journal->open_entries();
    ASSERT_TRUE(entries);
    const std::string step = GetParam();
    if (!step.empty()) {
        ASSERT_TRUE(bench.journal->set_step(entries->front().id, step));
    }
    if (step != "" && step != "destroy_guest") {
        ASSERT_TRUE(bench.host->destroy(InstanceUuid(server_uuid),
                                        hypervisor::DestroyOptions(hypervisor::Disks::Remove)));
    }
    if (step == "delete_allocation" || step == "destroy_record") { // what the steps before saved
        bench.bus.change(server_uuid, "vm_state", "deleted");
        bench.bus.change(server_uuid, "task_state", nullptr);
        bench.bus.change(server_uuid, "power_state", 0);
        bench.bus.change(server_uuid, "terminated_at", "2026-01-02T03:04:05Z");
    }
    bench.restart();
    ASSERT_TRUE(bench.router->recover());
    ASSERT_TRUE(bench.settle());
    expect_gone();
}

INSTANTIATE_TEST_SUITE_P(EachStep,
                         TerminateRecoveryTest,
                         ::testing::Values("",
                                           "destroy_guest",
                                           "deallocate_networks",
                                           "save_deleted",
                                           "delete_allocation",
                                           "destroy_record"));

} // namespace
} // namespace novalet::tasks
