// Moves in the tracker: what is claimed and saved, and that another process finds the same books.
#include "agent/tasks/books/migration_context.hpp"
#include "tests/unit/agent/tasks/books/tracker_bench.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using tests::FakeConductor;
using tests::host_name;
using tests::nova_object;
using tests::server_uuid;

const std::string move_uuid = "55555555-0000-4000-8000-000000000001";

Json flavor(int id, int vcpus) {
    return nova_object(
        "Flavor",
        "1.2",
        Json::object()
            .set("id", id)
            .set("flavorid", std::to_string(id))
            .set("name", "f")
            .set("vcpus", vcpus)
            .set("memory_mb", vcpus * 100)
            .set("root_gb", 1)
            .set("ephemeral_gb", 0)
            .set("swap", 0)
            .set("extra_specs",
                 Json::object().set("hw:numa_nodes", "1").set("hw:cpu_policy", "dedicated")));
}

struct NoPlacement final : clients::HttpClient {
    Result<clients::HttpResponse> send(const clients::HttpRequest& /*request*/) override {
        return fail(Code::Unavailable, "no REST service answers in this test");
    }
};

/// A host of four CPUs; a server with one pinned CPU (flavor 1) that is to have two (flavor 2).
class MovesTest : public tests::TrackerTest {
  protected:
    MovesTest() : TrackerTest(nothing()) {}
    static clients::HttpClient& nothing() {
        static NoPlacement http;
        return http;
    }
    void put_server(const std::string& on, const char* task_state = "resize_prep") {
        Json record = tests::new_server();
        record.set("vm_state", "active")
            .set("task_state", task_state)
            .set("instance_type_id", 1)
            .set("flavor", flavor(1, 1))
            .set("old_flavor", nullptr)
            .set("new_flavor", flavor(2, 2))
            .set("migration_context", nullptr);
        bench.bus.put_instance(record);
        if (on == host_name) {
            auto instance = server(server_uuid);
            ASSERT_TRUE(tracker->claim(bench.context, instance, Json::object()));
            tracker->update(instance);
        } else {
            bench.bus.change(server_uuid, "host", on);
            bench.bus.change(server_uuid, "node", on);
        }
    }
    void put_migration(const std::string& from, const char* type = "resize") {
        bench.bus.put_migration(Json::object()
                                    .set("id", 7)
                                    .set("uuid", move_uuid)
                                    .set("instance_uuid", server_uuid)
                                    .set("migration_type", type)
                                    .set("status", "accepted")
                                    .set("source_compute", from)
                                    .set("source_node", from == host_name ? "node1" : from)
                                    .set("dest_compute", nullptr)
                                    .set("dest_node", nullptr)
                                    .set("old_instance_type_id", 1)
                                    .set("new_instance_type_id", 2)
                                    .set("created_at", "2026-11-21T04:00:00Z")
                                    .set("updated_at", nullptr));
    }
    /// The server is to leave us: the other host has claimed, and says so in both records.
    void put_migration_to_c2() {
        put_migration(host_name);
        change_migration("dest_compute", "c2");
        change_migration("dest_node", "c2");
        bench.bus.change(
            server_uuid,
            "migration_context",
            migration_context(bench.conductor, server(server_uuid), 7, {}, Json()).to_primitive());
    }
    objects::Object migration() {
        return objects::Object::from_primitive(
            nova_object("Migration", "1.7", bench.bus.migration(7)));
    }
    void change_migration(const char* field, const Json& value) {
        Json record = bench.bus.migration(7);
        bench.bus.put_migration(record.set(field, value));
    }
    Result<void> move_claim(int new_vcpus = 2) {
        auto instance = server(server_uuid);
        auto move = migration();
        return tracker->move_claim(
            bench.context, instance, move, {flavor(2, new_vcpus), {}, Json::object()});
    }
    /// finish_resize: the record gets flavor and topology of the new side.
    void finish(const std::string& on) {
        auto instance = server(server_uuid);
        apply_migration_context(instance);
        instance.set("vm_state", "resized");
        instance.set("task_state", nullptr);
        instance.set("old_flavor", flavor(1, 1));
        instance.set("flavor", flavor(2, 2));
        instance.set("instance_type_id", 2);
        instance.set("host", on);
        instance.set("node", on == host_name ? "node1" : on);
        ASSERT_TRUE(save_instance({bench.conductor, host_name}, bench.context, instance));
    }
    /// vCPUs, memory and pinned CPUs as the host reports them.
    std::string books() {
        const Json record = node();
        const auto topology = Json::parse(record["numa_topology"].as_string());
        const Json cell =
            topology ? objects::data_of(objects::data_of(*topology)["cells"].at(0)) : Json();
        return record["vcpus_used"].dump() + " CPUs, " + record["memory_mb_used"].dump() +
               " MiB, " + record["running_vms"].dump() + " servers, pinned " +
               cell["pinned_cpus"].dump();
    }
    /// Now, after an audit, and in another process.
    void expect_books(const std::string& expected) {
        ASSERT_TRUE(bench.settle());
        EXPECT_EQ(bench.bus.written("ComputeNode")["vcpus_used"].dump(),
                  expected.substr(0, expected.find(' ')))
            << "before an audit";
        EXPECT_EQ(books(), expected) << "after an audit";
        restart();
        EXPECT_EQ(books(), expected) << "another process";
    }
};

