#include "agent/core/file.hpp"
#include "tests/unit/agent/tasks/books/tracker_bench.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using testing::HasSubstr;
using tests::FakeConductor;
using tests::server_in;
using tests::server_uuid;
using tests::uuid_number;

struct NoNetwork final : clients::HttpClient {
    Result<clients::HttpResponse> send(const clients::HttpRequest& /*request*/) override {
        return fail(Code::Unavailable, "no REST service answers in this test");
    }
};

/// Placement does not answer, which must not matter to claims.
class ResourceTrackerTest : public tests::TrackerTest {
  protected:
    ResourceTrackerTest() : TrackerTest(nothing()) {}
    static clients::HttpClient& nothing() {
        static NoNetwork http;
        return http;
    }
};

TEST_F(ResourceTrackerTest, ANewHostGetsItsRecordAndKeepsItsUuid) {
    start();
    const auto record = node();
    EXPECT_EQ(record["host"].as_string(), tests::host_name);
    EXPECT_EQ(record["hypervisor_hostname"].as_string(), "node1");
    EXPECT_EQ(record["vcpus"].as_int(), 4);
    EXPECT_EQ(record["memory_mb"].as_int(), 1024);
    EXPECT_EQ(record["local_gb"].as_int(), 20);
    EXPECT_FALSE(record.contains("mapped")) << "discovery of new hosts needs it unset";
    const auto id = read_file(bench.folder / "compute_id");
    ASSERT_TRUE(id);
    EXPECT_EQ(*id, record["uuid"].as_string() + "\n");
}

TEST_F(ResourceTrackerTest, AClaimIsSavedWithTheServerAndCounted) {
    start();
    ASSERT_TRUE(claim(uuid_number(1), 512, 2));
    const auto server = bench.bus.instance(uuid_number(1));
    EXPECT_EQ(server["host"].as_string(), tests::host_name);
    EXPECT_EQ(server["node"].as_string(), "node1");
    EXPECT_EQ(server["launched_on"].as_string(), tests::host_name);
    const auto record = node();
    EXPECT_EQ(record["vcpus_used"].as_int(), 2);
    EXPECT_EQ(record["memory_mb_used"].as_int(), 512 + 512) << "reserved_host_memory_mb";
    EXPECT_EQ(record["local_gb_used"].as_int(), 1);
    EXPECT_EQ(record["running_vms"].as_int(), 1);
    EXPECT_EQ(record["stats"]["num_instances"].as_string(), "1");
    EXPECT_EQ(record["stats"]["num_vm_building"].as_string(), "1");
}

TEST_F(ResourceTrackerTest, WhatIsDroppedIsGivenBackAndNeverTwice) {
    start();
    ASSERT_TRUE(claim(uuid_number(1), 128));
    ASSERT_TRUE(claim(uuid_number(2), 256));
    drop(uuid_number(1));
    drop(uuid_number(1));
    drop(uuid_number(9)); // never claimed
    bench.bus.remove_instance(uuid_number(1));
    bench.bus.remove_instance(uuid_number(9));
    const auto record = node();
    EXPECT_EQ(record["vcpus_used"].as_int(), 1);
    EXPECT_EQ(record["memory_mb_used"].as_int(), 512 + 256);
    drop(uuid_number(2));
    bench.bus.remove_instance(uuid_number(2));
    const auto empty = node();
    EXPECT_EQ(empty["vcpus_used"].as_int(), 0);
    EXPECT_EQ(empty["memory_mb_used"].as_int(), 512);
    EXPECT_EQ(empty["local_gb_used"].as_int(), 0);
    EXPECT_EQ(empty["running_vms"].as_int(), 0);
}

TEST_F(ResourceTrackerTest, ANodeThatCouldNotBeMadeIsMadeByTheNextAudit) {
    bench.bus.fail("ComputeNode.get_by_host_and_nodename",
                   FakeConductor::remote("ComputeHostNotFound", Code::NotFound),
                   2);
    bench.bus.fail("ComputeNode.create", FakeConductor::remote("DBError"));
    EXPECT_FALSE(tracker->start());
    EXPECT_FALSE(tracker->allocations().consumers()) << "there is no provider yet";
    const auto record = node();
    EXPECT_EQ(record["host"].as_string(), tests::host_name);
    EXPECT_EQ(bench.diary.count("ComputeNode.create"), 1U) << "besides the one that failed";
    EXPECT_TRUE(read_file(bench.folder / "compute_id"));
}

TEST_F(ResourceTrackerTest, AnIdleHostReadsItsRecordsRarely) {
    options.records_refresh = Seconds(600);
    make_tracker();
    start();
    EXPECT_EQ(bench.diary.count("InstanceList"), 1U);
    tracker->audit();
    bench.diary.clear();
    tracker->audit();
    EXPECT_EQ(bench.diary.count("InstanceList"), 0U);
    EXPECT_EQ(bench.diary.count("Service."), 0U);
    EXPECT_THAT(tracker->instances(), testing::IsEmpty());

    ASSERT_TRUE(claim(uuid_number(1), 128));
    EXPECT_THAT(tracker->instances(), testing::ElementsAre(uuid_number(1)));
    node();
    EXPECT_EQ(bench.diary.count("InstanceList"), 1U) << "something happened";
    node();
    EXPECT_EQ(bench.diary.count("InstanceList"), 1U);

    drop(uuid_number(1));
    bench.bus.remove_instance(uuid_number(1));
    ASSERT_TRUE(bench.settle());
    bench.bus.lose("InstanceList.get_by_host_and_node");
    tracker->audit();
    bench.diary.clear();
    tracker->audit();
    EXPECT_EQ(bench.diary.count("InstanceList"), 1U) << "what could not be read is read next";
}

