// What is swept, and what is kept.
#include "agent/core/file.hpp"
#include "agent/tasks/upkeep/upkeep.hpp"
#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

#include <fstream>
#include <latch>

namespace novalet::tasks {
namespace {

using hypervisor::Leftover;
using hypervisor::PowerState;
using testing::ElementsAre;
using testing::IsEmpty;
using tests::host_name;
using tests::server_in;
using tests::server_uuid;

using Kind = Leftover::Kind;
const std::string question = "call c2 check_instance_shared_storage";
constexpr Seconds young{3599};
constexpr Seconds old{3600};

class LeftoversTest : public tests::TaskTest {
  protected:
    LeftoversTest() {
        bench.options.instances_path = bench.folder / "instances";
        bench.restart();
        std::filesystem::create_directories(bench.options.instances_path / server_uuid);
        options.storage_users = [this]() -> Result<std::vector<std::string>> { return users; };
    }
    static Json migration(const char* status) {
        return Json::object()
            .set("id", 7)
            .set("instance_uuid", server_uuid)
            .set("status", status)
            .set("source_compute", "c2")
            .set("source_node", "c2")
            .set("dest_compute", host_name)
            .set("dest_node", host_name);
    }
    void folder(Seconds age, bool claimed = false) {
        bench.host->leave_behind(
            {Kind::Folder, InstanceUuid(server_uuid), "/i/" + server_uuid, age, false, claimed});
    }
    void device(Seconds age = old) {
        bench.host->leave_behind({Kind::Device, {}, "tapaabbccdd-00", age});
    }
    /// A domain that was defined so long ago.
    void domain(const Json& record, PowerState state, Seconds age = old) {
        bench.make_guest(record);
        if (state == PowerState::Shutdown) {
            ASSERT_TRUE(bench.host->power_off(InstanceUuid(server_uuid), {}));
        }
        bench.stop();
        const auto path = bench.folder / "guests" / (server_uuid + ".json");
        auto guest = Json::parse(*read_file(path));
        ASSERT_TRUE(guest);
        guest->set("defined_at", (*guest)["defined_at"].as_int() - age.count() - 1);
        std::ofstream(path) << guest->dump();
        bench.start();
    }
    static Json server_of(const std::string& host, const char* vm_state = "active") {
        auto record = server_in(vm_state, nullptr);
        record.set("host", host.empty() ? Json() : Json(host));
        return record;
    }
    static Json deleted_server_of(const std::string& host) {
        return server_of(host, "deleted")
            .set("deleted", true)
            .set("deleted_at", "2026-01-01T00:00:00Z");
    }
    void turn() {
        bench.diary.clear();
        Upkeep upkeep(*bench.services, options);
        upkeep.sweep_leftovers();
        ASSERT_TRUE(bench.settle());
    }
    [[nodiscard]] std::size_t left() {
        const auto found = bench.host->leftovers();
        return found ? found->size() : 99;
    }
    std::vector<std::string> users{host_name};
    UpkeepOptions options;
};

enum class Record { None, Ours, Elsewhere, NoHost, Building, InTask, Deleted, DeletedElsewhere };

struct Row {
    const char* name;
    Kind kind;
    Record record;
    Seconds age;
    bool running; ///< domain; folder: the other host sees it
    bool goes;
};

class LeftoversRowTest : public LeftoversTest, public ::testing::WithParamInterface<Row> {
  protected:
    static Json record(Record which) {
        switch (which) {
        case Record::None:
        case Record::Ours:
            return server_of(host_name);
        case Record::Elsewhere:
            return server_of("c2");
        case Record::NoHost:
            return server_of("", "error");
        case Record::Building:
            return server_of("", "building");
        case Record::InTask:
            return server_of("c2").set("task_state", "migrating");
        case Record::Deleted:
            return deleted_server_of(host_name);
        case Record::DeletedElsewhere:
            return deleted_server_of("c2");
        }
        return {};
    }
};

TEST_P(LeftoversRowTest, FollowsTheTable) {
    const auto& row = GetParam();
    options.running_deleted_action = "log";
    if (row.kind == Kind::Folder) {
        bench.bus.put_instance(record(row.record));
        bench.bus.answer(question, row.running);
        folder(row.age);
    } else {
        domain(
            record(row.record), row.running ? PowerState::Running : PowerState::Shutdown, row.age);
    }
    if (row.record == Record::None)
        bench.bus.remove_instance(server_uuid);
    turn();
    EXPECT_EQ(left(), row.goes ? 0U : 1U);
}

INSTANTIATE_TEST_SUITE_P(
    Folders,
    LeftoversRowTest,
    ::testing::Values(
        Row{"of_nobody", Kind::Folder, Record::None, old, false, true},
        Row{"of_nobody_yet", Kind::Folder, Record::None, young, false, false},
        Row{"ours", Kind::Folder, Record::Ours, old, false, false},
        Row{"elsewhere", Kind::Folder, Record::Elsewhere, old, false, true},
        Row{"elsewhere_young", Kind::Folder, Record::Elsewhere, young, false, false},
        Row{"elsewhere_shared", Kind::Folder, Record::Elsewhere, old, true, false},
        Row{"failed_build", Kind::Folder, Record::NoHost, old, false, true},
        Row{"failed_just_now", Kind::Folder, Record::NoHost, young, false, false},
        Row{"building", Kind::Folder, Record::Building, old, false, false},
        Row{"in_task", Kind::Folder, Record::InTask, old, false, false},
        Row{"deleted", Kind::Folder, Record::Deleted, young, false, true},
        Row{"deleted_there", Kind::Folder, Record::DeletedElsewhere, young, true, true}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Domains,
    LeftoversRowTest,
    ::testing::Values(
        Row{"of_nobody", Kind::Domain, Record::None, old, false, true},
        Row{"of_nobody_runs", Kind::Domain, Record::None, old, true, false},
        Row{"of_nobody_yet", Kind::Domain, Record::None, Seconds(0), false, false},
        Row{"ours", Kind::Domain, Record::Ours, old, false, false},
        Row{"elsewhere", Kind::Domain, Record::Elsewhere, old, false, true},
        Row{"elsewhere_runs", Kind::Domain, Record::Elsewhere, old, true, false},
        Row{"failed_build", Kind::Domain, Record::NoHost, old, false, true},
        Row{"building", Kind::Domain, Record::Building, old, false, false},
        Row{"in_task", Kind::Domain, Record::InTask, old, false, false},
        Row{"deleted_here", Kind::Domain, Record::Deleted, old, false, false}, // running_deleted
        Row{"deleted_there", Kind::Domain, Record::DeletedElsewhere, Seconds(0), false, true},
        Row{"deleted_there_runs", Kind::Domain, Record::DeletedElsewhere, old, true, false}),
    [](const auto& row) { return row.param.name; });

TEST_F(LeftoversTest, ADeletedServersGuestGoesWhenTheActionIsToReap) {
    domain(deleted_server_of("c2"), PowerState::Running);
    turn();
    EXPECT_EQ(left(), 0U);
}

TEST_F(LeftoversTest, AHostWithoutLeftoversAsksNobody) {
    bench.make_guest(server_of(host_name));
    bench.resources.claimed = {server_uuid};
    device(young);
    turn();
    EXPECT_THAT(bench.diary.lines(), IsEmpty());
    EXPECT_EQ(left(), 2U);
}

TEST_F(LeftoversTest, WhatIsBeingBuiltIsKept) {
    folder(old);
    bench.resources.claimed = {server_uuid};
    turn();
    EXPECT_EQ(left(), 1U);
    bench.resources.claimed.clear();
    std::latch done(1);
    bench.queues->post(server_uuid, [&](const std::stop_token&) { done.wait(); });
    Upkeep(*bench.services, options).sweep_leftovers();
    done.count_down();
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(left(), 1U);
    bench.bus.put_instance(server_in("deleted", nullptr));
    ASSERT_TRUE(bench.router->accept(bench.request("stop_instance", bench.arguments())));
    bench.bus.remove_instance(server_uuid);
    turn();
    EXPECT_EQ(left(), 1U) << "a journal entry is open";
}

TEST_F(LeftoversTest, AServerOnItsWayHereKeepsItsFolderAndDevices) {
    bench.bus.put_instance(server_of("c2"));
    bench.bus.answer(question, false);
    folder(old);
    device();
    bench.bus.put_migration(migration("preparing"));
    turn();
    EXPECT_EQ(left(), 2U);
    bench.bus.put_migration(migration("failed"));
    turn();
    EXPECT_EQ(left(), 0U);
}

TEST_F(LeftoversTest, AFolderOnStorageThatOthersUseStaysUnlessThisHostClaimedIt) {
    users = {host_name, "c3"};
    folder(old);
    turn();
    EXPECT_EQ(left(), 1U) << "it may be of a server that another cell has";
    options.storage_users = nullptr;
    turn();
    EXPECT_EQ(left(), 1U) << "nothing is known";
    bench.host->leave_behind({Kind::Folder,
                              InstanceUuid("33333333-2222-4333-8444-555555555555"),
                              "/i/3",
                              old,
                              false,
                              true});
    turn();
    EXPECT_EQ(left(), 1U) << "a build of this host made it";
}

TEST_F(LeftoversTest, AHostThatSharesTheStorageIsAskedOnce) {
    const std::string other = "33333333-2222-4333-8444-555555555555";
    bench.bus.put_instance(server_of("c2"));
    bench.bus.put_instance(server_of("c2").set("uuid", other));
    bench.bus.answer(question, true);
    folder(old);
    bench.host->leave_behind({Kind::Folder, InstanceUuid(other), "/i/" + other, old});
    turn();
    EXPECT_EQ(left(), 2U);
    EXPECT_EQ(bench.diary.count("call c2"), 1U);
    EXPECT_EQ(bench.diary.count("InstanceList.get_by_filters"), 1U);
}

TEST_F(LeftoversTest, AHostThatDoesNotAnswerMayUseTheFiles) {
    bench.bus.put_instance(server_of("c2"));
    folder(old);
    turn();
    EXPECT_EQ(left(), 1U);
}

TEST_F(LeftoversTest, NothingGoesWhenSomethingCannotBeRead) {
    folder(old);
    device();
    for (const char* call : {"MigrationList.get_in_progress_and_error",
                             "InstanceList.get_by_filters",
                             "InstanceList.get_by_host"}) {
        bench.bus.lose(call);
        turn();
        EXPECT_EQ(left(), 2U) << call;
    }
    bench.bus.lose("Instance.get_by_uuid");
    turn();
    EXPECT_EQ(left(), 1U) << "the device went, the folder is looked at again";
    bench.host->set_reachable(false, "a test");
    turn();
    bench.host->set_reachable(true, "");
    EXPECT_EQ(left(), 1U);
    turn();
    EXPECT_EQ(left(), 0U);
}

TEST_F(LeftoversTest, ARecordThatChangesBeforeTheRemovalCounts) {
    folder(old);
    bench.bus.before = [&](const std::string& call) {
        if (call.starts_with("Instance.get_by_uuid"))
            bench.bus.put_instance(server_of(host_name));
    };
    turn();
    bench.bus.before = nullptr;
    EXPECT_EQ(left(), 1U);
}

TEST_F(LeftoversTest, ADeviceOfAServersPortIsKept) {
    device();
    auto record = server_of(host_name); // its domain has vanished
    record.member("info_cache")
        .member("nova_object.data")
        .set("network_info", tests::one_port(true).dump());
    bench.bus.put_instance(record);
    turn();
    EXPECT_EQ(left(), 1U);
    bench.bus.change(server_uuid, "host", "c2");
    turn();
    EXPECT_EQ(left(), 0U);
}

TEST_F(LeftoversTest, WhatCannotBeRemovedIsTriedAgain) {
    folder(old);
    bench.host->fail_step("sweep", Error{Code::Internal, "the disk is read-only", "", ""});
    turn();
    EXPECT_EQ(left(), 1U);
    turn();
    EXPECT_EQ(left(), 0U);
}

} // namespace
} // namespace novalet::tasks
