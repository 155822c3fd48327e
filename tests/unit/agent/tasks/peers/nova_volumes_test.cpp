#include "agent/tasks/peers/nova_volumes.hpp"

#include "agent/core/file.hpp"
#include "agent/tasks/peers/nova_peers.hpp"
#include "tests/support/fake_conductor.hpp"
#include "tests/support/fake_http.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using objects::Object;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using tests::FakeConductor;
using tests::FakeHttp;
using tests::json;

const std::string server = "11111111-2222-4333-8444-555555555555";
const std::string volume = "9e5c0c2a-6d1f-4a33-8c37-1a5f0f3e7b11";
const std::string second = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9";
const std::string attachment = "3b4db356-253d-4fab-bfa0-e3626c0b8405";
const std::string image = "73f72b94-40e6-4bc5-b94b-f8420ff70355";

std::string at_volume(const std::string& id) {
    return "/v3/p1/volumes/" + id;
}
std::string at_action(const std::string& id) {
    return at_volume(id) + "/action";
}
std::string at_attachment(const std::string& id) {
    return "/v3/p1/attachments/" + id;
}

Json primitive_of(std::int64_t id, const std::string& volume_id, const std::string& attachment_id) {
    Json data = Json::object();
    data.set("id", id)
        .set("uuid", "1e9996cb-69d0-49b9-aba9-783311fb490a")
        .set("instance_uuid", server)
        .set("source_type", "volume")
        .set("destination_type", "volume")
        .set("volume_id", volume_id)
        .set("attachment_id", attachment_id.empty() ? Json() : Json(attachment_id))
        .set("connection_info", Json())
        .set("delete_on_termination", false);
    return Json::object()
        .set("nova_object.name", "BlockDeviceMapping")
        .set("nova_object.namespace", "nova")
        .set("nova_object.version", "1.20")
        .set("nova_object.data", std::move(data));
}

Object mapping(std::int64_t id, const std::string& volume_id, const std::string& attachment_id) {
    return Object::from_primitive(primitive_of(id, volume_id, attachment_id));
}

Object that_goes(Object mapping) {
    mapping.set_unchanged("delete_on_termination", true);
    return mapping;
}

class NovaVolumesTest : public testing::Test {
  protected:
    clients::ServiceClient service(clients::ServiceOptions options) {
        options.pause = [](Milliseconds) {};
        return {http, account, std::move(options), nullptr};
    }
    clients::ServiceOptions glance_options() {
        clients::ServiceOptions options;
        options.types = {"image"};
        options.endpoint_override = "http://glance";
        return options;
    }
    void TearDown() override {
        EXPECT_EQ(bus.unknown(), std::vector<std::string>())
            << "the fake conductor has no answer for these";
    }
    /// Mappings that the fake conductor has of the server.
    std::vector<std::string> kept() {
        std::vector<std::string> out;
        const auto mappings = conductor.block_devices(server, context);
        EXPECT_TRUE(mappings);
        if (mappings)
            for (const auto& one : *mappings)
                out.push_back(one.text("volume_id"));
        return out;
    }

    tests::TemporaryFolder folder;
    FakeHttp http;
    clients::Keystone account{http, tests::test_account()};
    clients::Cinder cinder{service(clients::cinder_service("volumev3::publicURL"))};
    clients::Glance glance{service(glance_options()), 0};
    tests::Diary diary;
    FakeConductor bus{diary};
    objects::Conductor conductor{bus, objects::release_by_name("zed").value(), Milliseconds(1000)};
    NovaVolumes volumes{cinder, conductor, {"c1", "10.0.0.1", folder / "initiatorname.iscsi"}};
    NovaImages images{glance};
    rpc::Context context{json(R"({"request_id":"req-1","auth_token":"user","project_id":"p1",
        "service_catalog":[{"type":"volumev3","endpoints":[
            {"publicURL":"http://cinder/v3/p1"}]}]})")};
};

TEST_F(NovaVolumesTest, ReleaseEndsTheAttachmentsAndKeepsTheVolumes) {
    http.on("DELETE", at_attachment(attachment), 200, json("{}"));
    Object image_disk = mapping(1, volume, "another");
    image_disk.set_unchanged("destination_type", "local");
    volumes.release(context,
                    {image_disk, mapping(2, "", ""), that_goes(mapping(3, volume, attachment))});
    EXPECT_THAT(http.calls(), ElementsAre("DELETE " + at_attachment(attachment)));
    EXPECT_THAT(diary.lines(), IsEmpty()) << "the records go with the server's";
}

