#include "agent/clients/cinder.hpp"

#include "tests/support/fake_http.hpp"

#include <gmock/gmock.h>

namespace novalet::clients {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using tests::FakeHttp;
using tests::json;

constexpr const char* volume = "9e5c0c2a-6d1f-4a33-8c37-1a5f0f3e7b11";
constexpr const char* target = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9";
constexpr const char* attachment = "3b4db356-253d-4fab-bfa0-e3626c0b8405";
constexpr const char* server = "11111111-2222-4333-8444-555555555555";
const std::string at_volume = std::string("/v3/p1/volumes/") + volume;
const std::string at_action = at_volume + "/action";
const std::string at_attachment = std::string("/v3/p1/attachments/") + attachment;

class CinderTest : public testing::Test {
  protected:
    ServiceOptions options() {
        auto out = cinder_service("volumev3::publicURL");
        out.connect_retries = 3;
        out.pause = [this](Milliseconds span) { pauses.push_back(span.count()); };
        return out;
    }
    Cinder cinder(ServiceOptions chosen) {
        return Cinder(ServiceClient(http, account, std::move(chosen), &service_user));
    }
    Cinder cinder() { return cinder(options()); }
    void SetUp() override { http.give_token(); }

    static FakeHttp::Answer breaks(bool retryable = true) {
        return [retryable](const HttpRequest&) -> Result<HttpResponse> {
            Error error{Code::Unavailable, "connection refused", "", ""};
            error.retryable = retryable;
            return Failure(error);
        };
    }

    FakeHttp http;
    std::vector<long> pauses;
    Keystone account{http, tests::test_account()};
    Keystone service_user{http, tests::test_account()};
    rpc::Context context{json(R"({"request_id":"req-1","auth_token":"user","project_id":"p1",
        "service_catalog":[{"type":"volumev3","name":"cinderv3","endpoints":[
            {"publicURL":"http://cinder:8776/v3/p1","internalURL":"http://inside:8776/v3/p1",
             "region":"A"}]}]})")};
};

TEST_F(CinderTest, AnAttachmentIsDeletedWithTheUsersAndTheServicesToken) {
    http.on("DELETE", at_attachment, 200, R"({"attachments":[]})");
    ASSERT_TRUE(cinder().delete_attachment(context, attachment));
    const auto request = http.only("DELETE", at_attachment);
    EXPECT_EQ(request.url, "http://cinder:8776" + at_attachment);
    EXPECT_EQ(request.headers.at("OpenStack-API-Version"), "volume 3.44");
    EXPECT_EQ(request.headers.at("X-Auth-Token"), "user");
    EXPECT_EQ(request.headers.at("X-Service-Token"), "agent");
    EXPECT_EQ(request.headers.at("X-OpenStack-Request-ID"), "req-1");
    EXPECT_EQ(request.body, "");
}

TEST_F(CinderTest, AnAttachmentThatIsGoneIsDeleted) {
    http.on("DELETE", at_attachment, 404, R"({"itemNotFound":{"message":"no such"}})");
    EXPECT_TRUE(cinder().delete_attachment(context, attachment));
    EXPECT_TRUE(cinder().delete_attachment(context, "../volumes")) << "never sent";
    EXPECT_EQ(http.calls().size(), 1U);
}

TEST_F(CinderTest, ADeletionWhoseAnswerWasLostIsRepeated) {
    http.on("DELETE", at_attachment, breaks()).on("DELETE", at_attachment, 404);
    EXPECT_TRUE(cinder().delete_attachment(context, attachment));
    EXPECT_EQ(http.calls().size(), 2U);
    EXPECT_THAT(pauses, ElementsAre(500));
}

TEST_F(CinderTest, AnAttachmentIsAskedForFiveTimesOn500And504) {
    http.on("DELETE", at_attachment, 500)
        .on("DELETE", at_attachment, 504)
        .on("DELETE", at_attachment, 500)
        .on("DELETE", at_attachment, 504)
        .on("DELETE", at_attachment, 200, json("{}"));
    EXPECT_TRUE(cinder().delete_attachment(context, attachment));
    EXPECT_EQ(http.calls().size(), 5U);
    EXPECT_TRUE(pauses.empty());

    http.forget("DELETE", at_attachment);
    http.on("DELETE", at_attachment, 500, R"({"computeFault":{"message":"broken"}})");
    const auto failed = cinder().delete_attachment(context, attachment);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().exception, "ClientException");
    EXPECT_EQ(failed.error().module, "cinderclient.exceptions");
    EXPECT_EQ(failed.error().code, Code::Unavailable);
    EXPECT_THAT(failed.error().text, AllOf(HasSubstr(attachment), HasSubstr("broken (HTTP 500)")));
    EXPECT_EQ(http.calls().size(), 10U);
}

