// The NetworkInfo document, key by key (reference 06 §1.7).
#include "agent/clients/neutron.hpp"

#include "tests/support/fake_http.hpp"

#include <gmock/gmock.h>

namespace novalet::clients {
namespace {

using testing::HasSubstr;
using tests::FakeHttp;
using tests::json;

constexpr const char* server = "85e577bf-b9cc-42aa-8d73-00911c68bf6f";
const std::string ports_path = std::string("/v2.0/ports?tenant_id=p&device_id=") + server;
const std::string provider_path = "/v2.0/networks/net?fields=provider%3Aphysical_network"
                                  "&fields=provider%3Anetwork_type";
const std::string dhcp_path = "/v2.0/ports?network_id=net&device_owner=network%3Adhcp";

class NetworkInfo : public testing::Test {
  protected:
    NetworkInfo() { http.give_token(); }

    /// One port on "net" with one address; what a test needs otherwise replaces an answer.
    void everything(const char* more_of_port = "{}") {
        Json port = json(R"({"id":"port-id","network_id":"net","tenant_id":"p",
            "mac_address":"fa:16:3e:00:00:01","admin_state_up":true,"status":"DOWN",
            "binding:vif_type":"ovs","binding:vnic_type":"normal","binding:profile":{},
            "binding:vif_details":{"port_filter":true},
            "fixed_ips":[{"subnet_id":"s","ip_address":"10.0.0.5"}]})");
        const Json more = json(more_of_port);
        for (const auto& [key, value] : more.members())
            port.set(key, value);
        Json ports = Json::object();
        ports.set("ports", Json::Array{std::move(port)});
        http.on("GET", ports_path, 200, ports);
        http.on("GET",
                "/v2.0/networks?id=net",
                200,
                R"({"networks":[{"id":"net","name":"private","tenant_id":"tid","mtu":1442}]})");
        http.on("GET", "/v2.0/extensions", 200, R"({"extensions":[{"alias":"binding"}]})");
        http.on("GET",
                provider_path,
                200,
                R"({"network":{"provider:physical_network":null,
                    "provider:network_type":"geneve"}})");
        http.on("GET",
                "/v2.0/floatingips?fixed_ip_address=10.0.0.5&port_id=port-id",
                200,
                R"({"floatingips":[{"floating_ip_address":"172.24.4.3"}]})");
        http.on("GET",
                "/v2.0/subnets?id=s",
                200,
                R"({"subnets":[{"id":"s","cidr":"10.0.0.0/24","gateway_ip":"10.0.0.1",
                    "ip_version":4,"enable_dhcp":true,"dns_nameservers":["8.8.8.8"],
                    "ipv6_address_mode":null,
                    "host_routes":[{"destination":"0.0.0.0/0","nexthop":"10.0.0.1"}]}]})");
        http.on("GET",
                dhcp_path,
                200,
                R"({"ports":[{"fixed_ips":[{"subnet_id":"other","ip_address":"10.9.0.2"},
                    {"subnet_id":"s","ip_address":"10.0.0.2"}]}]})");
    }

    Neutron& make() {
        ServiceOptions service;
        service.endpoint_override = "http://neutron";
        agent = std::make_unique<Keystone>(http, tests::test_account());
        neutron = std::make_unique<Neutron>(ServiceClient(http, *agent, service, nullptr), options);
        return *neutron;
    }
    static NetworkOwner owner() {
        NetworkOwner out;
        out.instance_uuid = server;
        out.project_id = "p";
        return out;
    }
    Result<Json> read(const char* cached = R"([{"id":"port-id"}])") {
        return make().network_info(context, owner(), json(cached));
    }
    Result<Json> read_all(const char* cached, const std::vector<std::string>& recorded) {
        return make().whole_network_info(context, owner(), json(cached), recorded);
    }
    /// The only VIF of the document.
    Json vif(const char* cached = R"([{"id":"port-id"}])") {
        const auto info = read(cached);
        EXPECT_TRUE(info) << info.error().text;
        EXPECT_EQ(info ? info->size() : 0U, 1U);
        return info && info->size() == 1 ? info->at(0) : Json();
    }
    void instead(const std::string& path, int status, const char* body) {
        http.forget("GET", path);
        http.on("GET", path, status, body);
    }

    rpc::Context context{json(R"({"request_id":"req-1"})")};
    FakeHttp http;
    NeutronOptions options;
    std::unique_ptr<Keystone> agent;
    std::unique_ptr<Neutron> neutron;
};