TEST_F(NovaVolumesTest, NothingThatCinderSaysHoldsUpTheOtherVolumes) {
    for (const int status : {400, 401, 403, 404, 409, 413, 500, 503}) {
        http.forget("DELETE", at_attachment(attachment));
        http.forget("DELETE", at_attachment("second"));
        http.on("DELETE", at_attachment(attachment), status);
        http.on("DELETE", at_attachment("second"), 200, json("{}"));
        const auto before = http.calls().size();
        volumes.release(context, {mapping(1, volume, attachment), mapping(2, second, "second")});
        const auto calls = http.calls();
        EXPECT_GT(calls.size(), before + 1) << status;
        EXPECT_EQ(calls.back(), "DELETE " + at_attachment("second")) << status;
    }
}

TEST_F(NovaVolumesTest, ACloudWithoutCinderHoldsUpNoDelete) {
    const rpc::Context bare(json(R"({"auth_token":"user","service_catalog":[]})"));
    volumes.release(bare, {that_goes(mapping(1, volume, attachment))});
    volumes.delete_on_termination(bare, {that_goes(mapping(1, volume, attachment))});
    EXPECT_THAT(http.requests(), IsEmpty());
}

TEST_F(NovaVolumesTest, ServersWithoutVolumesNeverAskCinder) {
    Object image_disk = mapping(1, "", "");
    image_disk.set_unchanged("destination_type", "local");
    volumes.release(context, {image_disk});
    volumes.delete_on_termination(context, {that_goes(image_disk)});
    std::vector<Object> mappings{that_goes(image_disk)};
    EXPECT_TRUE(volumes.give_up(context, mappings));
    EXPECT_THAT(http.requests(), IsEmpty());
}

TEST_F(NovaVolumesTest, AMappingWithoutAttachmentEndsTheOldWay) {
    ASSERT_TRUE(write_file_atomically(folder / "initiatorname.iscsi",
                                      "## a comment\nInitiatorName=iqn.1993-08.org:c1 \n"));
    http.on("POST", at_action(volume), 202);
    http.on("GET", at_volume(volume), 200, R"({"volume":{"multiattach":false}})");
    volumes.release(context, {mapping(1, volume, "")});
    EXPECT_THAT(http.calls(),
                ElementsAre("POST " + at_action(volume),
                            "GET " + at_volume(volume),
                            "POST " + at_action(volume)));
    const auto ended = Json::parse(http.requests().front().body);
    ASSERT_TRUE(ended);
    const Json& connector = (*ended)["os-terminate_connection"]["connector"];
    EXPECT_EQ(connector["host"].as_string(), "c1");
    EXPECT_EQ(connector["ip"].as_string(), "10.0.0.1");
    EXPECT_EQ(connector["os_type"].as_string(), "linux");
    EXPECT_NE(connector["platform"].as_string(), "");
    EXPECT_EQ(connector["initiator"].as_string(), "iqn.1993-08.org:c1");
    EXPECT_EQ(http.requests().back().body, R"({"os-detach":{"attachment_id":null}})");
}