TEST_F(CinderTest, OtherStatusesOfAnAttachmentAreFinal) {
    struct Case {
        int status;
        const char* exception;
        const char* module;
        Code code;
    };
    const char* nova = "nova.exception";
    const char* client = "cinderclient.exceptions";
    const std::vector<Case> cases{{400, "InvalidInput", nova, Code::InvalidArgument},
                                  {401, "Unauthorized", client, Code::Unauthorized},
                                  {403, "Forbidden", nova, Code::Unauthorized},
                                  {406, "NotAcceptable", client, Code::InvalidArgument},
                                  {409, "ClientException", client, Code::Conflict},
                                  {413, "OverLimit", client, Code::ResourceExhausted},
                                  {501, "HTTPNotImplemented", client, Code::Unavailable},
                                  {503, "ClientException", client, Code::Unavailable}};
    for (const auto& one : cases) {
        http.forget("DELETE", at_attachment);
        http.on("DELETE",
                at_attachment,
                one.status,
                json(R"({"fault":{"message":"its reason"}})"),
                {{"x-compute-request-id", "req-c"}});
        const auto before = http.calls().size();
        const auto failed = cinder().delete_attachment(context, attachment);
        ASSERT_FALSE(failed) << one.status;
        EXPECT_EQ(failed.error().exception, one.exception) << one.status;
        EXPECT_EQ(failed.error().module, one.module) << one.status;
        EXPECT_EQ(failed.error().code, one.code) << one.status;
        EXPECT_THAT(failed.error().text, HasSubstr("its reason (HTTP ")) << one.status;
        EXPECT_THAT(failed.error().text, HasSubstr("(Request-ID: req-c)")) << one.status;
        const auto tries = http.calls().size() - before;
        EXPECT_EQ(tries, one.status == 401 ? 2U : 1U) << "401 once more with a new service token";
    }
}

TEST_F(CinderTest, AConnectionEndsAsNovaEndsIt) {
    http.on("POST", at_action, 500).on("POST", at_action, 202);
    const Json connector = json(R"({"host":"c1","ip":"10.0.0.1"})");
    ASSERT_TRUE(cinder().terminate_connection(context, volume, connector));
    ASSERT_EQ(http.calls().size(), 2U);
    const auto request = http.requests().back();
    EXPECT_EQ(request.body,
              R"({"os-terminate_connection":{"connector":{"host":"c1","ip":"10.0.0.1"}}})");
    EXPECT_EQ(request.headers.count("OpenStack-API-Version"), 0U) << "the base version 3.0";
    http.forget("POST", at_action);
    http.on("POST", at_action, 504);
    EXPECT_FALSE(cinder().terminate_connection(context, volume, connector));
    EXPECT_EQ(http.calls().size(), 3U) << "504 is final for a volume";
}

TEST_F(CinderTest, AVolumeIsDetachedWithoutAttachment) {
    http.on("GET", at_volume, 200, R"({"volume":{"multiattach":false,"attachments":[
        {"server_id":"11111111-2222-4333-8444-555555555555","attachment_id":"a1"}]}})");
    http.on("POST", at_action, 202);
    ASSERT_TRUE(cinder().detach(context, volume, server));
    EXPECT_EQ(http.only("POST", at_action).body, R"({"os-detach":{"attachment_id":null}})");
}

TEST_F(CinderTest, AMultiattachVolumeIsDetachedFromTheServerAlone) {
    http.on("GET", at_volume, 200, R"({"volume":{"multiattach":true,"attachments":[
        {"server_id":"another","attachment_id":"a1"},
        {"server_id":"11111111-2222-4333-8444-555555555555","attachment_id":"a2"}]}})");
    http.on("POST", at_action, 202);
    ASSERT_TRUE(cinder().detach(context, volume, server));
    EXPECT_EQ(http.only("POST", at_action).body, R"({"os-detach":{"attachment_id":"a2"}})");
}