TEST_F(MovesTest, AClaimOfAMoveIsSavedAsNovaDoesIt) {
    start();
    put_server("c2");
    put_migration("c2");
    ASSERT_TRUE(move_claim());
    const auto record = bench.bus.migration(7);
    EXPECT_EQ(record["dest_compute"].as_string(), host_name);
    EXPECT_EQ(record["dest_node"].as_string(), "node1");
    EXPECT_EQ(record["dest_host"].as_string(), "192.0.2.1");
    EXPECT_EQ(record["status"].as_string(), "pre-migrating");
    EXPECT_FALSE(record.contains("dest_compute_id")) << "zed";
    const auto saved = bench.bus.instance(server_uuid);
    EXPECT_EQ(saved["host"].as_string(), "c2") << "it is not here yet";
    const auto& context = objects::data_of(saved["migration_context"]);
    EXPECT_EQ(context["migration_id"].as_int(), 7);
    EXPECT_FALSE(context["new_numa_topology"].is_null());
    EXPECT_EQ(bench.diary.among({"Migration.save", "Instance.save"}),
              (std::vector<std::string>{"Migration.save", "Instance.save active/resize_prep"}));
}

TEST_F(MovesTest, ALaterReleaseNamesTheNodeToo_AndALiveMigrationKeepsItsStatus) {
    bench.conductor.adopt(objects::release_by_name("epoxy").value());
    start();
    put_server("c2", "migrating");
    put_migration("c2", "live-migration");
    ASSERT_TRUE(move_claim(1));
    EXPECT_EQ(bench.bus.migration(7)["dest_compute_id"].as_int(), 1);
    EXPECT_EQ(bench.bus.migration(7)["status"].as_string(), "accepted");
}

TEST_F(MovesTest, AServerComes_AndTheMoveIsConfirmed) {
    start();
    put_server("c2");
    put_migration("c2");
    ASSERT_TRUE(move_claim());
    expect_books("2 CPUs, 712 MiB, 0 servers, pinned [0,1]");
    bench.bus.change(server_uuid, "host", host_name);
    bench.bus.change(server_uuid, "node", "node1");
    bench.bus.change(server_uuid, "task_state", "resize_migrated");
    expect_books("2 CPUs, 712 MiB, 1 servers, pinned [0,1]");
    finish(host_name);
    tracker->arrive(server(server_uuid), migration());
    expect_books("2 CPUs, 712 MiB, 1 servers, pinned [0,1]");
    change_migration("status", "confirmed");
    tracker->settle(server(server_uuid), migration());
    expect_books("2 CPUs, 712 MiB, 1 servers, pinned [0,1]");
}