TEST_F(ResourceTrackerTest, AServerNamesItsNodeAsTheReleaseDoes) {
    start();
    ASSERT_TRUE(claim(uuid_number(1), 128));
    EXPECT_FALSE(bench.bus.instance(uuid_number(1)).contains("compute_id")) << "zed";
    bench.conductor.adopt(objects::release_by_name("epoxy").value());
    ASSERT_TRUE(claim(uuid_number(2), 128));
    EXPECT_EQ(bench.bus.instance(uuid_number(2))["compute_id"].as_int(), 1);
    node();
    EXPECT_EQ(bench.bus.instance(uuid_number(1))["compute_id"].as_int(), 1)
        << "an upgrade: the audit adds what the older release had not";
    auto instance = objects::Object::from_primitive(bench.instance_argument(uuid_number(2)));
    tracker->drop(bench.context, instance, true);
    EXPECT_TRUE(bench.bus.instance(uuid_number(2))["compute_id"].is_null());
}

TEST_F(ResourceTrackerTest, AClaimThatCannotBeSavedIsNone) {
    start();
    bench.bus.fail("Instance.save", FakeConductor::remote("DBError"));
    EXPECT_FALSE(claim(uuid_number(1), 256));
    EXPECT_EQ(node()["vcpus_used"].as_int(), 0);
}

TEST_F(ResourceTrackerTest, ASecondTryOfABuildReplacesItsClaim) {
    start();
    ASSERT_TRUE(claim(uuid_number(1), 256));
    ASSERT_TRUE(claim(uuid_number(1), 256));
    EXPECT_EQ(node()["memory_mb_used"].as_int(), 512 + 256);
}

TEST_F(ResourceTrackerTest, TheAuditFollowsTheRecords) {
    start();
    bench.bus.put_instance(server_in("active", nullptr)); // unknown to us: it was here before
    EXPECT_EQ(node()["memory_mb_used"].as_int(), 512 + 128);
    EXPECT_EQ(node()["stats"]["num_vm_active"].as_string(), "1");
    bench.bus.change(server_uuid, "vm_state", "deleted");
    EXPECT_EQ(node()["memory_mb_used"].as_int(), 512);
}

TEST_F(ResourceTrackerTest, ABuildThatTheRecordsDoNotShowYetKeepsItsClaim) {
    start();
    ASSERT_TRUE(claim(uuid_number(1), 256));
    bench.bus.change(uuid_number(1), "host", nullptr);
    EXPECT_EQ(node()["memory_mb_used"].as_int(), 512 + 256);
}

TEST_F(ResourceTrackerTest, RequestsThatDoNotFitNameTheReason) {
    start();
    auto record = tests::new_server(uuid_number(1));
    record.member("flavor")
        .member("nova_object.data")
        .set("memory_mb", 4096)
        .set("extra_specs", Json::object().set("hw:numa_nodes", "1"));
    bench.bus.put_instance(record);
    auto instance = objects::Object::from_primitive(bench.instance_argument(uuid_number(1)));
    const auto claimed = tracker->claim(bench.context, instance, Json::object());
    ASSERT_FALSE(claimed);
    EXPECT_EQ(claimed.error().exception, "ComputeResourcesUnavailable");
    EXPECT_TRUE(bench.bus.instance(uuid_number(1))["host"].is_null());
}

TEST_F(ResourceTrackerTest, FailedBuildsAreCountedForTheScheduler) {
    start();
    tracker->build_finished(false);
    tracker->build_finished(false);
    EXPECT_EQ(node()["stats"]["failed_builds"].as_string(), "2");
    tracker->build_finished(true);
    EXPECT_EQ(node()["stats"]["failed_builds"].as_string(), "0");
}

TEST_F(ResourceTrackerTest, AnUnchangedRecordIsNotWrittenAgain) {
    start();
    EXPECT_FALSE(node().is_null());
    const auto saves = bench.diary.count("ComputeNode.save");
    tracker->audit();
    tracker->audit();
    EXPECT_EQ(bench.diary.count("ComputeNode.save"), saves);
}

TEST_F(ResourceTrackerTest, AnOutageDuringTheAuditLosesNothing) {
    start();
    ASSERT_TRUE(claim(uuid_number(1), 256));
    ASSERT_TRUE(bench.settle());
    bench.bus.set_outage(true);
    tracker->audit();
    bench.bus.set_outage(false);
    EXPECT_EQ(node()["memory_mb_used"].as_int(), 512 + 256);
}

} // namespace
} // namespace novalet::tasks
