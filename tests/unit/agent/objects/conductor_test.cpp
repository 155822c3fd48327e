#include "agent/objects/conductor.hpp"
#include "tests/support/fake_caller.hpp"

#include <gtest/gtest.h>
#include <stdexcept>

namespace novalet::objects {
namespace {

using tests::FakeCaller;

class ConductorTest : public ::testing::Test {
  protected:
    /// [updates, result] of object_action.
    static Json action_answer(Json updates = Json::object(), Json result = {}) {
        return Json::Array{std::move(updates), std::move(result)};
    }
    static Object instance() {
        Object object("Instance", "2.7");
        object.set_unchanged("uuid", "u-1");
        object.set_unchanged("vm_state", "active");
        return object;
    }

    FakeCaller bus;
    Conductor conductor{bus, release_by_name("zed").value(), Milliseconds(1234)};
    rpc::Context context = rpc::Context::admin();
};

TEST_F(ConductorTest, CallsTheConductorTopicWithTheTimeout) {
    bus.answer(3);
    EXPECT_EQ(conductor.minimum_service_version("nova-compute", context).value(), 3);
    EXPECT_EQ(bus.last().target.topic, "conductor");
    EXPECT_EQ(bus.last().target.version, "3.0");
    EXPECT_EQ(bus.last().options.timeout, Milliseconds(1234));
    EXPECT_EQ(bus.last().context.request_id(), context.request_id());
}

TEST_F(ConductorTest, ASaveSettlesChanges) {
    auto object = instance();
    object.set("task_state", "spawning");
    Json updates = Json::object();
    updates.set("updated_at", "2026-01-02T03:04:05Z");
    updates.set("obj_what_changed", Json::array());
    bus.answer(action_answer(updates));
    ASSERT_TRUE(conductor.save_instance(object, {{"scheduling", std::nullopt}, {}}, context));
    EXPECT_EQ(bus.last().args["kwargs"].dump(), R"({"expected_task_state":["scheduling",null]})");
    EXPECT_EQ(bus.last().args["objinst"]["nova_object.changes"].dump(), R"(["task_state"])");
    EXPECT_TRUE(object.changes().empty());
    EXPECT_EQ(object.text("updated_at"), "2026-01-02T03:04:05Z");
}

TEST_F(ConductorTest, ASaveThatFailsKeepsTheChanges) {
    auto object = instance();
    object.set("task_state", nullptr);
    bus.answer_exception("UnexpectedTaskStateError", Code::Conflict);
    const auto saved = conductor.save_instance(object, {{"spawning"}, {"building"}}, context);
    ASSERT_FALSE(saved);
    EXPECT_EQ(saved.error().exception, "UnexpectedTaskStateError");
    EXPECT_EQ(bus.last().args["kwargs"]["expected_vm_state"].dump(), R"(["building"])");
    EXPECT_TRUE(object.changes().contains("task_state"));
}

TEST_F(ConductorTest, NoExpectedStateMeansNoArgument) {
    auto object = instance();
    bus.answer(action_answer());
    ASSERT_TRUE(conductor.save_instance(object, {}, context));
    EXPECT_EQ(bus.last().args["kwargs"].dump(), "{}");
}

TEST_F(ConductorTest, ADictThatIsNotLoadedIsNeverSent) {
    auto object = instance();
    Json updates = Json::object();
    updates.set("obj_what_changed", Json::Array{"system_metadata"});
    object.apply_updates(std::move(updates));
    const auto saved = conductor.save_instance(object, {}, context);
    ASSERT_FALSE(saved);
    EXPECT_EQ(saved.error().code, Code::InvalidArgument);
    EXPECT_NE(saved.error().text.find("u-1: system_metadata"), std::string::npos);
    EXPECT_TRUE(bus.sent.empty());
}

TEST_F(ConductorTest, AStrangeAnswerOfAnActionIsAnError) {
    auto object = instance();
    object.set("task_state", nullptr);
    for (const auto& strange :
         {Json(), Json("x"), Json(Json::Array{1}), Json(Json::Array{1, 2}), Json::object()}) {
        bus.answer(strange);
        EXPECT_FALSE(conductor.save_instance(object, {}, context)) << strange.dump();
        EXPECT_TRUE(object.changes().contains("task_state"));
    }
}

TEST_F(ConductorTest, LoadAsksOnceForWhatIsMissing) {
    auto object = instance();
    object.set("task_state", "spawning");
    Object fresh("Instance", "2.8");
    fresh.set_unchanged("vm_state", "error");
    fresh.set_unchanged("flavor", nullptr);
    fresh.set_unchanged("new_flavor", nullptr);
    fresh.set_unchanged("metadata", Json::object());
    bus.answer(fresh.to_primitive());
    ASSERT_TRUE(conductor.load(object, {"vm_state", "metadata", "new_flavor", "flavor"}, context));
    EXPECT_EQ(bus.sent.size(), 1U);
    EXPECT_EQ(bus.last().args["kwargs"]["expected_attrs"].dump(), R"(["metadata","flavor"])");
    EXPECT_EQ(bus.last().context.keys()["read_deleted"].as_string(), "yes");
    EXPECT_EQ(object.text("vm_state"), "active") << "what is loaded stays";
    EXPECT_TRUE(object.is_set("metadata"));
    EXPECT_TRUE(object.is_set("new_flavor"));
    EXPECT_EQ(object.changes().size(), 1U);
    ASSERT_TRUE(conductor.load(object, {"metadata", "flavor"}, context));
    EXPECT_EQ(bus.sent.size(), 1U) << "nothing is missing any more";
}

TEST_F(ConductorTest, LoadSaysWhichFieldDidNotCome) {
    auto object = instance();
    bus.answer(instance().to_primitive());
    const auto loaded = conductor.load(object, {"system_metadata"}, context);
    ASSERT_FALSE(loaded);
    EXPECT_NE(loaded.error().text.find("system_metadata"), std::string::npos);
    EXPECT_FALSE(object.is_set("system_metadata"));
}

TEST_F(ConductorTest, AFailedEventAlwaysHasATraceback) {
    bus.answer({});
    ASSERT_TRUE(conductor.finish_event(
        "u-1", "compute_stop_instance", EventFailure{std::string(300, 'x'), ""}, context));
    const auto& kwargs = bus.last().args["kwargs"];
    EXPECT_EQ(kwargs["exc_val"].as_string().size(), 255U);
    EXPECT_EQ(kwargs["exc_tb"].as_string().size(), 300U);
    EXPECT_EQ(kwargs["want_result"].dump(), "false");
}

TEST_F(ConductorTest, AFaultsMessageIsCutBetweenCharacters) {
    std::string message(254, 'a');
    message += "\xc3\xa4"; // two bytes, the second would be the 256th
    bus.answer(action_answer());
    ASSERT_TRUE(conductor.create_fault("u-1", 500, message, "d", "c1", context));
    const auto& fault = bus.last().args["objinst"];
    EXPECT_EQ(fault["nova_object.data"]["message"].as_string(), std::string(254, 'a'));
    EXPECT_EQ(fault["nova_object.changes"].size(), 5U);
    EXPECT_EQ(fault["nova_object.version"].as_string(), "1.2");
}

TEST_F(ConductorTest, AListThatIsNoneIsAnError) {
    bus.answer({});
    const auto devices = conductor.block_devices("u-1", context);
    ASSERT_FALSE(devices);
    EXPECT_NE(devices.error().text.find("BlockDeviceMappingList.get_by_instance_uuid"),
              std::string::npos);
}

TEST_F(ConductorTest, AnAbsentServiceIsNoError) {
    bus.answer({});
    const auto service = conductor.service("c1", "nova-compute", context);
    ASSERT_TRUE(service);
    EXPECT_FALSE(service->valid());
}

TEST_F(ConductorTest, TheHeartbeatCountsOnAfterAFailure) {
    Object service("Service", "1.22");
    service.set_unchanged("report_count", 41);
    bus.answer_exception("MessagingTimeout", Code::Timeout);
    EXPECT_FALSE(conductor.report_alive(service, context));
    bus.answer(action_answer());
    ASSERT_TRUE(conductor.report_alive(service, context));
    EXPECT_EQ(bus.last().args["objinst"]["nova_object.data"]["report_count"].as_int(), 43);
    EXPECT_EQ(bus.last().args["objinst"]["nova_object.changes"].dump(), R"(["report_count"])");
}

TEST_F(ConductorTest, OnlyAMissingHostMeansNoNodes) {
    bus.answer_exception("ComputeHostNotFound", Code::NotFound);
    EXPECT_TRUE(conductor.compute_nodes_by_host("c1", context).value().empty());
    bus.answer_exception("MessagingTimeout", Code::Timeout);
    EXPECT_FALSE(conductor.compute_nodes_by_host("c1", context));
}

TEST_F(ConductorTest, GroupsAreFoundByUuidOrName) {
    Object group("InstanceGroup", "1.11");
    group.set_unchanged("hosts", Json::array());
    bus.answer(group.to_primitive());
    ASSERT_TRUE(conductor.group_by_hint("6f2c7a3e-0b1d-4c9a-9a51-0f4d3c2b1a00", context));
    EXPECT_EQ(bus.last().args["objmethod"].as_string(), "get_by_uuid");
    bus.answer(group.to_primitive());
    auto found = conductor.group_by_hint("web", context);
    ASSERT_TRUE(found);
    EXPECT_EQ(bus.last().args["objmethod"].as_string(), "get_by_name");
    bus.answer(action_answer(Json::object(), Json::Array{"c1", "c2"}));
    EXPECT_EQ(conductor.group_hosts(*found, {"u-1"}, context).value(),
              (std::vector<std::string>{"c1", "c2"}));
    EXPECT_EQ(bus.last().args["kwargs"].dump(), R"({"exclude":["u-1"]})");
}

TEST_F(ConductorTest, ABuildIsHandedBackToTheTaskApi) {
    Json args = Json::object();
    args.set("instances", Json::array());
    ASSERT_TRUE(conductor.reschedule_build(args, context, "0123"));
    EXPECT_EQ(bus.last().kind, FakeCaller::Sent::Kind::Cast);
    EXPECT_EQ(bus.last().target.name_space, "compute_task");
    EXPECT_EQ(bus.last().target.version, "1.19");
    EXPECT_EQ(bus.last().target.message_id, "0123");
    EXPECT_EQ(bus.last().method, "build_instances");
    EXPECT_FALSE(bus.last().target.fanout);
}

TEST_F(ConductorTest, AnotherReleaseStampsOtherVersions) {
    EXPECT_EQ(conductor.make("Migration").version(), "1.7");
    conductor.adopt(release_by_name("epoxy").value());
    EXPECT_EQ(conductor.make("Migration").version(), "1.8");
    EXPECT_EQ(conductor.release().name, "epoxy");
    EXPECT_THROW(discard(conductor.make("NoSuchObject"), "throws"), std::logic_error);
}

TEST_F(ConductorTest, BackportAsksForTheReleasesVersions) {
    bus.answer(Object("Migration", "1.7").to_primitive());
    const auto older = conductor.backport(Object("Migration", "2.0"), context);
    ASSERT_TRUE(older);
    EXPECT_EQ(older->version(), "1.7");
    EXPECT_EQ(bus.last().method, "object_backport_versions");
    EXPECT_EQ(bus.last().args["object_versions"].dump(), R"({"Migration":"1.7"})");
}

TEST_F(ConductorTest, WaitsUntilTheConductorAnswers) {
    bus.answer_exception("MessagingTimeout", Code::Timeout);
    bus.answer_exception("MessagingTimeout", Code::Timeout);
    bus.answer("pong");
    ASSERT_TRUE(conductor.wait_until_alive({}, Milliseconds(0)));
    EXPECT_EQ(bus.sent.size(), 3U);
    EXPECT_EQ(bus.last().target.name_space, "baseapi");
}

TEST_F(ConductorTest, AStopEndsTheWait) {
    std::stop_source stop;
    bus.answer_with([&](const FakeCaller::Sent&) -> Result<Json> {
        stop.request_stop();
        return fail(Code::Timeout, "no answer");
    });
    const auto alive = conductor.wait_until_alive(stop.get_token());
    ASSERT_FALSE(alive);
    EXPECT_EQ(alive.error().code, Code::Cancelled);
    EXPECT_EQ(bus.sent.size(), 1U);
}

TEST(RemoteError, NamesDecide) {
    const auto named = [](const char* name) {
        return Error{Code::Remote, "", name, "nova.exception"};
    };
    EXPECT_TRUE(is_instance_gone(named("InstanceNotFound")));
    EXPECT_TRUE(is_instance_gone(named("UnexpectedDeletingTaskStateError")));
    EXPECT_FALSE(is_instance_gone(named("UnexpectedTaskStateError")));
    EXPECT_TRUE(is_unexpected_task_state(named("UnexpectedTaskStateError")));
    EXPECT_TRUE(is_unexpected_task_state(named("UnexpectedDeletingTaskStateError")));
    EXPECT_TRUE(is_unexpected_vm_state(named("InstanceUpdateConflict")));
    EXPECT_TRUE(is_service_too_old(named("ServiceTooOld")));
    EXPECT_TRUE(is_other_release(named("IncompatibleObjectVersion")));
    EXPECT_FALSE(is_other_release(named("ImageNotFound")));
    EXPECT_TRUE(is_unanswered(Error{Code::Timeout, "", "", ""}));
}

} // namespace
} // namespace novalet::objects
