// What nova-compute of Zed said to Neutron, Placement, Glance and Keystone, and what we say.
#include "agent/clients/glance.hpp"
#include "agent/clients/neutron.hpp"
#include "agent/clients/placement.hpp"
#include "tests/contract/agent/clients/recorded_http.hpp"
#include "tests/support/temporary_folder.hpp"

#include <algorithm>
#include <fcntl.h>

namespace novalet::clients::tests {
namespace {

using scheduler_hooks::model::Inventories;
using scheduler_hooks::model::Traits;

class NoRecords final : public PortRecords {
  public:
    Result<std::map<std::string, Json>> taken() override { return std::map<std::string, Json>(); }
    Result<void> port_taken(const std::string& id, const std::string& mac, const Json&) override {
        noted.push_back(mac + "/" + id);
        return {};
    }
    Result<void> port_given_back(const std::string& id) override {
        ADD_FAILURE() << id;
        return {};
    }
    std::vector<std::string> noted;
};

NetworkOwner owner_in(const Json& port) {
    NetworkOwner owner;
    owner.instance_uuid = port["device_id"].as_string();
    owner.project_id = port["tenant_id"].as_string();
    owner.availability_zone = "nova";
    owner.hostname = "boot-test";
    owner.host = "ref-compute";
    return owner;
}

/// Zed does not write enable_dhcp, which later releases read.
Json as_zed_writes(Json info) {
    for (auto& vif : info.elements())
        for (auto& subnet : vif.member("network").member("subnets").elements())
            subnet.member("meta").erase("enable_dhcp");
    return info;
}

TEST(RecordedRequests, ServerWithOneNetwork) {
    Recording recording("allocate");
    const Json& made = recording.exchanges().at(1)["response"]["port"];
    Neutron neutron(recording.service(true), {});
    NetworkWish wish;
    wish.network_id = made["network_id"].as_string();
    NoRecords records;
    // Whether an attempt that ended abruptly left something: Nova does not look.
    recording.ours_alone(cat("/v2.0/ports?tenant_id=",
                             made["tenant_id"].as_string(),
                             "&device_id=",
                             made["device_id"].as_string()),
                         Json::object().set("ports", Json::array()));
    const auto info =
        neutron.allocate(recording.context(), owner_in(made), {wish}, {"default"}, records);
    ASSERT_TRUE(info) << info.error().text;
    recording.expect_same();
    EXPECT_EQ(as_zed_writes(*info).dump(), recording["network_info"].dump());
    EXPECT_EQ(records.noted,
              (std::vector<std::string>{
                  cat(made["mac_address"].as_string(), '/', made["id"].as_string())}));
}

TEST(RecordedRequests, PortBecomesActive) {
    Recording recording("refresh");
    const Json& port = recording.exchanges().at(0)["response"]["ports"].at(0);
    Neutron neutron(recording.service(true), {});
    const auto info =
        neutron.network_info(recording.context(), owner_in(port), recording["network_info"]);
    ASSERT_TRUE(info) << info.error().text;
    recording.expect_same();
    EXPECT_EQ(as_zed_writes(*info).dump(), recording["network_info"].dump());
    EXPECT_TRUE(info->at(0)["active"].as_bool());
}

TEST(RecordedRequests, ServerDeleted) {
    Recording recording("deallocate");
    const Json& port = recording.exchanges().at(0)["response"]["ports"].at(0);
    Neutron neutron(recording.service(true), {});
    const auto done = neutron.deallocate(recording.context(), owner_in(port), {});
    ASSERT_TRUE(done) << done.error().text;
    recording.expect_same();
}

/// The wish that makes us write what the recorded agent wrote.
ProviderSync::Wish recorded_wish(const Recording& recording, const Traits& otherwise) {
    Inventories inventories;
    Traits traits = otherwise;
    for (const auto& exchange : recording.exchanges()) {
        const Json& body = exchange["request"];
        if (body.contains("inventories"))
            inventories = *scheduler_hooks::model::inventories_from_json(body["inventories"]);
        if (body.contains("traits"))
            traits = *scheduler_hooks::model::traits_from_json(body["traits"]);
    }
    return [inventories, traits](const Inventories&, const Traits&) {
        return ProviderWish{inventories, traits};
    };
}

TEST(RecordedRequests, FirstReportOfAComputeNode) {
    Recording recording("first-report");
    // The names are asked for in our order; the answer is the recorded one.
    Placement placement(recording.service(false));
    const Json& provider = recording.exchanges().at(1)["request"];
    const auto wish = recorded_wish(recording, {});
    const auto names = wish({}, {}).traits;
    recording.http().on("GET",
                        "/traits?name=in:" + join({names.begin(), names.end()}, ","),
                        200,
                        recording.exchanges().at(3)["response"]);
    ProviderSync sync(
        placement, provider["uuid"].as_string(), provider["name"].as_string(), Seconds(300));
    const auto done = sync.sync(recording.context(), wish);
    ASSERT_TRUE(done) << done.error().text;
    recording.expect_same();
}

TEST(RecordedRequests, ReportAfterARestart) {
    Recording recording("report-after-restart");
    Placement placement(recording.service(false));
    const Json& provider = recording.exchanges().at(0)["response"]["resource_providers"].at(0);
    const auto traits =
        scheduler_hooks::model::traits_from_json(recording.exchanges().at(3)["response"]["traits"]);
    ProviderSync sync(
        placement, provider["uuid"].as_string(), provider["name"].as_string(), Seconds(300));
    const auto done = sync.sync(recording.context(), recorded_wish(recording, *traits));
    ASSERT_TRUE(done) << done.error().text;
    recording.expect_same("/aggregates"); // Nova looks for providers of shared disks
}

TEST(RecordedRequests, ConfirmedResizeGivesItsAllocationBack) {
    Recording recording("confirm-resize");
    Placement placement(recording.service(false));
    const std::string consumer =
        recording.exchanges().at(0)["path"].as_string().substr(std::string("/allocations/").size());
    auto held = placement.allocations(recording.context(), consumer);
    ASSERT_TRUE(held) << held.error().text;
    ASSERT_FALSE(held->empty());
    held->by_provider = Json::object();
    const auto done = placement.put_allocations(recording.context(), consumer, *held);
    ASSERT_TRUE(done) << done.error().text;
    recording.expect_same();
}

TEST(RecordedRequests, RevertedResizeMovesItsAllocationBack) {
    Recording recording("revert-resize");
    Placement placement(recording.service(false));
    const auto consumer = [&](std::size_t at) {
        return recording.exchanges().at(at)["path"].as_string().substr(
            std::string("/allocations/").size());
    };
    const auto done = placement.move_allocations(recording.context(), consumer(0), consumer(1));
    ASSERT_TRUE(done) << done.error().text;
    recording.expect_same();
}

TEST(RecordedRequests, ImageOfAServer) {
    Recording recording("image");
    Glance glance(recording.service(true), 0);
    const auto path = recording.exchanges().at(0)["path"].as_string();
    const auto image =
        glance.image(recording.context(), path.substr(std::string("/v2/images/").size()));
    ASSERT_TRUE(image) << image.error().text;
    const Json& record = recording.exchanges().at(0)["response"];
    EXPECT_EQ(image->size, static_cast<std::uint64_t>(record["size"].as_int()));
    EXPECT_EQ(image->checksum, record["checksum"].as_string());
    EXPECT_EQ(image->hash_algorithm, "sha512");
    const novalet::tests::TemporaryFolder folder;
    const Fd file(open((folder / "image").c_str(), O_CREAT | O_RDWR, 0600));
    // The recording has no image bytes, and what comes instead is found out.
    const auto read = glance.download(recording.context(), *image, file.get());
    ASSERT_FALSE(read);
    recording.expect_same();
}

TEST(RecordedRequests, TokenOfAServiceAccount) {
    const Recording recording("token");
    const Json& exchange = recording.exchanges().at(0);
    const Json& user = exchange["request"]["auth"]["identity"]["password"]["user"];
    FakeHttp http;
    http.on("POST", "/v3/auth/tokens", 201, exchange["response"], {{"x-subject-token", "t"}});
    AuthOptions options;
    options.auth_url = "http://keystone/v3";
    options.username = user["name"].as_string();
    options.password = Secret(user["password"].as_string());
    Keystone keystone(http, options);
    const auto token = keystone.token();
    ASSERT_TRUE(token) << token.error().text;
    EXPECT_EQ(http.body_of("POST", "/v3/auth/tokens").dump(), exchange["request"].dump());
    ServiceOptions network;
    network.types = {"network"};
    const auto endpoints = find_endpoints((*token)->catalog, network);
    ASSERT_TRUE(endpoints) << endpoints.error().text;
    EXPECT_EQ(endpoints->size(), 1U);
}

} // namespace
} // namespace novalet::clients::tests
