#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using hypervisor::PowerState;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using tests::FakeConductor;
using tests::server_uuid;

Error broken(const char* exception, const char* text) {
    return Error{Code::Internal, text, exception, "nova.exception"};
}

class BuildTest : public tests::TaskTest {
  protected:
    BuildTest() { bench.bus.put_instance(tests::new_server()); }

    void build(bool alternates = true) {
        bench.send("build_and_run_instance", bench.build_arguments(alternates));
        ASSERT_TRUE(bench.settle());
    }
    /// Nothing of the build is left on this host.
    void expect_undone() {
        EXPECT_FALSE(bench.guest_exists());
        EXPECT_TRUE(bench.bus.instance(server_uuid)["host"].is_null());
        EXPECT_TRUE(bench.bus.instance(server_uuid)["node"].is_null());
        EXPECT_GE(bench.diary.count("allocations.remove"), 1U);
        EXPECT_EQ(bench.open_entries(), 0U);
    }
    void expect_rescheduled(const std::string& reason) {
        EXPECT_EQ(bench.states(), "building/scheduling");
        const auto casts = bench.bus.casts("build_instances");
        ASSERT_EQ(casts.size(), 1U);
        const auto& args = casts.front().args;
        EXPECT_THAT(args["filter_properties"]["retry"]["exc_reason"].as_string(),
                    HasSubstr(reason));
        EXPECT_EQ(objects::data_of(args["instances"].at(0))["uuid"].as_string(), server_uuid);
        EXPECT_TRUE(objects::data_of(args["instances"].at(0))["host"].is_null());
        EXPECT_EQ(args["host_lists"].size(), 1U);
        EXPECT_TRUE(bench.bus.faults().empty());
        expect_undone();
    }
    void expect_error(const std::string& reason) {
        EXPECT_EQ(bench.states(), "error/None");
        ASSERT_EQ(bench.bus.faults().size(), 1U);
        EXPECT_THAT(bench.bus.faults().front()["message"].as_string(), HasSubstr(reason));
        EXPECT_TRUE(bench.bus.casts("build_instances").empty());
        EXPECT_THAT(bench.diary.of("notify create.error"), Contains(HasSubstr(reason)));
        expect_undone();
    }
    void expect_active() {
        EXPECT_EQ(bench.states(), "active/None");
        EXPECT_EQ(bench.guest_state(), PowerState::Running);
        EXPECT_EQ(bench.bus.instance(server_uuid)["host"].as_string(), tests::host_name);
        EXPECT_EQ(bench.bus.instance(server_uuid)["power_state"].as_int(), 1);
        EXPECT_TRUE(bench.bus.faults().empty());
        EXPECT_EQ(bench.open_entries(), 0U);
    }
};

TEST_F(BuildTest, GoesThroughNovasStatesInOrder) {
    build();
    expect_active();
    EXPECT_THAT(bench.diary.of("Instance.save"),
                ElementsAre("Instance.save building/",
                            "Instance.save building/", // the claim
                            "Instance.save building/networking",
                            "Instance.save building/block_device_mapping",
                            "Instance.save building/spawning",
                            "Instance.save active/"));
    EXPECT_THAT(bench.diary.among({"resources", "notify", "cast", "InstanceActionEvent"}),
                ElementsAre("InstanceActionEvent.event_start compute__do_build_and_run_instance",
                            "notify create.start",
                            "resources.claim",
                            "resources.update active",
                            "resources.build_finished ok",
                            "cast scheduler update_instance_info",
                            "notify create.end",
                            "InstanceActionEvent.event_finish_with_failure "
                            "compute__do_build_and_run_instance"));
}

TEST_F(BuildTest, WhatAServerIsToldOfItself) {
    build();
    const auto record = bench.bus.instance(server_uuid);
    EXPECT_EQ(record["system_metadata"]["boot_roles"].as_string(), "member,reader");
    EXPECT_EQ(record["system_metadata"]["image_hw_machine_type"].as_string(), "pc");
    EXPECT_FALSE(record["system_metadata"].contains("network_allocated"));
    EXPECT_EQ(record["system_metadata"]["owner_project_name"].as_string(), "admin")
        << "keys of the API stay";
    EXPECT_EQ(record["root_device_name"].as_string(), "/dev/vda");
    EXPECT_FALSE(record["launched_at"].is_null());
    EXPECT_EQ(bench.host->plugged(InstanceUuid(server_uuid)),
              std::vector<std::string>{tests::port_uuid});
}

