#include "agent/clients/keystone.hpp"

#include "tests/support/fake_http.hpp"

#include <future>
#include <gmock/gmock.h>

namespace novalet::clients {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using tests::FakeHttp;
using tests::json;

constexpr const char* tokens = "/v3/auth/tokens";

AuthOptions account() {
    AuthOptions options;
    options.auth_url = "http://keystone:5000/v3/";
    options.username = "nova";
    options.password = Secret("secret");
    return options;
}

HttpResponse token_answer(const std::string& id,
                          const std::string& expires = "2099-01-01T00:00:00.000000Z") {
    HttpResponse response;
    response.status = 201;
    response.headers["x-subject-token"] = id;
    response.body = R"({"token":{"expires_at":")" + expires +
                    R"(","catalog":[{"type":"network","endpoints":[{"interface":"public",)"
                    R"("url":"http://neutron/","region":"R"}]}]}})";
    return response;
}

FakeHttp::Answer gives(HttpResponse response) {
    return [response](const HttpRequest&) { return response; };
}

rpc::Context user_context() {
    return rpc::Context(json(R"({"request_id":"req-1","auth_token":"user-token",
        "service_catalog":[{"type":"network","endpoints":
            [{"internalURL":"http://inside/v2.0/","publicURL":"http://outside","region":"R"}]}]})"));
}

TEST(Keystone, PasswordOfAProject) {
    FakeHttp http;
    http.on("POST", tokens, gives(token_answer("abc")));
    Keystone keystone(http, account());
    const auto token = keystone.token();
    ASSERT_TRUE(token) << token.error().text;
    EXPECT_EQ((*token)->id, "abc");
    EXPECT_EQ((*token)->catalog.at(0)["type"].as_string(), "network");
    EXPECT_EQ(http.only("POST", tokens).url, "http://keystone:5000/v3/auth/tokens");
    EXPECT_EQ(http.body_of("POST", tokens), json(R"({"auth":{"identity":{"methods":["password"],
        "password":{"user":{"name":"nova","password":"secret","domain":{"name":"Default"}}}},
        "scope":{"project":{"name":"service","domain":{"name":"Default"}}}}})"));
}

TEST(Keystone, ApplicationCredentialHasItsOwnScope) {
    FakeHttp http;
    http.on("POST", tokens, gives(token_answer("abc")));
    auto options = account();
    options.application_credential_id = "app";
    options.application_credential_secret = Secret("s");
    Keystone keystone(http, options);
    ASSERT_TRUE(keystone.token());
    EXPECT_EQ(http.body_of("POST", tokens),
              json(R"({"auth":{"identity":{"methods":["application_credential"],
        "application_credential":{"id":"app","secret":"s"}}}})"));
}

TEST(Keystone, ATokenIsKeptUntilShortlyBeforeItsEnd) {
    FakeHttp http;
    http.on("POST", tokens, gives(token_answer("old", "2001-01-01T00:00:00Z")))
        .on("POST", tokens, gives(token_answer("new")));
    Keystone keystone(http, account());
    EXPECT_EQ((*keystone.token())->id, "old");
    EXPECT_EQ((*keystone.token())->id, "new");
    EXPECT_EQ((*keystone.token())->id, "new");
    EXPECT_EQ(http.requests().size(), 2U);
}

TEST(Keystone, RefusalNamesTheUserAndNoSecret) {
    FakeHttp http;
    http.on("POST", tokens, 401, R"({"error":{"message":"no"}})");
    Keystone keystone(http, account());
    const auto token = keystone.token();
    ASSERT_FALSE(token);
    EXPECT_EQ(token.error().code, Code::Unauthorized);
    EXPECT_THAT(token.error().text, HasSubstr("user 'nova'"));
    EXPECT_THAT(token.error().text, HasSubstr("http://keystone:5000/v3"));
    EXPECT_THAT(token.error().text, Not(HasSubstr("secret")));
}

