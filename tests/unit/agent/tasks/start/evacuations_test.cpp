// The rule of agent/tasks/start/evacuations.hpp.
#include "agent/tasks/start/evacuations.hpp"

#include "agent/tasks/peers/shared_storage.hpp"
#include "agent/tasks/start/repair.hpp"
#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

#include <fstream>

namespace novalet::tasks {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using tests::host_name;
using tests::server_in;
using tests::server_uuid;

const std::string neighbour_uuid = "22222222-2222-4333-8444-555555555555";
const std::string question = "call c2 check_instance_shared_storage";

class EvacuationsTest : public tests::TaskTest {
  protected:
    EvacuationsTest() {
        bench.options.instances_path = bench.folder / "instances";
        bench.restart();
        evacuations.emplace(*bench.services);
    }
    /// Runs here, although `host` has it by now.
    void evacuated(const std::string& status, const std::string& host = "c2") {
        auto record = server_in("active", nullptr);
        bench.make_guest(record);
        record.set("host", host);
        bench.bus.put_instance(record);
        bench.bus.put_migration(migration(status));
        const auto folder = bench.options.instances_path / server_uuid;
        std::filesystem::create_directories(folder);
        std::ofstream(folder / "disk") << "data";
    }
    static Json migration(const std::string& status) {
        return Json::object()
            .set("id", 7)
            .set("instance_uuid", server_uuid)
            .set("migration_type", "evacuation")
            .set("status", status)
            .set("source_compute", host_name)
            .set("source_node", host_name)
            .set("dest_compute", status == "accepted" ? Json() : Json("c2"));
    }
    void storage_is_shared_says(bool seen) { bench.bus.answer(question, seen); }
    std::set<std::string> begin() {
        bench.diary.clear();
        const auto elsewhere = evacuations->begin();
        EXPECT_TRUE(elsewhere) << elsewhere.error().text;
        EXPECT_TRUE(bench.settle());
        return elsewhere.value_or(std::set<std::string>());
    }
    void carry_on() {
        bench.diary.clear();
        evacuations->carry_on();
        ASSERT_TRUE(bench.settle());
    }
    [[nodiscard]] std::string status() { return bench.bus.migration(7)["status"].as_string(); }
    [[nodiscard]] std::size_t files() {
        std::size_t count = 0;
        for ([[maybe_unused]] const auto& file :
             std::filesystem::directory_iterator(bench.options.instances_path / server_uuid))
            ++count;
        return count;
    }
    /// The simulated host keeps a guest whose disks it keeps, powered off.
    [[nodiscard]] bool guest_runs() {
        return bench.guest_state() == hypervisor::PowerState::Running;
    }
    std::optional<Evacuations> evacuations;
};

TEST_F(EvacuationsTest, TheGuestGoesThenTheAllocationThenTheMigrationIsCompleted) {
    for (const char* before : {"pre-migrating", "done"}) {
        evacuated(before);
        storage_is_shared_says(false);
        EXPECT_THAT(begin(), ElementsAre(server_uuid));
        EXPECT_FALSE(bench.guest_exists()) << before;
        EXPECT_EQ(status(), "completed") << before;
        EXPECT_THAT(
            bench.diary.among({"call", "resources", "allocations", "Migration.save"}),
            ElementsAre(question, "allocations.remove_ours " + server_uuid, "Migration.save"));
        EXPECT_EQ(files(), 1U) << "the question leaves nothing behind";
        EXPECT_EQ(bench.states(), "active/None") << "the record is the other host's";
    }
}

TEST_F(EvacuationsTest, AnEvacuationThatHasOnlyBegunCounts) {
    evacuated("accepted", host_name);
    EXPECT_THAT(begin(), ElementsAre(server_uuid));
    EXPECT_FALSE(guest_runs());
    EXPECT_EQ(bench.diary.count("call"), 0U) << "the record names no other host to be asked";
    EXPECT_EQ(status(), "completed");
}

TEST_F(EvacuationsTest, AServerThatCameBackKeepsItsOnlyGuest) {
    evacuated("done", host_name);
    EXPECT_THAT(begin(), IsEmpty());
    EXPECT_TRUE(bench.guest_exists());
    EXPECT_EQ(bench.diary.count("resources"), 0U);
    EXPECT_EQ(status(), "completed");
}

TEST_F(EvacuationsTest, OtherGuestsAndOtherMigrationsAreLeftAlone) {
    evacuated("done");
    bench.make_guest(server_in("active", nullptr, hypervisor::PowerState::Running, neighbour_uuid));
    auto other = migration("done");
    other.set("id", 8).set("instance_uuid", neighbour_uuid).set("migration_type", "resize");
    bench.bus.put_migration(other);
    other.set("id", 9).set("migration_type", "evacuation").set("source_compute", "c3");
    bench.bus.put_migration(other);
    other.set("id", 10).set("source_compute", host_name).set("status", "failed");
    bench.bus.put_migration(other);
    EXPECT_THAT(begin(), ElementsAre(server_uuid));
    EXPECT_TRUE(bench.guest_exists(neighbour_uuid));
    EXPECT_EQ(bench.bus.migration(8)["status"].as_string(), "done");
    EXPECT_EQ(bench.bus.migration(9)["status"].as_string(), "done");
    EXPECT_EQ(bench.bus.migration(10)["status"].as_string(), "failed");
}

TEST_F(EvacuationsTest, NothingIsTouchedWhenSomethingCannotBeRead) {
    evacuated("done");
    for (const char* call : {"MigrationList.get_by_filters", "InstanceList.get_by_filters"}) {
        bench.bus.lose(call);
        EXPECT_FALSE(evacuations->begin()) << call;
        ASSERT_TRUE(bench.settle());
        EXPECT_TRUE(bench.guest_exists()) << call;
        EXPECT_EQ(status(), "done") << call;
    }
    bench.host->set_reachable(false, "a test");
    EXPECT_FALSE(evacuations->begin());
    bench.host->set_reachable(true, "");
    EXPECT_TRUE(bench.guest_exists());
}

TEST_F(EvacuationsTest, WhatFailsIsDoneLaterAndOnlyThat) {
    evacuated("done");
    bench.host->fail_step("destroy", Error{Code::Internal, "the guest hangs", "", ""});
    EXPECT_THAT(begin(), ElementsAre(server_uuid));
    EXPECT_TRUE(guest_runs());
    EXPECT_EQ(bench.diary.count("resources"), 0U) << "its resources are in use as long as it runs";
    EXPECT_EQ(status(), "done");

    bench.allocations.error = Error{Code::Unavailable, "Placement is away", "", ""};
    carry_on();
    EXPECT_FALSE(guest_runs());
    EXPECT_EQ(status(), "done");

    bench.allocations.error.reset();
    bench.bus.lose("Migration.save");
    carry_on();
    EXPECT_EQ(status(), "done");
    bench.bus.put_migration(migration("done").set("id", 8)); // came later: not of this start
    carry_on();
    EXPECT_EQ(status(), "completed");
    EXPECT_EQ(bench.bus.migration(8)["status"].as_string(), "done");

    carry_on();
    EXPECT_THAT(bench.diary.lines(), IsEmpty()) << "nothing is left, nothing is asked";
}

TEST_F(EvacuationsTest, ADeletedServersGuestGoesToo) {
    evacuated("done");
    bench.bus.change(server_uuid, "deleted", true);
    EXPECT_THAT(begin(), ElementsAre(server_uuid));
    EXPECT_FALSE(bench.guest_exists());
    EXPECT_EQ(bench.diary.count("call"), 0U) << "nobody uses its disks";
    EXPECT_EQ(bench.diary.count("resources"), 0U);
    EXPECT_EQ(status(), "done");
    EXPECT_THAT(begin(), IsEmpty());
}

TEST_F(EvacuationsTest, AGuestWithoutARecordIsNobodysToDestroy) {
    evacuated("done");
    bench.bus.remove_instance(server_uuid);
    EXPECT_THAT(begin(), IsEmpty());
    EXPECT_TRUE(bench.guest_exists());
}

TEST_F(EvacuationsTest, AnotherNodesAllocationIsNotOurs) {
    evacuated("done");
    bench.bus.put_migration(migration("done").set("source_node", "renamed"));
    begin();
    EXPECT_FALSE(guest_runs());
    EXPECT_EQ(status(), "done");
}

TEST_F(EvacuationsTest, AnAcceptedRequestDoesNotStartTheGuestAgain) {
    evacuated("done");
    bench.bus.change(server_uuid, "task_state", "powering-on");
    ASSERT_TRUE(bench.router->accept(bench.request("start_instance", bench.arguments())));
    bench.restart();
    evacuations.emplace(*bench.services);
    const auto elsewhere = begin();
    ASSERT_TRUE(bench.router->recover(elsewhere));
    repair_instances(*bench.services, *bench.router, elsewhere);
    ASSERT_TRUE(bench.settle());
    EXPECT_FALSE(guest_runs());
    EXPECT_EQ(bench.open_entries(), 0U);
    EXPECT_EQ(bench.diary.count("InstanceActionEvent"), 0U);
    EXPECT_EQ(bench.states(), "active/powering-on") << "the record is the other host's";
}

TEST_F(EvacuationsTest, RepairLeavesAnEvacuatedServerAlone) {
    evacuated("accepted", host_name); // still ours by its record
    bench.bus.change(server_uuid, "vm_state", "building");
    const auto elsewhere = begin();
    repair_instances(*bench.services, *bench.router, elsewhere);
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "building/None");
}

