#pragma once
// A recorded conversation of a real nova-compute with one service, played to our clients: each
// answer is the recorded one, and our requests are compared with the recorded ones in order.
#include "agent/clients/keystone.hpp"
#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "tests/support/fake_http.hpp"

#include <gtest/gtest.h>

namespace novalet::clients::tests {

using novalet::tests::FakeHttp;

class Recording {
  public:
    explicit Recording(const std::string& name) {
        const auto path = cat(NOVALET_SOURCE_DIR "/tests/contract/data/clients/", name, ".json");
        const auto text = read_file(path);
        auto parsed = text ? Json::parse(*text) : Result<Json>(Failure(text.error()));
        if (!parsed) {
            ADD_FAILURE() << path << ": " << parsed.error().text;
            return;
        }
        document_ = std::move(*parsed);
        for (const auto& exchange : exchanges())
            play(exchange);
        http_.on("POST", "/v3/auth/tokens", [](const HttpRequest& request) {
            // The account's name is its token, so that requests tell who made them.
            const auto body = Json::parse(request.body);
            const Json& user = (*body)["auth"]["identity"]["password"]["user"];
            HttpResponse token;
            token.status = 201;
            token.headers["x-subject-token"] = user["name"].as_string();
            token.body = R"({"token":{"expires_at":"2099-01-01T00:00:00Z"}})";
            return token;
        });
        if (document_.contains("extensions"))
            http_.on("GET", "/v2.0/extensions", 200, document_["extensions"]);
    }

    [[nodiscard]] const Json::Array& exchanges() const { return document_["exchanges"].items(); }
    [[nodiscard]] const Json& operator[](const char* key) const { return document_[key]; }
    [[nodiscard]] FakeHttp& http() { return http_; }
    /// Accounts, services and a context as the recorded agent had them.
    [[nodiscard]] ServiceClient service(bool with_service_user) {
        ServiceOptions options;
        options.endpoint_override = "http://service";
        return {http_, agent_, options, with_service_user ? &service_user_ : nullptr};
    }
    [[nodiscard]] rpc::Context context() const {
        Json keys = Json::object();
        keys.set("request_id", exchanges().at(0)["headers"]["x-openstack-request-id"]);
        keys.set("auth_token", "user");
        return rpc::Context(std::move(keys));
    }

    /// A question that we ask once more than Nova, before everything else that has its path.
    void ours_alone(const std::string& path, Json answer) {
        ours_alone_ = path;
        http_.forget("GET", path);
        http_.on("GET", path, 200, answer);
        for (const auto& exchange : exchanges())
            if (FakeHttp::path_of("http://service" + exchange["path"].as_string()) == path)
                play(exchange);
    }

    /// Our requests are the recorded ones: order, verbs, paths, documents, versions, credentials.
    /// `left_out`: paths that Nova asks for and we do not need.
    void expect_same(const std::string& left_out = "\n") const {
        std::vector<HttpRequest> ours;
        for (const auto& request : http_.requests())
            if (!request.url.ends_with("/v3/auth/tokens") &&
                !request.url.ends_with("/v2.0/extensions"))
                ours.push_back(request);
        const auto alone = std::find_if(ours.begin(), ours.end(), [&](const HttpRequest& request) {
            return FakeHttp::path_of(request.url) == ours_alone_;
        });
        if (!ours_alone_.empty() && alone != ours.end())
            ours.erase(alone);
        std::size_t at = 0;
        for (const auto& exchange : exchanges()) {
            const std::string wanted =
                cat(exchange["method"].as_string(), ' ', comparable(exchange["path"].as_string()));
            if (wanted.find(left_out) != std::string::npos)
                continue;
            ASSERT_LT(at, ours.size()) << "missing: " << wanted;
            const auto& request = ours[at++];
            ASSERT_EQ(cat(request.method, ' ', comparable(FakeHttp::path_of(request.url))), wanted);
            expect_same_document(exchange, request, wanted);
            expect_same_headers(exchange, request, wanted);
        }
        EXPECT_EQ(at, ours.size()) << "more than Nova asks: " << ours.back().url;
    }

  private:
    void play(const Json& exchange) {
        http_.on(exchange["method"].as_string(),
                 FakeHttp::path_of("http://service" + exchange["path"].as_string()),
                 static_cast<int>(exchange["status"].as_int()),
                 exchange["response"]);
    }

    /// Names of a list in order: Nova's come from a hash set.
    static std::string comparable(const std::string& path) {
        const auto list = path.find("=in:");
        if (list == std::string::npos)
            return path;
        auto names = split(std::string_view(path).substr(list + 4), ',');
        std::sort(names.begin(), names.end());
        return path.substr(0, list + 4) + join(names, ",");
    }
    static void expect_same_document(const Json& exchange,
                                     const HttpRequest& request,
                                     const std::string& what) {
        Json recorded = exchange["request"];
        const auto sent = request.body.empty() ? Result<Json>(Json()) : Json::parse(request.body);
        ASSERT_TRUE(sent) << what;
        if (recorded.contains("traits"))
            std::sort(recorded.member("traits").elements().begin(),
                      recorded.member("traits").elements().end(),
                      [](const Json& a, const Json& b) { return a.as_string() < b.as_string(); });
        EXPECT_EQ(sent->dump(), recorded.dump()) << what;
    }
    static void
    expect_same_headers(const Json& exchange, const HttpRequest& request, const std::string& what) {
        const auto header = [&](const char* name) {
            const auto found = request.headers.find(name);
            return found == request.headers.end() ? std::string() : found->second;
        };
        EXPECT_EQ(header("X-Auth-Token"), exchange["as"].as_string()) << what;
        EXPECT_EQ(header("X-Service-Token"), exchange["service_token"].as_bool() ? "service" : "")
            << what;
        for (const auto& [name, ours] :
             {std::pair{"openstack-api-version", "OpenStack-API-Version"},
              std::pair{"x-openstack-request-id", "X-OpenStack-Request-ID"}})
            EXPECT_EQ(header(ours), exchange["headers"][name].as_string()) << what;
        if (exchange["service"].as_string() != "glance") {
            EXPECT_EQ(header("Accept"), exchange["headers"]["accept"].as_string()) << what;
        }
    }

    static AuthOptions account(const char* name) {
        AuthOptions out;
        out.auth_url = "http://keystone";
        out.username = name;
        return out;
    }

    Json document_;
    std::string ours_alone_;
    FakeHttp http_;
    Keystone agent_{http_, account("agent")};
    Keystone service_user_{http_, account("service")};
};

} // namespace novalet::clients::tests