TEST_F(NovaVolumesTest, AKeptConnectorOfThisHostIsTheOneThatEnds) {
    http.on("POST", at_action(volume), 202);
    http.on("GET", at_volume(volume), 200, R"({"volume":{}})");
    Object old = mapping(1, volume, "");
    for (const char* host : {"c1", "c2"}) {
        old.set_unchanged("connection_info",
                          std::string(R"({"connector":{"host":")") + host + R"(","wwpns":["5"]}})");
        const auto before = http.requests().size();
        volumes.release(context, {old});
        const auto body = Json::parse(http.requests().at(before).body);
        ASSERT_TRUE(body);
        const Json& connector = (*body)["os-terminate_connection"]["connector"];
        EXPECT_EQ(connector["host"].as_string(), "c1");
        EXPECT_EQ(connector.contains("wwpns"), std::string(host) == "c1");
        EXPECT_FALSE(connector.contains("initiator")) << "this host is none";
    }
}

TEST_F(NovaVolumesTest, AConnectionThatCannotEndIsNotDetached) {
    http.on("POST", at_action(volume), 404);
    volumes.release(context, {mapping(1, volume, "")});
    EXPECT_EQ(http.calls().size(), 1U);
}

TEST_F(NovaVolumesTest, OnlyVolumesThatGoWithTheServerAreDeleted) {
    http.on("DELETE", at_volume(volume), 400, R"({"badRequest":{"message":"has snapshots"}})");
    http.on("DELETE", at_volume(second), 202);
    volumes.delete_on_termination(context,
                                  {that_goes(mapping(1, volume, attachment)),
                                   mapping(2, "stays", "a"),
                                   that_goes(mapping(3, second, "b")),
                                   that_goes(mapping(4, "", ""))});
    EXPECT_THAT(http.calls(),
                ElementsAre("DELETE " + at_volume(volume), "DELETE " + at_volume(second)));
}

TEST_F(NovaVolumesTest, AGivenUpBuildLosesTheMappingsOfVolumesThatGo) {
    bus.put_mappings(
        server, Json::Array{primitive_of(1, volume, attachment), primitive_of(2, second, "b")});
    http.on("DELETE", at_attachment(attachment), 200, json("{}"))
        .on("DELETE", at_attachment("b"), 200, json("{}"))
        .on("DELETE", at_volume(volume), 202);
    std::vector<Object> mappings{that_goes(mapping(1, volume, attachment)),
                                 mapping(2, second, "b")};
    EXPECT_TRUE(volumes.give_up(context, mappings));
    EXPECT_THAT(http.calls(),
                ElementsAre("DELETE " + at_attachment(attachment),
                            "DELETE " + at_volume(volume),
                            "DELETE " + at_attachment("b")));
    EXPECT_THAT(kept(), ElementsAre(second));
}

TEST_F(NovaVolumesTest, AGivenUpBuildKeepsTheMappingOfAnAttachmentThatStays) {
    bus.put_mappings(server, Json::Array{primitive_of(1, volume, attachment)});
    http.on("DELETE", at_attachment(attachment), 403).on("DELETE", at_volume(volume), 400);
    std::vector<Object> mappings{that_goes(mapping(1, volume, attachment))};
    EXPECT_TRUE(volumes.give_up(context, mappings));
    EXPECT_THAT(kept(), ElementsAre(volume));
}

TEST_F(NovaVolumesTest, AnUnansweredConductorIsTheErrorOfAGivenUpBuild) {
    bus.put_mappings(
        server, Json::Array{primitive_of(1, volume, attachment), primitive_of(2, second, "b")});
    http.on("DELETE", at_attachment(attachment), 200, json("{}"))
        .on("DELETE", at_attachment("b"), 200, json("{}"))
        .on("DELETE", at_volume(volume), 202)
        .on("DELETE", at_volume(second), 202);
    bus.lose("BlockDeviceMapping.destroy");
    std::vector<Object> mappings{that_goes(mapping(1, volume, attachment)),
                                 that_goes(mapping(2, second, "b"))};
    const auto failed = volumes.give_up(context, mappings);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().exception, "MessagingTimeout");
    EXPECT_THAT(kept(), ElementsAre(volume)) << "the second was tried all the same";
}

TEST_F(NovaVolumesTest, ARefusedAttachmentIsForgotten) {
    bus.put_mappings(server, Json::Array{primitive_of(1, volume, attachment)});
    http.on("DELETE", at_attachment(attachment), 404);
    Object refused = mapping(1, volume, attachment);
    EXPECT_TRUE(volumes.forget_attachment(context, refused));
    EXPECT_THAT(http.calls(), ElementsAre("DELETE " + at_attachment(attachment)));
    EXPECT_THAT(kept(), IsEmpty());
    Object again = mapping(1, volume, attachment);
    EXPECT_TRUE(volumes.forget_attachment(context, again)) << "an operation that starts over";
}

TEST_F(NovaVolumesTest, AReservedVolumeWithoutAttachmentIsUnreserved) {
    bus.put_mappings(server, Json::Array{primitive_of(1, volume, "")});
    http.on("POST", at_action(volume), 202);
    Object refused = mapping(1, volume, "");
    EXPECT_TRUE(volumes.forget_attachment(context, refused));
    EXPECT_EQ(http.only("POST", at_action(volume)).body, R"({"os-unreserve":null})");
    EXPECT_THAT(kept(), IsEmpty());
}

TEST_F(NovaVolumesTest, TheMappingOfARefusedAttachmentGoesWhateverCinderSays) {
    bus.put_mappings(server, Json::Array{primitive_of(1, volume, attachment)});
    http.on("DELETE", at_attachment(attachment), 403);
    Object refused = mapping(1, volume, attachment);
    const auto failed = volumes.forget_attachment(context, refused);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().exception, "Forbidden");
    EXPECT_THAT(kept(), IsEmpty());

    bus.lose("BlockDeviceMapping.destroy");
    const auto lost = volumes.forget_attachment(context, refused);
    ASSERT_FALSE(lost);
    EXPECT_EQ(lost.error().exception, "MessagingTimeout") << "so that it is tried again";
}