TEST_F(BuildTest, EverySaveNamesTheTaskItExpects) {
    // Somebody else sets a task between our steps: the build must not go over it.
    for (const char* step : {"Instance.save building/networking",
                             "Instance.save building/spawning",
                             "Instance.save active"}) {
        bench.bus.put_instance(tests::new_server());
        bench.bus.before = [&](const std::string& call) {
            if (call.starts_with(step))
                bench.bus.change(server_uuid, "task_state", "deleting");
        };
        build();
        bench.bus.before = nullptr;
        EXPECT_EQ(bench.bus.instance(server_uuid)["task_state"].as_string(), "deleting") << step;
        EXPECT_FALSE(bench.guest_exists()) << step;
        EXPECT_THAT(bench.bus.faults(), IsEmpty()) << step;
        EXPECT_THAT(bench.bus.casts("build_instances"), IsEmpty()) << step;
        EXPECT_EQ(bench.diary.count("allocations.remove"), 1U) << step;
        bench.diary.clear();
    }
}

TEST_F(BuildTest, AServerThatIsGoneIsNotBuilt) {
    const auto args = bench.build_arguments();
    bench.bus.remove_instance(server_uuid);
    bench.send("build_and_run_instance", args);
    ASSERT_TRUE(bench.settle());
    EXPECT_FALSE(bench.guest_exists());
    EXPECT_EQ(bench.diary.count("resources.claim"), 0U);
    EXPECT_EQ(bench.diary.count("allocations.remove"), 1U);
    EXPECT_THAT(bench.bus.faults(), IsEmpty());
    EXPECT_EQ(bench.open_entries(), 0U);
}

TEST_F(BuildTest, ARefusedClaimGoesToAnotherHost) {
    bench.resources.claim_error = Error{Code::ResourceExhausted,
                                        "Insufficient compute resources: no CPUs left",
                                        "ComputeResourcesUnavailable",
                                        "nova.exception"};
    build();
    expect_rescheduled("no CPUs left");
    EXPECT_EQ(bench.diary.count("networks.allocate"), 0U);
    EXPECT_EQ(bench.diary.count("resources.drop"), 1U) << "whatever came of the claim";
}

TEST_F(BuildTest, NoHostButThisOneMeansErrorWithTheReason) {
    bench.resources.claim_error = Error{Code::ResourceExhausted,
                                        "Insufficient compute resources: no CPUs left",
                                        "ComputeResourcesUnavailable",
                                        "nova.exception"};
    build(false);
    expect_error("no CPUs left");
}

TEST_F(BuildTest, WithoutPortsOnThisHostAnotherOneIsTried) {
    bench.networks.allocate_error = broken("PortBindingFailed", "Binding failed for port p");
    build();
    expect_rescheduled("Binding failed for port p");
    EXPECT_THAT(bench.diary.among({"networks", "resources", "allocations"}),
                ElementsAre("resources.claim",
                            "networks.allocate fails",
                            "networks.deallocate",
                            "resources.drop",
                            "allocations.remove",
                            "resources.build_finished failed"));
}

TEST_F(BuildTest, NoAddressAnywhereIsAnError) {
    bench.networks.allocate_error = broken("NoMoreFixedIps", "No fixed IP addresses available");
    build();
    expect_error("No fixed IP addresses available");
}

TEST_F(BuildTest, AFailedDiskUndoesEverythingInOrder) {
    bench.host->fail_step("disks", broken("", "no space left on device"));
    build();
    expect_rescheduled("no space left on device");
    EXPECT_THAT(bench.diary.among({"networks", "resources", "allocations", "cast"}),
                ElementsAre("resources.claim",
                            "networks.allocate",
                            "networks.deallocate",
                            "resources.drop",
                            "allocations.remove",
                            "resources.build_finished failed",
                            "cast conductor build_instances"));
}

TEST_F(BuildTest, AnImageThatNoHostTakesIsAnError) {
    bench.host->fail_step("disks", broken("ImageUnacceptable", "the image has a backing file"));
    build();
    expect_error("the image has a backing file");
}

TEST_F(BuildTest, AGuestThatDoesNotStartIsTriedElsewhere) {
    bench.host->fail_step("start", broken("", "KVM is not available"));
    build();
    expect_rescheduled("KVM is not available");
}

