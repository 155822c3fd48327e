// Rows of reference 04 §3.2.
#include "agent/tasks/start/repair.hpp"

#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using hypervisor::PowerState;
using testing::IsEmpty;
using tests::server_in;
using tests::server_uuid;

class RepairTest : public tests::TaskTest {
  protected:
    void server(const char* vm_state, const char* task_state, PowerState guest) {
        bench.make_guest(
            server_in(vm_state, task_state == nullptr ? Json() : Json(task_state), guest));
        bring_guest_to(guest);
        bench.diary.clear();
    }
    void bring_guest_to(PowerState guest) {
        const InstanceUuid uuid(server_uuid);
        if (guest == PowerState::Shutdown) {
            ASSERT_TRUE(bench.host->power_off(uuid, {}));
        } else if (guest == PowerState::Paused) {
            ASSERT_TRUE(bench.host->pause(uuid));
        } else if (guest == PowerState::NoState) {
            ASSERT_TRUE(
                bench.host->destroy(uuid, hypervisor::DestroyOptions(hypervisor::Disks::Remove)));
        }
    }
    void repair() {
        repair_instances(*bench.services, *bench.router);
        ASSERT_TRUE(bench.settle());
    }
};

struct Row {
    const char* name;
    const char* vm_state;
    const char* task_state; ///< null = None
    PowerState guest;
    const char* states;
    PowerState guest_after;
    bool touched; ///< records are saved
};

class RepairRowTest : public RepairTest, public ::testing::WithParamInterface<Row> {};

TEST_P(RepairRowTest, FollowsTheTable) {
    const auto& row = GetParam();
    server(row.vm_state, row.task_state, row.guest);
    repair();
    EXPECT_EQ(bench.states(), row.states);
    EXPECT_EQ(bench.guest_state(), row.guest_after);
    EXPECT_EQ(bench.diary.count("Instance.save") != 0, row.touched);
}

constexpr auto running = PowerState::Running;
constexpr auto paused = PowerState::Paused;
constexpr auto off = PowerState::Shutdown;
constexpr auto none = PowerState::NoState;

INSTANTIATE_TEST_SUITE_P(
    Table,
    RepairRowTest,
    ::testing::Values(
        Row{"quiet", "active", nullptr, running, "active/None", running, false},
        Row{"stopped", "stopped", nullptr, off, "stopped/None", off, false},
        Row{"soft_deleted", "soft-delete", nullptr, off, "soft-delete/None", off, false},
        Row{"error", "error", nullptr, off, "error/None", off, false},
        Row{"error_in_task", "error", "powering-on", off, "error/powering-on", off, false},
        Row{"building", "building", nullptr, none, "error/None", none, true},
        Row{"scheduling", "building", "scheduling", none, "error/None", none, true},
        Row{"mapping", "active", "block_device_mapping", running, "error/None", running, true},
        Row{"networking", "building", "networking", none, "error/None", none, true},
        Row{"spawning", "building", "spawning", running, "error/None", running, true},
        Row{"rebuilding", "active", "rebuilding", running, "error/None", running, true},
        Row{"rebuild_bdm", "stopped", "rebuild_block_device_mapping", off, "error/None", off, true},
        Row{"rebuild_spawn", "active", "rebuild_spawning", running, "error/None", running, true},
        Row{"snapshot", "active", "image_snapshot", running, "active/None", running, true},
        Row{"snapshot0", "active", "image_snapshot_pending", running, "active/None", running, true},
        Row{"upload", "active", "image_uploading", running, "active/None", running, true},
        Row{"upload0", "stopped", "image_pending_upload", off, "stopped/None", off, true},
        Row{"resize_prep", "active", "resize_prep", running, "active/None", running, true},
        Row{"reboot_done", "active", "reboot_started", running, "active/None", running, true},
        Row{"hard_done", "active", "reboot_started_hard", running, "active/None", running, true},
        Row{"reboot_down", "active", "reboot_started", off, "active/None", running, true},
        Row{"reboot_pending", "active", "reboot_pending_hard", off, "active/None", running, true},
        Row{"pausing", "active", "pausing", running, "active/None", running, true},
        Row{"paused", "active", "pausing", paused, "paused/None", paused, true},
        Row{"unpaused", "paused", "unpausing", running, "active/None", running, true},
        Row{"unpausing", "paused", "unpausing", paused, "active/None", running, true},
        Row{"powering_off", "active", "powering-off", running, "stopped/None", off, true},
        Row{"powered_off", "active", "powering-off", off, "stopped/None", off, true},
        Row{"powering_on", "stopped", "powering-on", off, "active/None", running, true}),
    [](const auto& row) { return row.param.name; });

TEST_F(RepairTest, AnInterruptedDeleteIsFinished) {
    for (const char* vm : {"active", "error", "building"}) {
        server(vm, "deleting", running);
        repair();
        EXPECT_TRUE(bench.bus.instance(server_uuid)["deleted"].as_bool()) << vm;
        EXPECT_FALSE(bench.guest_exists()) << vm;
        EXPECT_EQ(bench.diary.count("allocations.remove"), 1U) << vm;
    }
}