TEST_F(MovesTest, AServerComes_AndTheMoveIsReverted) {
    start();
    put_server("c2");
    put_migration("c2");
    ASSERT_TRUE(move_claim());
    finish(host_name);
    tracker->arrive(server(server_uuid), migration());
    restart();
    change_migration("status", "reverted");
    bench.bus.change(server_uuid, "host", "c2");
    bench.bus.change(server_uuid, "task_state", "resize_reverting");
    tracker->revert(server(server_uuid), migration());
    expect_books("0 CPUs, 512 MiB, 0 servers, pinned []");
}

TEST_F(MovesTest, AServerLeaves_AndTheMoveIsConfirmed) {
    start();
    put_server(host_name);
    put_migration_to_c2();
    expect_books("1 CPUs, 612 MiB, 1 servers, pinned [0]");
    finish("c2");
    tracker->depart(server(server_uuid), migration());
    expect_books("1 CPUs, 612 MiB, 0 servers, pinned [0]");
    change_migration("status", "confirmed");
    bench.bus.change(server_uuid, "old_flavor", nullptr);
    tracker->settle(server(server_uuid), migration());
    expect_books("0 CPUs, 512 MiB, 0 servers, pinned []");
}

TEST_F(MovesTest, AServerLeaves_AndComesBack) {
    start();
    put_server(host_name);
    put_migration_to_c2();
    const Json before = bench.bus.instance(server_uuid);
    finish("c2");
    tracker->depart(server(server_uuid), migration());
    // The destination gave up its side and ended the migration; we have not heard of it yet.
    change_migration("status", "reverted");
    bench.bus.change(server_uuid, "task_state", "resize_reverting");
    EXPECT_EQ(books(), "1 CPUs, 612 MiB, 0 servers, pinned [0]");
    bench.bus.put_instance(before);
    bench.bus.change(server_uuid, "task_state", "resize_reverting");
    tracker->revert(server(server_uuid), migration());
    expect_books("1 CPUs, 612 MiB, 1 servers, pinned [0]");
}

TEST_F(MovesTest, AResizeOnThisHostHoldsBothSides) {
    for (const bool confirmed : {true, false}) {
        if (!confirmed)
            restart();
        else
            start();
        put_server(host_name);
        const Json before = bench.bus.instance(server_uuid);
        put_migration(host_name);
        ASSERT_TRUE(move_claim());
        expect_books("3 CPUs, 812 MiB, 1 servers, pinned [0,1,2]");
        finish(host_name);
        tracker->arrive(server(server_uuid), migration());
        expect_books("3 CPUs, 812 MiB, 1 servers, pinned [0,1,2]");
        change_migration("status", confirmed ? "confirmed" : "reverted");
        if (confirmed) {
            tracker->settle(server(server_uuid), migration());
            expect_books("2 CPUs, 712 MiB, 1 servers, pinned [1,2]");
        } else {
            bench.bus.put_instance(before);
            tracker->revert(server(server_uuid), migration());
            expect_books("1 CPUs, 612 MiB, 1 servers, pinned [0]");
        }
        auto instance = server(server_uuid);
        tracker->drop(bench.context, instance, true);
        bench.bus.remove_instance(server_uuid);
    }
}

TEST_F(MovesTest, WhatDoesNotFitBesideTheOldSideIsRefused) {
    start();
    put_server(host_name);
    put_migration(host_name);
    const auto refused = move_claim(4);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "ComputeResourcesUnavailable");
    EXPECT_THAT(refused.error().text, testing::HasSubstr("needs 4 dedicated CPUs, 3 of 4 free"));
    EXPECT_TRUE(bench.bus.instance(server_uuid)["migration_context"].is_null());
    bench.bus.change(server_uuid, "task_state", nullptr); // no other host is left
    EXPECT_EQ(books(), "1 CPUs, 612 MiB, 1 servers, pinned [0]");
}