TEST_F(BuildTest, AVolumeIsRefusedBeforeAnythingIsPlugged) {
    auto args = bench.build_arguments();
    auto& mapping = args.member("block_device_mapping")
                        .member("nova_object.data")
                        .member("objects")
                        .elements()[0];
    mapping.member("nova_object.data").set("destination_type", "volume");
    bench.send("build_and_run_instance", args);
    ASSERT_TRUE(bench.settle());
    expect_error("needs a volume");
    EXPECT_EQ(bench.diary.count("networks.deallocate"), 1U)
        << "the allocation that ran beside is waited for and undone";
}

TEST_F(BuildTest, ThePlugEventStartsTheGuest) {
    bench.networks.info = tests::one_port(false);
    bench.images.on_request = [&] {
        EXPECT_TRUE(bench.waiters.deliver(
            InstanceUuid(server_uuid), {"network-vif-plugged", tests::port_uuid}, true));
    };
    build();
    expect_active();
}

TEST_F(BuildTest, AFailedPlugIsAnErrorThatNamesThePort) {
    bench.networks.info = tests::one_port(false);
    bench.images.on_request = [&] {
        EXPECT_TRUE(bench.waiters.deliver(
            InstanceUuid(server_uuid), {"network-vif-plugged", tests::port_uuid}, false));
    };
    build();
    expect_error(tests::port_uuid);
}

TEST_F(BuildTest, AFailedPlugIsToleratedWhenConfigured) {
    bench.options.vif_plugging_is_fatal = false;
    bench.restart();
    bench.networks.info = tests::one_port(false);
    bench.images.on_request = [&] {
        EXPECT_TRUE(bench.waiters.deliver(
            InstanceUuid(server_uuid), {"network-vif-plugged", tests::port_uuid}, false));
    };
    build();
    expect_active();
}

TEST_F(BuildTest, ATimeoutOfZeroMeansNotToWait) {
    bench.options.vif_plugging_timeout = Seconds(0);
    bench.restart();
    bench.networks.info = tests::one_port(false);
    build();
    expect_active();
}

TEST_F(BuildTest, AFinalSaveThatIsRefusedUndoesTheGuest) {
    bench.bus.fail("Instance.save active", FakeConductor::remote("DBError"));
    build();
    expect_rescheduled("DBError");
    EXPECT_TRUE(bench.bus.instance(server_uuid)["launched_at"].is_null());
}

TEST_F(BuildTest, AFirstSaveThatIsRefusedDoesNotLeaveTheServerBuilding) {
    bench.bus.fail("Instance.save building/", FakeConductor::remote("DBError"));
    build(false);
    expect_error("DBError");
}

TEST_F(BuildTest, ABuildWithoutItsActionRecordGoesOn) {
    bench.bus.fail("InstanceActionEvent.event_start",
                   FakeConductor::remote("InstanceActionNotFound", Code::NotFound));
    build();
    expect_active();
}

TEST_F(BuildTest, PortsThatCannotBeRemovedDoNotStopTheUndoing) {
    bench.host->fail_step("start", broken("", "KVM is not available"));
    bench.networks.deallocate_error = broken("", "Neutron is away");
    build();
    EXPECT_EQ(bench.states(), "building/scheduling");
    EXPECT_EQ(bench.diary.count("resources.drop"), 1U);
    EXPECT_EQ(bench.bus.casts("build_instances").size(), 1U);
}

// --- the control plane goes away

/// Every call of a build that has no effect the first time, and every answer that is lost.
class BuildOutageTest : public BuildTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(BuildOutageTest, ABuildWhoseCallIsLostStartsOverAndEndsActive) {
    bench.bus.lose(GetParam(), 2);
    build();
    expect_active();
}

TEST_P(BuildOutageTest, ABuildWhoseAnswerIsLostEndsActive) {
    bench.bus.lose_answer(GetParam());
    build();
    expect_active();
}

INSTANTIATE_TEST_SUITE_P(EachCall,
                         BuildOutageTest,
                         ::testing::Values("InstanceActionEvent.event_start",
                                           "Instance.save building/",
                                           "Instance.save building/networking",
                                           "BlockDeviceMapping.save",
                                           "Instance.save building/block_device_mapping",
                                           "Instance.save building/spawning",
                                           "InstanceInfoCache.save",
                                           "Instance.save active"));