TEST_F(CinderTest, ADetachBeginsAnewWithTheReadingOfTheVolume) {
    http.on("GET", at_volume, 500).on("GET", at_volume, 200, R"({"volume":{}})");
    http.on("POST", at_action, 500).on("POST", at_action, 202);
    ASSERT_TRUE(cinder().detach(context, volume, server));
    EXPECT_THAT(http.calls(),
                ElementsAre("GET " + at_volume,
                            "GET " + at_volume,
                            "POST " + at_action,
                            "GET " + at_volume,
                            "POST " + at_action));
    http.forget("GET", at_volume);
    http.on("GET", at_volume, 404);
    EXPECT_EQ(cinder().detach(context, volume, server).error().exception, "VolumeNotFound");
}

TEST_F(CinderTest, ActionsAreSentOnce) {
    http.on("POST", at_action, 202);
    ASSERT_TRUE(cinder().roll_detaching(context, volume));
    ASSERT_TRUE(cinder().unreserve_volume(context, volume));
    ASSERT_TRUE(cinder().fail_migration(context, volume, target));
    std::vector<std::string> bodies;
    for (const auto& request : http.requests())
        if (!request.body.starts_with(R"({"auth")"))
            bodies.push_back(request.body);
    EXPECT_THAT(
        bodies,
        ElementsAre(R"({"os-roll_detaching":null})",
                    R"({"os-unreserve":null})",
                    std::string(R"({"os-migrate_volume_completion":{"error":true,"new_volume":")") +
                        target + R"("}})"));
    http.forget("POST", at_action);
    http.on("POST", at_action, 500);
    EXPECT_FALSE(cinder().roll_detaching(context, volume));
    EXPECT_FALSE(cinder().unreserve_volume(context, volume));
    EXPECT_EQ(http.calls().size(), 5U);
}

TEST_F(CinderTest, ARequestThatMayHaveBeenCarriedOutIsNotRepeated) {
    http.on("POST", at_action, breaks(false));
    const auto failed = cinder().roll_detaching(context, volume);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().exception, "CinderConnectionFailed");
    EXPECT_EQ(http.calls().size(), 1U);
}

TEST_F(CinderTest, RefusalsOfAVolumeHaveNovasNames) {
    const std::pair<int, const char*> cases[] = {{400, "InvalidInput"},
                                                 {403, "Forbidden"},
                                                 {404, "VolumeNotFound"},
                                                 {409, "ClientException"},
                                                 {413, "OverQuota"},
                                                 {500, "ClientException"}};
    for (const auto& [status, exception] : cases) {
        http.forget("DELETE", at_volume);
        http.on("DELETE", at_volume, status);
        const auto before = http.calls().size();
        const auto failed = cinder().delete_volume(context, volume);
        ASSERT_FALSE(failed) << status;
        EXPECT_EQ(failed.error().exception, exception) << status;
        EXPECT_EQ(http.calls().size() - before, 1U) << status;
    }
    EXPECT_EQ(cinder().delete_volume(context, "a/../b").error().exception, "VolumeNotFound");
    EXPECT_EQ(cinder().roll_detaching(context, "").error().exception, "VolumeNotFound");
    http.forget("DELETE", at_volume);
    http.on("DELETE", at_volume, 202);
    EXPECT_TRUE(cinder().delete_volume(context, volume));
}

TEST_F(CinderTest, ACinderOutOfReachHasNovasName) {
    http.on("DELETE", at_attachment, breaks());
    const auto failed = cinder().delete_attachment(context, attachment);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().exception, "CinderConnectionFailed");
    EXPECT_THAT(failed.error().text,
                AllOf(HasSubstr("Connection to cinder host failed"),
                      HasSubstr("connection refused"),
                      HasSubstr(attachment)));
    EXPECT_EQ(http.calls().size(), 4U) << "http_retries 3";
    EXPECT_THAT(pauses, ElementsAre(500, 1000, 2000));
}