TEST_F(NetworkInfo, TheGoldenSample) {
    everything();
    EXPECT_EQ(vif().dump(),
              json(R"({"id":"port-id","address":"fa:16:3e:00:00:01",
        "network":{"id":"net","bridge":"br-int","label":"private","subnets":[{
            "cidr":"10.0.0.0/24",
            "dns":[{"address":"8.8.8.8","type":"dns","version":4,"meta":{}}],
            "gateway":{"address":"10.0.0.1","type":"gateway","version":4,"meta":{}},
            "ips":[{"address":"10.0.0.5","type":"fixed","version":4,"meta":{},
                "floating_ips":[{"address":"172.24.4.3","type":"floating","version":4,"meta":{}}]}],
            "routes":[{"cidr":"0.0.0.0/0","gateway":
                {"address":"10.0.0.1","type":"gateway","version":4,"meta":{}},
                "interface":null,"meta":{}}],
            "version":4,"meta":{"dhcp_server":"10.0.0.2","enable_dhcp":true}}],
            "meta":{"injected":false,"tenant_id":"tid","mtu":1442,"physical_network":null,
                "tunneled":true}},
        "type":"ovs","details":{"port_filter":true},"devname":"tapport-id",
        "ovs_interfaceid":"port-id","qbh_params":null,"qbg_params":null,"active":false,
        "vnic_type":"normal","profile":{},"preserve_on_delete":false,"delegate_create":true,
        "meta":{}})")
                  .dump());
}

TEST_F(NetworkInfo, WhatTheUserBroughtIsRemembered) {
    everything();
    EXPECT_TRUE(
        vif(R"([{"id":"port-id","preserve_on_delete":true}])")["preserve_on_delete"].as_bool());
}

TEST_F(NetworkInfo, ActivePorts) {
    everything(R"({"status":"ACTIVE"})");
    EXPECT_TRUE(vif()["active"].as_bool());
    http.forget("GET", ports_path);
    everything(R"({"admin_state_up":false})");
    EXPECT_TRUE(vif()["active"].as_bool()) << "nobody would ever report it";
}

TEST_F(NetworkInfo, Bridges) {
    const struct {
        const char* port;
        Json bridge;
        bool ovs;
    } cases[] = {
        {R"({"binding:vif_details":{"bridge_name":"br-custom-long-name"}})",
         "br-custom-long",
         true},
        {R"({"binding:vif_type":"bridge"})", "brqnet", false},
        {R"({"binding:vif_type":"bridge","binding:vif_details":{"bridge_name":"br0"}})",
         "br0",
         false},
        {R"({"binding:vif_type":"vhostuser","binding:vif_details":{"vhostuser_ovs_plug":true}})",
         "br-int",
         true},
        {R"({"binding:vif_type":"vhostuser","binding:vif_details":{"vhostuser_fp_plug":true}})",
         "brqnet",
         false},
        {R"({"binding:vif_type":"hw_veb"})", Json(), false},
        {R"({"binding:vif_type":"unbound","binding:vif_details":null})", Json(), false},
    };
    for (const auto& one : cases) {
        http.forget("GET", ports_path);
        everything(one.port);
        const Json found = vif();
        EXPECT_EQ(found["network"]["bridge"].dump(), one.bridge.dump()) << one.port;
        EXPECT_EQ(found["ovs_interfaceid"].is_string(), one.ovs) << one.port;
        EXPECT_EQ(found["network"]["meta"].contains("should_create_bridge"),
                  found["type"].as_string() == "bridge")
            << one.port;
        EXPECT_TRUE(found["details"].is_object()) << one.port;
    }
}

TEST_F(NetworkInfo, OptionsOfTheHost) {
    options.ovs_bridge = "br-host";
    options.flat_injected = true;
    everything();
    const Json found = vif();
    EXPECT_EQ(found["network"]["bridge"].as_string(), "br-host");
    EXPECT_TRUE(found["network"]["meta"]["injected"].as_bool());
}

TEST_F(NetworkInfo, DhcpServersAreThoseOfDhcpPorts) {
    everything();
    instead(dhcp_path, 200, R"({"ports":[]})");
    const Json meta = vif()["network"]["subnets"].at(0)["meta"];
    EXPECT_FALSE(meta.contains("dhcp_server"));
    EXPECT_TRUE(meta["enable_dhcp"].as_bool());
}