TEST(Keystone, WhatIsNoTokenIsAnError) {
    FakeHttp http;
    HttpResponse bare = token_answer("x");
    bare.headers.clear();
    http.on("POST", tokens, gives(bare)).on("POST", tokens, 503).on("POST", tokens, [](auto&) {
        HttpResponse page;
        page.status = 201;
        page.body = "<html>";
        return page;
    });
    Keystone keystone(http, account());
    EXPECT_EQ(keystone.token().error().code, Code::Remote);
    EXPECT_EQ(keystone.token().error().code, Code::Unavailable);
    EXPECT_FALSE(keystone.token());
}

TEST(Keystone, CallersAtTheSameTimeShareARequestAndOthersAreNotHeldUp) {
    FakeHttp http;
    std::promise<void> asked;
    std::promise<void> go;
    http.on("POST", tokens, [&](const HttpRequest&) {
        asked.set_value();
        go.get_future().wait();
        return token_answer("shared");
    });
    Keystone keystone(http, account());
    const auto ask = [&] { return (*keystone.token())->id; };
    auto first = std::async(std::launch::async, ask);
    asked.get_future().wait();
    auto second = std::async(std::launch::async, ask);
    keystone.invalidate("another"); // would hang if a lock were held over the request
    go.set_value();
    EXPECT_EQ(first.get(), "shared");
    EXPECT_EQ(second.get(), "shared");
    EXPECT_EQ(http.requests().size(), 1U);
}

TEST(Keystone, AFailureIsSharedAndNotKept) {
    FakeHttp http;
    http.on("POST", tokens, 503).on("POST", tokens, gives(token_answer("later")));
    Keystone keystone(http, account());
    EXPECT_FALSE(keystone.token());
    EXPECT_EQ((*keystone.token())->id, "later");
}

TEST(FindEndpoints, InterfaceOrderRegionAndOverride) {
    const Json catalog = json(R"([
        {"type":"network","endpoints":[
            {"interface":"public","url":"http://public/","region":"A"},
            {"interface":"internal","url":"http://internal/","region_id":"B"}]},
        {"type":"image","endpoints":[{"interface":"admin","url":"http://admin"}]}])");
    ServiceOptions options;
    options.types = {"network"};
    EXPECT_THAT(*find_endpoints(catalog, options), ElementsAre("http://internal"));
    options.region_name = "A";
    EXPECT_THAT(*find_endpoints(catalog, options), ElementsAre("http://public"));
    options.region_name = "C";
    const auto missing = find_endpoints(catalog, options);
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::NotFound);
    EXPECT_THAT(missing.error().text, HasSubstr("in region C"));
    options.endpoint_override = "http://one/v2/, http://two";
    EXPECT_THAT(*find_endpoints(catalog, options), ElementsAre("http://one/v2", "http://two"));
}

TEST(FindEndpoints, OnlyServicesOfTheName) {
    const Json catalog = json(R"([
        {"type":"volumev3","name":"old","endpoints":[{"interface":"public","url":"http://old"}]},
        {"type":"volumev3","endpoints":[{"interface":"public","url":"http://nameless"}]},
        {"type":"volumev3","name":"new","endpoints":[{"interface":"public","url":"http://new"}]}])");
    ServiceOptions options;
    options.types = {"volumev3"};
    options.service_name = "new";
    EXPECT_THAT(*find_endpoints(catalog, options), ElementsAre("http://nameless", "http://new"));
    const auto missing = find_endpoints(json("[]"), options);
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().exception, "EndpointNotFound");
    EXPECT_THAT(missing.error().text, HasSubstr("and name new"));
}

TEST(FindEndpoints, TheCatalogOfARequest) {
    ServiceOptions options;
    options.types = {"volumev3", "network"};
    EXPECT_THAT(*find_endpoints(user_context().keys()["service_catalog"], options),
                ElementsAre("http://inside/v2.0"));
}

