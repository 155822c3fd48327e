// Rows of nova.compute.manager.ComputeManager._init_instance (Zed, and 2025.1 where it differs).
#include "agent/tasks/start/repair.hpp"

#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

namespace novalet::tasks {
namespace {

using hypervisor::PowerState;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;
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
    std::vector<std::string> saves;  ///< states of the record, in order
    const char* operation = nullptr; ///< action event that begins and ends
};

class RepairRowTest : public RepairTest, public ::testing::WithParamInterface<Row> {
  protected:
    void follow(const Row& row) {
        server(row.vm_state, row.task_state, row.guest);
        repair();
        EXPECT_EQ(bench.states(), row.states);
        EXPECT_EQ(bench.guest_state(), row.guest_after);
        std::vector<std::string> saves;
        for (const auto& states : row.saves)
            saves.push_back("Instance.save " + states);
        EXPECT_EQ(bench.diary.of("Instance.save"), saves);
        std::vector<std::string> events;
        if (row.operation != nullptr)
            for (const char* what : {"event_start ", "event_finish_with_failure "})
                events.push_back(std::string("InstanceActionEvent.") + what + row.operation);
        EXPECT_EQ(bench.diary.of("InstanceActionEvent"), events);
        EXPECT_THAT(bench.bus.faults(), IsEmpty());
    }
};

TEST_P(RepairRowTest, FollowsTheTable) {
    follow(GetParam());
}

constexpr auto running = PowerState::Running;
constexpr auto paused = PowerState::Paused;
constexpr auto off = PowerState::Shutdown;
constexpr auto none = PowerState::NoState;

const auto name_of_row = [](const auto& row) { return row.param.name; };
using Saves = std::vector<std::string>;
const Saves nothing;
const Saves to_error{"error/"};
const Saves to_active{"active/"};
const Saves to_stopped{"stopped/"};
const char* const stop = "compute_stop_instance";
const char* const start = "compute_start_instance";
const char* const reboot = "compute_reboot_instance";
const Saves soft{"active/reboot_pending", "active/reboot_started", "active/"};
const Saves hard{"active/reboot_pending_hard", "active/reboot_started_hard", "active/"};
const Saves turned_hard{"active/reboot_pending_hard",
                        "active/reboot_pending_hard",
                        "active/reboot_started_hard",
                        "active/"};

INSTANTIATE_TEST_SUITE_P(
    AtRest,
    RepairRowTest,
    ::testing::Values(
        Row{"active", "active", nullptr, running, "active/None", running, nothing},
        Row{"stopped", "stopped", nullptr, off, "stopped/None", off, nothing},
        Row{"paused", "paused", nullptr, paused, "paused/None", paused, nothing},
        Row{"suspended", "suspended", nullptr, off, "suspended/None", off, nothing},
        Row{"rescued", "rescued", nullptr, running, "rescued/None", running, nothing},
        Row{"resized", "resized", nullptr, running, "resized/None", running, nothing},
        Row{"shelved", "shelved", nullptr, off, "shelved/None", off, nothing},
        Row{"vanished", "active", nullptr, none, "active/None", none, nothing},
        Row{"soft_deleted", "soft-delete", nullptr, off, "soft-delete/None", off, nothing},
        Row{"being_reclaimed",
            "soft-delete",
            "deleting",
            off,
            "soft-delete/deleting",
            off,
            nothing},
        Row{"error", "error", nullptr, off, "error/None", off, nothing},
        Row{"error_in_task", "error", "powering-on", off, "error/powering-on", off, nothing},
        Row{"error_reboot",
            "error",
            "reboot_pending_hard",
            off,
            "error/reboot_pending_hard",
            off,
            nothing}),
    name_of_row);

INSTANTIATE_TEST_SUITE_P(
    Builds,
    RepairRowTest,
    ::testing::Values(
        Row{"building", "building", nullptr, none, "error/None", none, to_error},
        Row{"scheduling", "building", "scheduling", none, "error/None", none, to_error},
        Row{"mapping", "active", "block_device_mapping", running, "error/None", running, to_error},
        Row{"networking", "building", "networking", none, "error/None", none, to_error},
        Row{"spawning", "building", "spawning", running, "error/None", running, to_error},
        Row{"unshelved", "shelved_offloaded", "spawning", none, "error/None", none, to_error},
        // BUILD comes before the delete in Nova's table.
        Row{"deleting", "building", "deleting", none, "error/None", none, to_error},
        Row{"rebuilding", "active", "rebuilding", running, "error/None", running, to_error},
        Row{"rebuild_bdm",
            "stopped",
            "rebuild_block_device_mapping",
            off,
            "error/None",
            off,
            to_error},
        Row{"rebuild_spawn",
            "active",
            "rebuild_spawning",
            running,
            "error/None",
            running,
            to_error},
        Row{"rescued", "rescued", "rebuilding", running, "rescued/rebuilding", running, nothing}),
    name_of_row);

INSTANTIATE_TEST_SUITE_P(
    Tasks,
    RepairRowTest,
    ::testing::Values(
        Row{"snapshot", "active", "image_snapshot", running, "active/None", running, to_active},
        Row{"snapshot0",
            "active",
            "image_snapshot_pending",
            running,
            "active/None",
            running,
            to_active},
        Row{"upload", "active", "image_uploading", running, "active/None", running, to_active},
        Row{"upload0", "stopped", "image_pending_upload", off, "stopped/None", off, to_stopped},
        Row{"backup", "active", "image_backup", running, "active/image_backup", running, nothing},
        Row{"resize_prep", "active", "resize_prep", running, "active/None", running, to_active},
        Row{"resize_finish",
            "active",
            "resize_finish",
            running,
            "active/resize_finish",
            running,
            nothing},
        Row{"soft_deleting",
            "active",
            "soft-deleting",
            running,
            "active/soft-deleting",
            running,
            nothing},
        Row{"suspending", "active", "suspending", running, "active/suspending", running, nothing},
        Row{"shelving", "active", "shelving", running, "active/shelving", running, nothing},
        Row{"rescuing", "active", "rescuing", running, "active/rescuing", running, nothing},
        Row{"pausing", "active", "pausing", running, "active/None", running, to_active},
        Row{"paused", "active", "pausing", paused, "active/pausing", paused, nothing},
        Row{"unpaused", "paused", "unpausing", running, "active/None", running, to_active},
        Row{"unpausing",
            "paused",
            "unpausing",
            paused,
            "active/None",
            running,
            to_active,
            "compute_unpause_instance"},
        Row{"powering_off",
            "active",
            "powering-off",
            running,
            "stopped/None",
            off,
            to_stopped,
            stop},
        Row{"powered_off", "active", "powering-off", off, "stopped/None", off, to_stopped, stop},
        Row{"powering_on", "stopped", "powering-on", off, "active/None", running, to_active, start},
        Row{"powered_on",
            "stopped",
            "powering-on",
            running,
            "active/None",
            running,
            to_active,
            start},
        Row{"shelved_on", "shelved", "powering-on", off, "active/None", running, to_active, start},
        Row{"vanished_on",
            "stopped",
            "powering-on",
            none,
            "active/None",
            running,
            to_active,
            start}),
    name_of_row);

/// ComputeManager._retry_reboot.
INSTANTIATE_TEST_SUITE_P(
    Reboots,
    RepairRowTest,
    ::testing::Values(
        Row{"pending", "active", "reboot_pending", running, "active/None", running, soft, reboot},
        Row{"pending_down",
            "active",
            "reboot_pending",
            off,
            "active/None",
            running,
            turned_hard,
            reboot},
        Row{"pending_hard",
            "active",
            "reboot_pending_hard",
            running,
            "active/None",
            running,
            hard,
            reboot},
        Row{"pending_hard_down",
            "active",
            "reboot_pending_hard",
            off,
            "active/None",
            running,
            hard,
            reboot},
        Row{"pending_hard_stopped",
            "stopped",
            "reboot_pending_hard",
            off,
            "active/None",
            running,
            {"stopped/reboot_pending_hard", "stopped/reboot_started_hard", "active/"},
            reboot},
        Row{"pending_of_rescued",
            "rescued",
            "reboot_pending",
            running,
            "rescued/reboot_pending",
            running,
            nothing},
        Row{"done", "active", "reboot_started", running, "active/None", running, to_active},
        Row{"hard_done",
            "stopped",
            "reboot_started_hard",
            running,
            "active/None",
            running,
            to_active},
        Row{"down", "active", "reboot_started", off, "active/None", running, turned_hard, reboot},
        Row{"gone", "active", "reboot_started_hard", none, "active/None", running, hard, reboot},
        Row{"frozen",
            "active",
            "reboot_started",
            paused,
            "active/None",
            running,
            turned_hard,
            reboot},
        // Its message may wait in the queue.
        Row{"asked", "active", "rebooting", running, "active/rebooting", running, nothing},
        Row{"asked_down", "active", "rebooting_hard", off, "active/rebooting_hard", off, nothing}),
    name_of_row);

class RepairRowSince2025Test : public RepairRowTest {};

TEST_P(RepairRowSince2025Test, FollowsTheTable) {
    bench.conductor.adopt(objects::release_by_name("epoxy").value());
    follow(GetParam());
}

INSTANTIATE_TEST_SUITE_P(
    Reboots,
    RepairRowSince2025Test,
    ::testing::Values(
        Row{"asked", "active", "rebooting", running, "active/None", running, to_active},
        Row{"asked_hard", "active", "rebooting_hard", running, "active/None", running, to_active},
        Row{"asked_down", "active", "rebooting", off, "active/None", running, turned_hard, reboot},
        Row{"asked_hard_down",
            "active",
            "rebooting_hard",
            off,
            "active/None",
            running,
            hard,
            reboot}),
    name_of_row);

TEST_F(RepairTest, AnInterruptedDeleteIsFinished) {
    for (const char* vm : {"active", "stopped", "error"}) {
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

TEST_F(RepairTest, ATaskIsKeptByAServerWhoseGuestCannotBePlugged) {
    server("active", "suspending", running);
    bench.host->fail_step(
        "plug", Error{Code::Internal, "no bridge br-int", "VirtualInterfacePlugException", ""});
    repair();
    EXPECT_EQ(bench.states(), "error/suspending");
}

TEST_F(RepairTest, APciDeviceThatIsGoneIsNoErrorOfTheServer) {
    server("active", "resize_migrating", running);
    bench.host->fail_step("plug",
                          Error{Code::NotFound, "no such device", "PciDeviceNotFoundById", ""});
    repair();
    EXPECT_EQ(bench.states(), "active/resize_migrating");
}

TEST_F(RepairTest, NothingIsDecidedAboutAGuestThatCannotBeLookedAt) {
    server("active", "reboot_started", running);
    bench.host->set_reachable(false, "a test");
    repair();
    bench.host->set_reachable(true, "");
    EXPECT_EQ(bench.states(), "active/reboot_started");
    EXPECT_EQ(bench.diary.count("Instance.save"), 0U);
}

/// What ran before the host went down, in these states.
class ResumeTest : public RepairTest {
  protected:
    void had_been_running(const char* vm_state, PowerState guest, Json task = {}) {
        bench.options.resume_guests_state_on_host_boot = true;
        bench.restart();
        bench.make_guest(server_in(vm_state, std::move(task), PowerState::Running));
        bring_guest_to(guest);
        bench.diary.clear();
    }
};

TEST_F(ResumeTest, GuestsAreStartedAfterABootOfTheHost) {
    for (const char* vm : {"active", "rescued", "resized"})
        for (const auto guest : {off, none}) {
            had_been_running(vm, guest);
            repair();
            EXPECT_EQ(bench.states(), std::string(vm) + "/None");
            EXPECT_EQ(bench.guest_state(), running);
            EXPECT_THAT(bench.diary.among({"Instance.save", "InstanceAction"}), IsEmpty())
                << "nobody asked for it, so that nobody is told";
            ASSERT_TRUE(bench.host->destroy(InstanceUuid(server_uuid),
                                            hypervisor::DestroyOptions(hypervisor::Disks::Remove)));
        }
}

TEST_F(ResumeTest, AGuestThatIsFrozenOrWasDownStaysSo) {
    had_been_running("active", paused);
    repair();
    EXPECT_EQ(bench.guest_state(), paused);
    bring_guest_to(off);
    bench.bus.change(server_uuid, "power_state", static_cast<int>(off));
    repair();
    EXPECT_EQ(bench.guest_state(), off);
    EXPECT_EQ(bench.diary.count("Instance.save"), 0U);
}

TEST_F(ResumeTest, AResetTaskDoesNotHideThatAGuestRan) {
    had_been_running("active", off, "image_uploading");
    repair();
    EXPECT_EQ(bench.states(), "active/None");
    EXPECT_EQ(bench.guest_state(), running);
}

TEST_F(ResumeTest, AGuestThatDoesNotStartIsAnError) {
    had_been_running("active", off);
    bench.host->fail_step("start", Error{Code::Internal, "no memory left", "", ""});
    repair();
    EXPECT_EQ(bench.states(), "error/None");
    EXPECT_THAT(bench.bus.faults(), IsEmpty());
}

TEST_F(RepairTest, GuestsStayDownAfterABootOfTheHostOtherwise) {
    server("active", nullptr, running);
    ASSERT_TRUE(bench.host->power_off(InstanceUuid(server_uuid), {}));
    repair();
    EXPECT_EQ(bench.guest_state(), off);
}

/// A resize that was cut off on its source side.
class InterruptedResizeTest : public RepairTest {
  protected:
    InterruptedResizeTest() {
        bench.options.instances_path = bench.folder / "instances";
        bench.restart();
    }
    void
    resizing(PowerState guest, const char* vm_state = "active", const char* before = "active") {
        auto record = server_in(vm_state, "resize_migrating");
        record.member("system_metadata").set("old_vm_state", before);
        bench.make_guest(record);
        bring_guest_to(guest);
        bench.diary.clear();
    }
    void put(const std::string& folder, const std::string& text) {
        std::filesystem::create_directories(bench.options.instances_path / folder);
        std::ofstream(bench.options.instances_path / folder / "disk") << text;
    }
    [[nodiscard]] std::string disk() {
        std::ifstream in(bench.options.instances_path / server_uuid / "disk");
        return {std::istreambuf_iterator<char>(in), {}};
    }
};

TEST_F(InterruptedResizeTest, TheServerGoesOnHere) {
    for (const char* vm : {"active", "error"}) {
        resizing(off, vm);
        put(server_uuid + "_resize", "data");
        put(server_uuid, "a copy that was cut off");
        repair();
        EXPECT_EQ(bench.states(), std::string(vm) + "/None");
        EXPECT_EQ(bench.guest_state(), running) << vm;
        EXPECT_EQ(disk(), "data") << vm;
        EXPECT_FALSE(
            std::filesystem::exists(bench.options.instances_path / (server_uuid + "_resize")));
        EXPECT_EQ(bench.diary.count("InstanceActionEvent"), 0U);
        bring_guest_to(none);
    }
}

TEST_F(InterruptedResizeTest, FilesThatWereNotRenamedYetAreKept) {
    resizing(off);
    put(server_uuid, "data");
    repair();
    EXPECT_EQ(disk(), "data");
    EXPECT_EQ(bench.guest_state(), running);
}

TEST_F(InterruptedResizeTest, AStoppedServerStaysOff) {
    resizing(off, "stopped", "stopped");
    put(server_uuid + "_resize", "data");
    repair();
    EXPECT_EQ(bench.states(), "stopped/None");
    EXPECT_EQ(bench.guest_state(), off);
    EXPECT_EQ(disk(), "data");
}

TEST_F(InterruptedResizeTest, AGuestThatRunsIsNotTouched) {
    resizing(running);
    put(server_uuid, "data");
    put(server_uuid + "_resize", "of another time");
    repair();
    EXPECT_EQ(bench.states(), "active/None");
    EXPECT_EQ(bench.guest_state(), running);
    EXPECT_EQ(disk(), "data") << "the guest writes there";
}

TEST_F(InterruptedResizeTest, TheTaskIsResetAlsoWhenTheGuestDoesNotStart) {
    resizing(off);
    bench.host->fail_step("start", Error{Code::Internal, "no memory left", "", ""});
    repair();
    EXPECT_EQ(bench.states(), "active/None");
}

/// ComputeManager._reset_live_migration.
class InterruptedLiveMigrationTest : public RepairTest {
  protected:
    void migrating(PowerState guest) {
        server("active", "migrating", guest);
        bench.bus.put_migration(migration(7, server_uuid, "running"));
        bench.bus.put_migration(migration(8, server_uuid, "completed"));
        bench.bus.put_migration(migration(9, "another", "running"));
    }
    static Json migration(int id, const std::string& server, const char* status) {
        return Json::object()
            .set("id", id)
            .set("instance_uuid", server)
            .set("migration_type", "live-migration")
            .set("status", status)
            .set("source_compute", tests::host_name)
            .set("dest_compute", "c2");
    }
    [[nodiscard]] std::string status(int id) {
        return bench.bus.migration(id)["status"].as_string();
    }
};

TEST_F(InterruptedLiveMigrationTest, ItIsAbortedAndTheServerIsFree) {
    migrating(running);
    repair();
    EXPECT_EQ(bench.states(), "active/None");
    EXPECT_EQ(bench.guest_state(), running);
    EXPECT_EQ(status(7), "error");
    EXPECT_EQ(status(8), "completed");
    EXPECT_EQ(status(9), "running");
    EXPECT_THAT(bench.diary.of("InstanceActionEvent"),
                Contains("InstanceActionEvent.event_start compute_live_migration_abort"));
}

TEST_F(InterruptedLiveMigrationTest, TheServerIsFreeAlsoWhenNoMigrationIsFound) {
    migrating(running);
    bench.bus.lose("MigrationList.get_by_filters");
    repair();
    EXPECT_EQ(bench.states(), "active/None");
    EXPECT_EQ(status(7), "running");
}

TEST_F(InterruptedLiveMigrationTest, AGuestThatMayRunElsewhereIsNotStarted) {
    bench.options.resume_guests_state_on_host_boot = true;
    bench.restart();
    auto record = server_in("active", "migrating", running);
    bench.make_guest(record);
    bring_guest_to(none);
    repair();
    EXPECT_EQ(bench.states(), "active/None");
    EXPECT_EQ(bench.guest_state(), none);
}

TEST_F(InterruptedLiveMigrationTest, AServerThatAnotherTaskHasByNowKeepsIt) {
    migrating(running);
    bench.bus.before = [&](const std::string& call) {
        if (call.starts_with("Instance.save"))
            bench.bus.change(server_uuid, "task_state", "deleting");
    };
    repair();
    bench.bus.before = nullptr;
    EXPECT_EQ(bench.states(), "active/deleting");
}

TEST_F(RepairTest, AServerWithAnOpenEntryIsLeftAloneAlsoWhenItsQueueIsIdle) {
    server("active", "reboot_started", off);
    ASSERT_TRUE(bench.router->accept(bench.request("stop_instance", bench.arguments())));
    repair();
    EXPECT_EQ(bench.states(), "active/reboot_started");
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