using SharedStorageTest = EvacuationsTest;

TEST_F(SharedStorageTest, TheOtherHostIsAskedForAFileThatIsThere) {
    evacuated("done");
    std::string asked;
    bench.bus.before = [&](const std::string& call) {
        if (call == question)
            asked = std::to_string(files());
    };
    storage_is_shared_says(false);
    EXPECT_FALSE(storage_is_shared(bench.bus, bench.options, InstanceUuid(server_uuid), "c2"));
    EXPECT_EQ(asked, "2") << "the disk and the file";
    storage_is_shared_says(true);
    EXPECT_TRUE(storage_is_shared(bench.bus, bench.options, InstanceUuid(server_uuid), "c2"));
    bench.bus.before = nullptr;
}

TEST_F(SharedStorageTest, InDoubtItIsShared) {
    evacuated("done");
    const InstanceUuid uuid(server_uuid);
    storage_is_shared_says(false);
    EXPECT_TRUE(storage_is_shared(bench.bus, bench.options, uuid, host_name));
    EXPECT_TRUE(storage_is_shared(bench.bus, bench.options, uuid, ""));
    EXPECT_TRUE(storage_is_shared(bench.bus, bench.options, InstanceUuid(neighbour_uuid), "c2"));
    bench.bus.lose(question);
    EXPECT_TRUE(storage_is_shared(bench.bus, bench.options, uuid, "c2"));
    EXPECT_FALSE(storage_is_shared(bench.bus, bench.options, uuid, "c2"));
}

TEST_F(SharedStorageTest, AHostWithoutFilesSharesNone) {
    bench.options.instances_path.clear();
    bench.restart();
    EXPECT_FALSE(storage_is_shared(bench.bus, bench.options, InstanceUuid(server_uuid), "c2"));
}

TEST_F(SharedStorageTest, WeAnswerTheSameQuestion) {
    evacuated("done");
    const auto ask = [&](const std::string& file) {
        bench.send("check_instance_shared_storage",
                   Json::object().set("data", Json::object().set("filename", file)));
        const auto answer = bench.answers.take();
        return answer && *answer && (*answer)->as_bool();
    };
    const auto folder = bench.options.instances_path / server_uuid;
    EXPECT_TRUE(ask((folder / "disk").string()));
    EXPECT_FALSE(ask((folder / "disk.eph0").string()));
    EXPECT_FALSE(ask(""));
}

} // namespace
} // namespace novalet::tasks