TEST(JoinedUrl, AVersionIsNotRepeated) {
    EXPECT_EQ(joined_url("http://n:9696", "/v2.0/ports"), "http://n:9696/v2.0/ports");
    EXPECT_EQ(joined_url("http://n:9696/v2.0", "/v2.0/ports?a=/v2"),
              "http://n:9696/v2.0/ports?a=/v2");
    EXPECT_EQ(joined_url("http://g/image/v2", "/v2/images/1"), "http://g/image/v2/images/1");
    EXPECT_EQ(joined_url("http://g/image/v2.1", "/v2/images/1"), "http://g/image/v2/images/1");
    EXPECT_EQ(joined_url("http://p/placement", "/traits"), "http://p/placement/traits");
    EXPECT_EQ(joined_url("http://p/v1", "/traits"), "http://p/v1/traits");
    EXPECT_EQ(joined_url("http://host/vol", "/v3/x"), "http://host/vol/v3/x");
}

class ServiceClientTest : public testing::Test {
  protected:
    ServiceClient client(Keystone* service_user = nullptr) {
        ServiceOptions options;
        options.types = {"network"};
        options.pause = [this](Milliseconds span) { pauses.push_back(span.count()); };
        return {http, agent, options, service_user};
    }
    static ServiceClient::Call call(const std::string& method = "GET") {
        ServiceClient::Call out;
        out.method = method;
        out.path = "/v2.0/ports";
        return out;
    }
    FakeHttp http;
    Keystone agent{http, account()};
    Keystone service{http, account()};
    std::vector<long> pauses;
};

TEST_F(ServiceClientTest, AsTheAgent) {
    http.on("POST", tokens, gives(token_answer("agent"))).on("GET", "/v2.0/ports", 200, "{}");
    const auto response = client().as_agent(user_context(), call());
    ASSERT_TRUE(response) << response.error().text;
    const auto request = http.only("GET", "/v2.0/ports");
    EXPECT_EQ(request.url, "http://neutron/v2.0/ports");
    EXPECT_EQ(request.headers,
              (std::map<std::string, std::string>{{"Accept", "application/json"},
                                                  {"X-Auth-Token", "agent"},
                                                  {"X-OpenStack-Request-ID", "req-1"}}));
}

TEST_F(ServiceClientTest, ARefusedTokenIsRenewedOnce) {
    http.on("POST", tokens, gives(token_answer("one")))
        .on("POST", tokens, gives(token_answer("two")))
        .on("GET", "/v2.0/ports", 401)
        .on("GET", "/v2.0/ports", 200);
    EXPECT_EQ(client().as_agent(user_context(), call())->status, 200);
    EXPECT_EQ(http.requests().back().headers.at("X-Auth-Token"), "two");

    http.forget("GET", "/v2.0/ports");
    http.on("GET", "/v2.0/ports", 401);
    EXPECT_EQ(client().as_agent(user_context(), call())->status, 401);
    EXPECT_EQ(http.calls().size(), 4U) << "two and two";
}

TEST_F(ServiceClientTest, AsTheUserWithTheServiceToken) {
    http.on("POST", tokens, gives(token_answer("service"))).on("GET", "/v2.0/ports", 200);
    ASSERT_TRUE(client(&service).as_user(user_context(), call()));
    const auto request = http.only("GET", "/v2.0/ports");
    EXPECT_EQ(request.url, "http://inside/v2.0/ports");
    EXPECT_EQ(request.headers.at("X-Auth-Token"), "user-token");
    EXPECT_EQ(request.headers.at("X-Service-Token"), "service");
}

TEST_F(ServiceClientTest, ARefusedServiceTokenIsRenewedOnce) {
    http.on("POST", tokens, gives(token_answer("stale")))
        .on("POST", tokens, gives(token_answer("fresh")))
        .on("GET", "/v2.0/ports", 401)
        .on("GET", "/v2.0/ports", 200);
    EXPECT_EQ(client(&service).as_user(user_context(), call())->status, 200);
    EXPECT_EQ(http.requests().back().headers.at("X-Service-Token"), "fresh");
    EXPECT_EQ(http.requests().back().headers.at("X-Auth-Token"), "user-token");
}