TEST_F(RepairTest, ADeleteThatLacksItsEndGetsIt) {
    server("deleted", nullptr, running);
    repair();
    EXPECT_TRUE(bench.bus.instance(server_uuid)["deleted"].as_bool());
    EXPECT_FALSE(bench.guest_exists());
}

TEST_F(RepairTest, ADeleteThatFailsAgainIsAnError) {
    server("active", "deleting", running);
    bench.host->fail_step("destroy", Error{Code::Internal, "the guest hangs", "", ""});
    repair();
    EXPECT_EQ(bench.states(), "error/None");
}

TEST_F(RepairTest, ServersOfOtherHostsAreLeftAlone) {
    server("building", "spawning", none);
    bench.bus.change(server_uuid, "host", "c2");
    repair();
    EXPECT_EQ(bench.states(), "building/spawning");
}

TEST_F(RepairTest, GuestsGetTheirInterfaces) {
    auto record = server_in("active", nullptr);
    bench.make_guest(record);
    ASSERT_TRUE(bench.host->destroy(InstanceUuid(server_uuid),
                                    hypervisor::DestroyOptions(hypervisor::Disks::Remove)));
    auto spec = guest_spec(
        record, {tests::root_disk()["nova_object.data"]}, Json::array(), bench.options.guest);
    ASSERT_TRUE(bench.host->spawn(*spec, {})); // without interfaces
    record.member("info_cache")
        .member("nova_object.data")
        .set("network_info", tests::one_port(true).dump());
    bench.bus.put_instance(record);
    repair();
    EXPECT_EQ(bench.host->plugged(InstanceUuid(server_uuid)),
              std::vector<std::string>{tests::port_uuid});
}

TEST_F(RepairTest, PortsThatAreNotBoundAreBoundBeforeTheyArePlugged) {
    for (const char* type : {"binding_failed", "unbound"}) {
        auto record = server_in("active", nullptr);
        auto cached = tests::one_port(true);
        cached.elements().front().set("type", type);
        record.member("info_cache").member("nova_object.data").set("network_info", cached.dump());
        bench.make_guest(record);
        bench.diary.clear();
        repair();
        EXPECT_THAT(bench.diary.of("networks."),
                    testing::ElementsAre("networks.bind_to_host " + server_uuid));
        EXPECT_EQ(bench.states(), "active/None");
        bench.networks.refresh_error = Error{Code::Unavailable, "Neutron is away", "", ""};
        repair();
        EXPECT_EQ(bench.states(), "active/None") << "what the cache says is tried";
        bench.networks.refresh_error.reset();
    }
}

TEST_F(RepairTest, AGuestThatCannotBePluggedIsAnError) {
    server("active", nullptr, running);
    bench.host->fail_step(
        "plug", Error{Code::Internal, "no bridge br-int", "VirtualInterfacePlugException", ""});
    repair();
    EXPECT_EQ(bench.states(), "error/None");
}

TEST_F(RepairTest, GuestsAreStartedAfterABootOfTheHostWhenConfigured) {
    bench.options.resume_guests_state_on_host_boot = true;
    bench.restart();
    server("active", nullptr, running);
    ASSERT_TRUE(bench.host->power_off(InstanceUuid(server_uuid), {}));
    repair();
    EXPECT_EQ(bench.states(), "active/None");
    EXPECT_EQ(bench.guest_state(), running);
}

TEST_F(RepairTest, GuestsStayDownAfterABootOfTheHostOtherwise) {
    server("active", nullptr, running);
    ASSERT_TRUE(bench.host->power_off(InstanceUuid(server_uuid), {}));
    repair();
    EXPECT_EQ(bench.guest_state(), off);
}

TEST_F(RepairTest, AServerThatAnEntryTakesCareOfIsLeftToIt) {
    server("stopped", "powering-on", off);
    ASSERT_TRUE(bench.router->accept(bench.request("start_instance", bench.arguments())));
    bench.restart();
    ASSERT_TRUE(bench.router->recover());
    repair();
    EXPECT_EQ(bench.states(), "active/None");
    EXPECT_THAT(bench.bus.faults(), IsEmpty());
    EXPECT_EQ(bench.diary.count("InstanceActionEvent.event_start"), 1U);
}

TEST_F(RepairTest, AServerThatBecomesActiveMeanwhileIsNotPutIntoError) {
    server("building", "spawning", running);
    // The list says "building"; before our turn the build of a journal entry ends well.
    bench.bus.before = [&](const std::string& call) {
        if (!call.starts_with("Instance.get_by_uuid"))
            return;
        bench.bus.change(server_uuid, "vm_state", "active");
        bench.bus.change(server_uuid, "task_state", nullptr);
    };
    repair();
    bench.bus.before = nullptr;
    EXPECT_EQ(bench.states(), "active/None");
}

TEST_F(RepairTest, NothingIsDecidedWhenTheRecordCannotBeRead) {
    server("building", "spawning", running);
    bench.bus.lose("Instance.get_by_uuid");
    repair();
    EXPECT_EQ(bench.states(), "building/spawning");
}

} // namespace
} // namespace novalet::tasks