TEST_F(BuildTest, AFailureThatCannotBeToldIsToldLater) {
    // The build fails and the conductor is away just then: ERROR must still be reached.
    bench.host->fail_step("disks", broken("ImageUnacceptable", "the image has a backing file"), 9);
    bench.bus.lose("Instance.save error", 2);
    build(false);
    EXPECT_EQ(bench.states(), "error/None");
    EXPECT_EQ(bench.open_entries(), 0U);
    EXPECT_FALSE(bench.guest_exists());
}

TEST_F(BuildTest, ABuildIsGivenBackOnlyWithItsRecord) {
    // The record that says "scheduling" is lost: another host would find it taken by us.
    bench.host->fail_step("start", broken("", "KVM is not available"), 9);
    bench.bus.lose("Instance.save building/scheduling", 2);
    build();
    expect_rescheduled("KVM is not available");
}

TEST_F(BuildTest, AMessageToTheConductorThatIsNotTakenIsSentAgain) {
    bench.host->fail_step("start", broken("", "KVM is not available"));
    bench.bus.fail("cast conductor build_instances",
                   Error{Code::Unavailable, "the broker is away", "MessageDeliveryFailure", ""},
                   2);
    build();
    EXPECT_EQ(bench.states(), "building/scheduling");
    EXPECT_EQ(bench.bus.casts("build_instances").size(), 1U);
    expect_undone();
}

// --- the agent died

struct Left {
    const char* name;
    const char* step;
    const char* vm_state;
    const char* task_state; ///< null = None
    bool ours;              ///< the record names this host
    bool guest;
};

std::ostream& operator<<(std::ostream& out, const Left& left) {
    return out << left.name;
}

class BuildRecoveryTest : public BuildTest, public ::testing::WithParamInterface<Left> {
  protected:
    /// What an earlier process left: an open entry at this step, the record, maybe a guest.
    void leave(const Left& left, Json place = {}) {
        const auto message = bench.request("build_and_run_instance", bench.build_arguments());
        ASSERT_TRUE(bench.router->accept(message));
        const auto entries = bench.journal->open_entries();
        ASSERT_TRUE(entries);
        ASSERT_EQ(entries->size(), 1U);
        if (*left.step != '\0') {
            ASSERT_TRUE(bench.journal->set_step(entries->front().id, left.step, place));
        }
        auto record = tests::new_server();
        if (left.ours)
            record = tests::server_in(left.vm_state,
                                      nullptr,
                                      std::string(left.vm_state) == "active" ? PowerState::Running
                                                                             : PowerState::NoState);
        record.set("vm_state", left.vm_state)
            .set("task_state", left.task_state == nullptr ? Json() : Json(left.task_state));
        if (left.guest)
            bench.make_guest(record);
        bench.bus.put_instance(record);
        bench.restart();
        bench.diary.clear();
    }
};

TEST_P(BuildRecoveryTest, EndsActive) {
    leave(GetParam());
    EXPECT_EQ(bench.router->recover().value_or(0), 1U);
    ASSERT_TRUE(bench.settle());
    expect_active();
    EXPECT_LE(bench.diary.count("networks.allocate"), 1U);
}

INSTANTIATE_TEST_SUITE_P(
    EachStep,
    BuildRecoveryTest,
    ::testing::Values(
        Left{"accepted", "", "building", "scheduling", false, false},
        Left{"begun", "begin", "building", "scheduling", false, false},
        Left{"begun_and_saved", "begin", "building", nullptr, false, false},
        Left{"claiming", "claim", "building", nullptr, false, false},
        Left{"claimed", "claim", "building", nullptr, true, false},
        Left{"networking", "networking", "building", "networking", true, false},
        Left{"mapping", "block_device_mapping", "building", "block_device_mapping", true, false},
        Left{"spawning", "spawning", "building", "spawning", true, false},
        Left{"started", "start", "building", "spawning", true, true},
        Left{"finishing", "finish", "building", "spawning", true, true},
        Left{"finished", "finish", "active", nullptr, true, true}),
    [](const auto& left) { return left.param.name; });