TEST_F(ServiceClientTest, AUserTokenAloneIsNotTriedAgain) {
    http.on("GET", "/v2.0/ports", 401);
    EXPECT_EQ(client().as_user(user_context(), call())->status, 401);
    EXPECT_EQ(http.requests().size(), 1U);
}

TEST_F(ServiceClientTest, PeriodicWorkGoesAsTheAgent) {
    http.on("POST", tokens, gives(token_answer("agent"))).on("GET", "/v2.0/ports", 200);
    ASSERT_TRUE(client().as_user(rpc::Context(json(R"({"request_id":"req-2"})")), call()));
    EXPECT_EQ(http.only("GET", "/v2.0/ports").headers.at("X-Auth-Token"), "agent");
}

TEST_F(ServiceClientTest, WhatDidNotReachTheServiceIsSentAgain) {
    int asked = 0;
    http.on("POST", tokens, gives(token_answer("agent")))
        .on("POST", "/v2.0/ports", [&](const HttpRequest&) -> Result<HttpResponse> {
            if (++asked < 3)
                return fail(Code::Unavailable, "nobody listens");
            return HttpResponse{201, {}, "{}"};
        });
    const auto response = client().as_agent(user_context(), call("POST"));
    ASSERT_TRUE(response);
    EXPECT_THAT(pauses, ElementsAre(500, 1000));
}

TEST_F(ServiceClientTest, RetriesHaveAnEnd) {
    http.on("POST", tokens, gives(token_answer("agent")))
        .on("GET", "/v2.0/ports", [](const HttpRequest&) -> Result<HttpResponse> {
            return fail(Code::Unavailable, "nobody listens");
        });
    const auto response = client().as_agent(user_context(), call());
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().text, "nobody listens");
    EXPECT_THAT(pauses, ElementsAre(500, 1000, 2000));
}

TEST_F(ServiceClientTest, StoppingEndsThePauseAndTheRetries) {
    http.on("POST", tokens, gives(token_answer("agent")))
        .on("GET", "/v2.0/ports", [](const HttpRequest&) -> Result<HttpResponse> {
            return fail(Code::Unavailable, "nobody listens");
        });
    std::stop_source stop;
    ServiceOptions options;
    options.types = {"network"};
    options.stop = stop.get_token();
    stop.request_stop();
    ServiceClient stopped(http, agent, options, nullptr);
    EXPECT_FALSE(stopped.as_agent(user_context(), call()));
    EXPECT_EQ(http.calls().size(), 1U);
}

TEST_F(ServiceClientTest, WhatMayHaveBeenProcessedIsNotSentAgain) {
    http.on("POST", tokens, gives(token_answer("agent")))
        .on("POST", "/v2.0/ports", [](const HttpRequest&) -> Result<HttpResponse> {
            auto failure = fail(Code::Unavailable, "closed before the answer");
            failure.value().retryable = false;
            return failure;
        });
    EXPECT_FALSE(client().as_agent(user_context(), call("POST")));
    EXPECT_TRUE(pauses.empty());
}

TEST(JsonOf, KeepsTheServicesOwnWords) {
    const auto error = unexpected_status("ports", HttpResponse{409, {}, "in use"});
    EXPECT_EQ(error.code, Code::Conflict);
    EXPECT_EQ(error.text, "ports: HTTP 409 in use");
    EXPECT_TRUE(unexpected_status("x", HttpResponse{503, {}, ""}).retryable);
    EXPECT_EQ(json_of("x", HttpResponse{404, {}, ""}).error().code, Code::NotFound);
    EXPECT_TRUE(json_of("x", HttpResponse{204, {}, ""})->is_null());
    EXPECT_FALSE(json_of("x", HttpResponse{200, {}, "<html>"}));
}

} // namespace
} // namespace novalet::clients