TEST_F(CinderTest, ACloudWithoutCinder) {
    const rpc::Context bare(json(R"({"auth_token":"user","service_catalog":[]})"));
    const auto failed = cinder().delete_attachment(bare, attachment);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().exception, "EndpointNotFound");
    EXPECT_EQ(failed.error().module, "keystoneauth1.exceptions.catalog");
    EXPECT_THAT(failed.error().text, HasSubstr("volumev3/block-storage"));
    EXPECT_TRUE(http.calls().empty());
}

TEST_F(CinderTest, AnotherApiThanV3IsRefused) { // its 404 would look like "already deleted"
    const rpc::Context old(json(R"({"auth_token":"user","service_catalog":[{"type":"volumev3",
        "endpoints":[{"publicURL":"http://cinder:8776/v2/p1"}]}]})"));
    const auto failed = cinder().delete_attachment(old, attachment);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().exception, "UnsupportedVersion");
    EXPECT_EQ(failed.error().code, Code::Unsupported);
    EXPECT_TRUE(http.calls().empty());
}

TEST_F(CinderTest, WorkOfNoUserGoesWithTheAgentsAccount) {
    http.forget("POST", "/v3/auth/tokens");
    http.on("POST",
            "/v3/auth/tokens",
            201,
            R"({"token":{"expires_at":"2099-01-01T00:00:00Z","catalog":[{"type":"block-storage",
                "endpoints":[{"interface":"public","url":"http://cinder/v3/service"}]}]}})",
            {{"x-subject-token", "agent"}});
    http.on("DELETE", std::string("/v3/service/volumes/") + volume, 202);
    ASSERT_TRUE(cinder().delete_volume(rpc::Context::admin(), volume));
    const auto request = http.requests().back();
    EXPECT_EQ(request.url, std::string("http://cinder/v3/service/volumes/") + volume);
    EXPECT_EQ(request.headers.at("X-Auth-Token"), "agent");
}

TEST_F(CinderTest, ATemplateIsFilledInFromTheRequest) {
    auto chosen = options();
    chosen.endpoint_override = "http://fixed:8776/v3/%(project_id)s";
    http.on("DELETE", at_volume, 202);
    ASSERT_TRUE(cinder(chosen).delete_volume(context, volume));
    EXPECT_EQ(http.only("DELETE", at_volume).url, "http://fixed:8776" + at_volume);
    const auto failed = cinder(chosen).delete_volume(
        rpc::Context(json(R"({"auth_token":"user","project_id":"../x"})")), volume);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Code::InvalidArgument);
    EXPECT_THAT(failed.error().text, HasSubstr("'project_id'"));
}

TEST_F(CinderTest, WhatAVolumeTells) {
    http.on("GET", at_volume, 200, R"({"volume":{"multiattach":true,
        "migration_status":"migrating","attachments":[{"server_id":"s1","attachment_id":"a1"}]}})");
    const auto found = cinder().volume(context, volume);
    ASSERT_TRUE(found) << found.error().text;
    EXPECT_EQ(found->id, volume);
    EXPECT_TRUE(found->multiattach);
    EXPECT_EQ(found->migration_status, "migrating");
    EXPECT_EQ(found->attachments.at("s1"), "a1");
    http.forget("GET", at_volume);
    http.on("GET", at_volume, 200, R"({"volume":{"migration_status":null}})");
    EXPECT_EQ(cinder().volume(context, volume)->migration_status, "");
}

TEST(CinderService, CatalogInfoAsNovaReadsIt) {
    const auto plain = cinder_service("volumev3::publicURL");
    EXPECT_THAT(plain.types, ElementsAre("volumev3", "block-storage"));
    EXPECT_THAT(plain.interfaces, ElementsAre("public"));
    EXPECT_EQ(plain.service_name, "");
    EXPECT_EQ(plain.api_version, "v3");
    const auto named = cinder_service("block-storage:cinder:internal");
    EXPECT_THAT(named.types, ElementsAre("block-storage", "volumev3"));
    EXPECT_THAT(named.interfaces, ElementsAre("internal"));
    EXPECT_EQ(named.service_name, "cinder");
    EXPECT_THAT(cinder_service("volume::adminURL").types, ElementsAre("volume"));
}

} // namespace
} // namespace novalet::clients