TEST_F(MovesTest, AClaimThatCannotBeSavedIsNone_AndASecondTryReplacesTheFirst) {
    start();
    put_server("c2");
    put_migration("c2");
    bench.bus.fail("Migration.save", FakeConductor::remote("DBError"));
    EXPECT_FALSE(move_claim());
    bench.bus.fail("Instance.save", FakeConductor::remote("DBError"));
    EXPECT_FALSE(move_claim());
    EXPECT_EQ(tracker->instances(), std::vector<std::string>());
    ASSERT_TRUE(move_claim(3));
    ASSERT_TRUE(move_claim(4));
    EXPECT_EQ(books(), "2 CPUs, 712 MiB, 0 servers, pinned [0,1,2,3]")
        << "amounts from the record's new flavor, CPUs from the claim";
}

TEST_F(MovesTest, ADestinationThatWasGivenUpElsewhereIsDroppedByTheAudit) {
    start();
    put_server("c2", "migrating");
    put_migration("c2", "live-migration");
    ASSERT_TRUE(move_claim(1));
    change_migration("dest_compute", "c3"); // the conductor chose another host
    change_migration("dest_node", "c3");
    EXPECT_EQ(books(), "0 CPUs, 512 MiB, 0 servers, pinned []");
}

TEST_F(MovesTest, AnEvacuationOfABrokenServerKeepsItsClaimToItsEnd) {
    start();
    put_server("c2", "rebuilding");
    bench.bus.change(server_uuid, "vm_state", "error");
    put_migration("c2", "evacuation");
    ASSERT_TRUE(move_claim(1));
    EXPECT_EQ(books(), "1 CPUs, 612 MiB, 0 servers, pinned [0]");
    auto instance = server(server_uuid);
    apply_migration_context(instance);
    instance.set("host", host_name);
    instance.set("node", "node1");
    ASSERT_TRUE(save_instance({bench.conductor, host_name}, bench.context, instance));
    EXPECT_EQ(books(), "1 CPUs, 612 MiB, 1 servers, pinned [0]");
    change_migration("status", "done");
    tracker->settle(instance, migration());
    expect_books("1 CPUs, 612 MiB, 1 servers, pinned [0]");
}

TEST_F(MovesTest, AServerThatComesWithoutAClaimCountsAtOnce) {
    start();
    put_server("c2", "migrating");
    put_migration("c2", "live-migration");
    bench.bus.change(server_uuid, "host", host_name);
    bench.bus.change(server_uuid, "node", "node1");
    tracker->settle(server(server_uuid), migration());
    EXPECT_EQ(tracker->instances(), std::vector<std::string>{server_uuid});
}

TEST_F(MovesTest, AMigrationThatALaterOneHasOvertakenIsMarked_NotOneBeingClaimed) {
    start();
    put_server("c2");
    bench.bus.change(server_uuid,
                     "migration_context",
                     nova_object("MigrationContext", "1.2", Json::object().set("migration_id", 6)));
    put_migration("c2");
    // An audit between the two records of a claim sees a context that is not the migration's.
    bench.bus.before = [this](const std::string& call) {
        if (!call.starts_with("Instance.save"))
            return;
        bench.bus.before = nullptr;
        tracker->audit();
    };
    ASSERT_TRUE(move_claim());
    EXPECT_EQ(bench.bus.migration(7)["status"].as_string(), "pre-migrating");
    EXPECT_EQ(books(), "2 CPUs, 712 MiB, 0 servers, pinned [0,1]");
    bench.bus.change(server_uuid,
                     "migration_context",
                     nova_object("MigrationContext", "1.2", Json::object().set("migration_id", 8)));
    EXPECT_EQ(books(), "0 CPUs, 512 MiB, 0 servers, pinned []");
    EXPECT_EQ(bench.bus.migration(7)["status"].as_string(), "error");
}

} // namespace
} // namespace novalet::tasks