TEST_F(NovaVolumesTest, ARefusedDetachIsRolledBack) {
    http.on("POST", at_action(volume), 202).on("POST", at_action(volume), 404);
    EXPECT_TRUE(volumes.roll_back_detach(context, volume));
    EXPECT_EQ(http.requests().front().body, R"({"os-roll_detaching":null})");
    EXPECT_EQ(volumes.roll_back_detach(context, volume).error().exception, "VolumeNotFound");
}

TEST_F(NovaVolumesTest, ARefusedSwapFreesTheNewVolume) {
    bus.put_mappings(server, Json::Array{primitive_of(1, volume, "old")});
    http.on("GET", at_volume(volume), 200, R"({"volume":{"migration_status":null}})")
        .on("POST", at_action(volume), 202)
        .on("DELETE", at_attachment(attachment), 200, json("{}"));
    EXPECT_TRUE(volumes.roll_back_swap(context, {server, volume, second, attachment}));
    EXPECT_THAT(http.calls(),
                ElementsAre("GET " + at_volume(volume),
                            "POST " + at_action(volume),
                            "DELETE " + at_attachment(attachment)));
    EXPECT_EQ(http.only("POST", at_action(volume)).body, R"({"os-roll_detaching":null})");
    EXPECT_THAT(kept(), ElementsAre(volume));
}

TEST_F(NovaVolumesTest, CinderLearnsThatItsMigrationFailed) {
    bus.put_mappings(server, Json::Array{primitive_of(1, volume, "old")});
    http.on("GET", at_volume(volume), 200, R"({"volume":{"migration_status":"migrating"}})")
        .on("POST", at_action(volume), 202)
        .on("DELETE", at_attachment(attachment), 404);
    EXPECT_TRUE(volumes.roll_back_swap(context, {server, volume, second, attachment}));
    EXPECT_THAT(
        http.requests().back().body,
        HasSubstr(R"({"os-migrate_volume_completion":{"error":true,"new_volume":")" + second));
}

TEST_F(NovaVolumesTest, ASwapWithoutAttachmentsEndsTheOldWay) {
    bus.put_mappings(server, Json::Array{primitive_of(1, volume, "")});
    http.on("GET", at_volume(volume), 200, R"({"volume":{}})")
        .on("POST", at_action(volume), 202)
        .on("POST", at_action(second), 202);
    EXPECT_TRUE(volumes.roll_back_swap(context, {server, volume, second, ""}));
    EXPECT_EQ(http.only("POST", at_action(second)).body, R"({"os-unreserve":null})");
    EXPECT_THAT(http.requests().back().body, HasSubstr("os-migrate_volume_completion"));
}

TEST_F(NovaVolumesTest, AllStepsOfASwapsRollBackAreTried) {
    bus.put_mappings(server, Json::Array{primitive_of(1, volume, "old")});
    http.on("GET", at_volume(volume), 200, R"({"volume":{}})")
        .on("POST", at_action(volume), 400)
        .on("DELETE", at_attachment(attachment), 200, json("{}"));
    EXPECT_EQ(
        volumes.roll_back_swap(context, {server, volume, second, attachment}).error().exception,
        "InvalidInput");
    EXPECT_EQ(http.calls().back(), "DELETE " + at_attachment(attachment));
}

TEST_F(NovaVolumesTest, ASwapOfAVolumeThatTheServerDoesNotHave) {
    const auto failed = volumes.roll_back_swap(context, {server, volume, second, attachment});
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().exception, "VolumeBDMNotFound");
    EXPECT_THAT(http.requests(), IsEmpty());
}

TEST_F(NovaVolumesTest, TheImageOfAFailedSnapshotIsRemoved) {
    const std::string path = "/v2/images/" + image;
    for (const int status : {204, 404, 403, 409, 500}) {
        http.forget("DELETE", path);
        http.on("DELETE", path, status);
        testing::internal::CaptureStderr();
        images.remove(context, image);
        const auto logged = testing::internal::GetCapturedStderr();
        const bool told = logged.find(" ERROR ") != std::string::npos;
        EXPECT_EQ(told, status != 204 && status != 404) << status << ' ' << logged;
    }
    EXPECT_EQ(http.calls().size(), 5U);
}

} // namespace
} // namespace novalet::tasks