TEST_F(NetworkInfo, SubnetsOfVersionSixWithoutGateway) {
    everything(R"({"fixed_ips":[{"subnet_id":"s","ip_address":"2001:db8::5"},
                                {"subnet_id":"s","ip_address":"2001:db8::6"}]})");
    instead("/v2.0/subnets?id=s",
            200,
            R"({"subnets":[{"id":"s","cidr":"2001:db8::/64","gateway_ip":null,"ip_version":6,
                "enable_dhcp":false,"ipv6_address_mode":"slaac"}]})");
    for (const char* digit : {"5", "6"})
        http.on("GET",
                std::string("/v2.0/floatingips?fixed_ip_address=2001%3Adb8%3A%3A") + digit +
                    "&port_id=port-id",
                200,
                R"({"floatingips":[]})");
    const Json subnet = vif()["network"]["subnets"].at(0);
    EXPECT_EQ(subnet["gateway"],
              json(R"({"address":null,"type":"gateway","version":null,"meta":{}})"));
    EXPECT_EQ(subnet["ips"].size(), 2U) << "both in one subnet";
    EXPECT_EQ(subnet["ips"].at(1)["version"].as_int(), 6);
    EXPECT_EQ(subnet["meta"]["ipv6_address_mode"].as_string(), "slaac");
    EXPECT_FALSE(subnet["meta"]["enable_dhcp"].as_bool(true));
}

TEST_F(NetworkInfo, APortWithoutAddressesAsksForNoSubnets) {
    everything(R"({"fixed_ips":[]})");
    EXPECT_EQ(vif()["network"]["subnets"].size(), 0U);
    for (const auto& call : http.calls())
        EXPECT_EQ(call.find("/subnets"), std::string::npos) << "an empty list would mean all";
}

TEST_F(NetworkInfo, ANeutronWithoutRouters) {
    everything();
    const std::string path = "/v2.0/floatingips?fixed_ip_address=10.0.0.5&port_id=port-id";
    for (const int status : {404, 403}) {
        instead(path, status, "{}");
        EXPECT_EQ(vif()["network"]["subnets"].at(0)["ips"].at(0)["floating_ips"].size(), 0U);
    }
    instead(path, 500, "{}");
    EXPECT_FALSE(read());
}

TEST_F(NetworkInfo, PhysicalNetworks) {
    everything();
    instead(
        provider_path,
        200,
        R"({"network":{"provider:physical_network":"physnet1","provider:network_type":"vlan"}})");
    const Json meta = vif()["network"]["meta"];
    EXPECT_EQ(meta["physical_network"].as_string(), "physnet1");
    EXPECT_FALSE(meta["tunneled"].as_bool(true));
}

TEST_F(NetworkInfo, SegmentsOfANetwork) {
    everything();
    instead("/v2.0/extensions", 200, R"({"extensions":[{"alias":"multi-provider"}]})");
    const std::string segments = "/v2.0/networks/net?fields=segments";
    instead(segments,
            200,
            R"({"network":{"segments":[{"provider:physical_network":null},
                {"provider:physical_network":"physnet2"}]}})");
    EXPECT_EQ(vif()["network"]["meta"]["physical_network"].as_string(), "physnet2");
    instead(segments, 200, R"({"network":{"segments":[{"provider:physical_network":null}]}})");
    const auto none = read();
    ASSERT_FALSE(none);
    EXPECT_THAT(none.error().text, HasSubstr("None of the segments of network net"));
    instead(segments, 200, R"({"network":{}})");
    EXPECT_TRUE(vif()["network"]["meta"]["tunneled"].as_bool());
}

TEST_F(NetworkInfo, VanishedAndUnknownPorts) {
    everything();
    EXPECT_EQ(read(R"([{"id":"gone"},{"id":"port-id"}])")->size(), 1U);
    EXPECT_EQ(read("[]")->size(), 0U) << "of another attachment under way";
    EXPECT_EQ(read_all("[]", {})->size(), 1U);
    EXPECT_EQ(read_all(R"([{"id":"port-id"},{"id":"gone"}])", {"gone", "port-id"})->size(), 1U)
        << "not twice, and none that Neutron does not have";
}

TEST_F(NetworkInfo, ANetworkThatIsNotVisible) {
    everything();
    instead("/v2.0/networks?id=net", 200, R"({"networks":[]})");
    const Json network = vif()["network"];
    EXPECT_TRUE(network["label"].is_null());
    EXPECT_EQ(network["meta"]["tenant_id"].as_string(), "p") << "the port's";
}

TEST_F(NetworkInfo, AFailingNeutronIsAnError) {
    everything();
    instead(ports_path, 503, "{}");
    const auto info = read();
    ASSERT_FALSE(info);
    EXPECT_EQ(info.error().code, Code::Unavailable);
    EXPECT_THAT(info.error().text, HasSubstr("Neutron GET /ports"));
}

} // namespace
} // namespace novalet::clients