TEST_F(BuildRecoveryTest, AFinishedBuildIsLeftAlone) {
    leave({"", "finish", "active", nullptr, true, true});
    ASSERT_TRUE(bench.router->recover());
    ASSERT_TRUE(bench.settle());
    expect_active();
    EXPECT_EQ(bench.diary.count("Instance.save"), 0U);
    EXPECT_EQ(bench.diary.count("networks"), 0U);
}

TEST_F(BuildRecoveryTest, ABuildThatWasBeingGivenBackIsGivenBack) {
    Place place;
    place.stage = Stage::Conclude;
    place.state = Json::object()
                      .set("taken_over", true)
                      .set("given_back", true)
                      .set("message_id", "0123456789abcdef0123456789abcdef");
    place.failure = Error{Code::Internal, "no space left on device", "", ""};
    leave({"", "conclude", "building", "scheduling", false, false}, to_json(place));
    ASSERT_TRUE(bench.router->recover());
    ASSERT_TRUE(bench.settle());
    const auto casts = bench.bus.casts("build_instances");
    ASSERT_EQ(casts.size(), 1U);
    EXPECT_EQ(casts.front().target.message_id, "0123456789abcdef0123456789abcdef")
        << "the conductor drops what it has seen";
    EXPECT_EQ(bench.diary.count("allocations.remove"), 0U) << "another host's allocation by now";
    EXPECT_EQ(bench.states(), "building/scheduling");
    EXPECT_FALSE(bench.guest_exists());
    EXPECT_EQ(bench.open_entries(), 0U);
}

TEST_F(BuildRecoveryTest, AServerThatAnotherHostBuildsIsLeftToIt) {
    leave({"", "spawning", "building", "spawning", true, true});
    bench.bus.change(server_uuid, "host", "c2");
    ASSERT_TRUE(bench.router->recover());
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "building/spawning");
    EXPECT_FALSE(bench.guest_exists()) << "our half-made guest goes";
    EXPECT_EQ(bench.diary.count("networks.deallocate"), 0U) << "the ports are the other host's";
    EXPECT_EQ(bench.diary.count("allocations.remove"), 0U);
    EXPECT_EQ(bench.open_entries(), 0U);
}

/// Handed to the scheduler, then killed: the next host may build on the very same files.
TEST_F(BuildRecoveryTest, FilesThatTheOtherHostSeesStay) {
    for (const bool shared : {true, false}) {
        bench.options.instances_path = bench.folder / "instances";
        std::filesystem::create_directories(bench.options.instances_path / server_uuid);
        leave({"", "spawning", "building", "spawning", true, true});
        bench.bus.change(server_uuid, "host", "c2");
        bench.bus.answer("call c2 check_instance_shared_storage", shared);
        ASSERT_TRUE(bench.router->recover());
        ASSERT_TRUE(bench.settle());
        // The simulated host keeps a guest whose disks it keeps, powered off.
        EXPECT_EQ(bench.guest_exists(), shared);
        EXPECT_NE(bench.guest_state(), hypervisor::PowerState::Running);
    }
}

TEST_F(BuildRecoveryTest, AServerThatIsBeingDeletedIsCleanedUp) {
    leave({"", "spawning", "building", "deleting", true, true});
    ASSERT_TRUE(bench.router->recover());
    ASSERT_TRUE(bench.settle());
    EXPECT_FALSE(bench.guest_exists());
    EXPECT_EQ(bench.bus.instance(server_uuid)["task_state"].as_string(), "deleting")
        << "the delete is on its way";
    EXPECT_EQ(bench.diary.count("networks.deallocate"), 1U);
    EXPECT_THAT(bench.bus.faults(), IsEmpty());
}

TEST_F(BuildRecoveryTest, ABuildThatKillsTheAgentEndsInError) {
    leave({"", "claim", "building", nullptr, false, false});
    for (int death = 0; death < 4; ++death) {
        const auto entries = bench.journal->open_entries().value();
        for (const auto& entry : entries)
            ASSERT_TRUE(bench.journal->begin(entry.id)); // and dies over it
        bench.restart();
    }
    ASSERT_TRUE(bench.router->recover());
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "error/None") << "nobody else would ever end this build";
    EXPECT_EQ(bench.bus.faults().size(), 1U);
    EXPECT_EQ(bench.open_entries(), 0U);
    EXPECT_EQ(bench.diary.count("allocations.remove"), 1U);
}

} // namespace
} // namespace novalet::tasks
