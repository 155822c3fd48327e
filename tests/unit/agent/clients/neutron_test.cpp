#include "agent/clients/neutron.hpp"

#include "tests/support/fake_http.hpp"

#include <gmock/gmock.h>

namespace novalet::clients {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using tests::FakeHttp;
using tests::json;

constexpr const char* server = "85e577bf-b9cc-42aa-8d73-00911c68bf6f";
constexpr const char* project = "bcabe51aada148ea876cbded69bb30db";
constexpr const char* port_a = "aaaaaaaa-0000-4000-8000-000000000001";
constexpr const char* port_b = "bbbbbbbb-0000-4000-8000-000000000002";
constexpr const char* ports_of_server = "/v2.0/ports?tenant_id=bcabe51aada148ea876cbded69bb30db"
                                        "&device_id=85e577bf-b9cc-42aa-8d73-00911c68bf6f";

/// Nova's records as the client keeps them.
class Records final : public PortRecords {
  public:
    Result<std::map<std::string, Json>> taken() override { return known; }
    Result<void> port_taken(const std::string& id, const std::string& mac, const Json&) override {
        if (fail_for == id)
            return fail(Code::Unavailable, "the conductor is away");
        events.push_back("taken " + id + " " + mac);
        return {};
    }
    Result<void> port_given_back(const std::string& id) override {
        events.push_back("given back " + id);
        return {};
    }
    std::vector<std::string> events;
    std::string fail_for;
    std::map<std::string, Json> known;
};

Json port(const std::string& id, const Json& more = Json::object()) {
    Json out = json(R"({"network_id":"net","tenant_id":"bcabe51aada148ea876cbded69bb30db",
        "mac_address":"fa:16:3e:00:00:01","admin_state_up":true,"status":"DOWN","device_id":"",
        "binding:vif_type":"ovs","binding:vif_details":{},"binding:vnic_type":"normal",
        "binding:profile":{},"fixed_ips":[]})");
    out.set("id", id);
    for (const auto& [key, value] : more.members())
        out.set(key, value);
    return out;
}

Json in(const char* name, Json value) {
    Json out = Json::object();
    out.set(name, std::move(value));
    return out;
}

Json neutron_error_of(const char* type) {
    Json error = Json::object();
    error.set("type", type).set("message", "Neutron's own words");
    return in("NeutronError", std::move(error));
}

class NeutronTest : public testing::Test {
  protected:
    NeutronTest() { http.give_token(); }

    Neutron& make() {
        if (neutron)
            return *neutron;
        ServiceOptions service;
        service.types = {"network"};
        service.endpoint_override = "http://neutron";
        service.pause = [this](Milliseconds span) { pauses.push_back(span.count()); };
        agent = std::make_unique<Keystone>(http, tests::test_account());
        neutron = std::make_unique<Neutron>(ServiceClient(http, *agent, service, nullptr), options);
        return *neutron;
    }

    static NetworkOwner owner() {
        NetworkOwner out;
        out.instance_uuid = server;
        out.project_id = project;
        out.availability_zone = "nova";
        out.hostname = "web";
        out.host = "compute1";
        return out;
    }
    static NetworkWish network(const std::string& id) {
        NetworkWish wish;
        wish.network_id = id;
        return wish;
    }
    static NetworkWish taken(const std::string& id) {
        NetworkWish wish;
        wish.port_id = id;
        return wish;
    }

    void extensions(const char* aliases) { http.on("GET", "/v2.0/extensions", 200, aliases); }
    void no_extensions() { extensions(R"({"extensions":[]})"); }
    void with_dns() { extensions(R"({"extensions":[{"alias":"dns-integration"}]})"); }

    /// The network "net" and what its document needs.
    void one_network(const char* more = "{}") {
        Json net = json(R"({"id":"net","name":"private","tenant_id":"t","mtu":1500,
            "subnets":["s"],"shared":false})");
        const Json extra = json(more);
        for (const auto& [key, value] : extra.members())
            net.set(key, value);
        http.on("GET", "/v2.0/networks?id=net", 200, in("networks", Json::Array{net}));
        http.on("GET",
                "/v2.0/networks/net?fields=provider%3Aphysical_network"
                "&fields=provider%3Anetwork_type",
                200,
                R"({"network":{"provider:network_type":"vxlan",
                    "provider:physical_network":null}})");
    }
    void creates(const std::string& id) {
        http.on("POST", "/v2.0/ports", 201, in("port", port(id)));
        http.on("PUT", "/v2.0/ports/" + id, 200, in("port", port(id)));
    }
    void lists(Json ports) { http.on("GET", ports_of_server, 200, in("ports", std::move(ports))); }

    Result<Json> allocate(std::vector<NetworkWish> wishes,
                          const std::vector<std::string>& groups = {}) {
        if (!http.knows("GET", ports_of_server))
            lists(Json::array());
        return make().allocate(context, owner(), wishes, groups, records);
    }
    void expect_failure(const Result<Json>& result, const char* exception) {
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().exception, exception) << result.error().text;
        EXPECT_EQ(result.error().module, "nova.exception");
    }

    FakeHttp http;
    Records records;
    std::unique_ptr<Keystone> agent;
    NeutronOptions options;
    std::unique_ptr<Neutron> neutron;
    std::vector<long> pauses;
    rpc::Context context{json(R"({"request_id":"req-1","auth_token":"user","is_admin":false})")};
    rpc::Context admin{json(R"({"request_id":"req-1","auth_token":"user","is_admin":true})")};
};

TEST_F(NeutronTest, APortIsMadeBoundAndRecorded) {
    no_extensions();
    one_network();
    creates(port_a);
    lists(Json::Array{port(port_a)});
    auto wish = network("net");
    wish.fixed_ip = "10.0.0.9";
    const auto info = allocate({wish}, {"default"});
    ASSERT_TRUE(info) << info.error().text;
    EXPECT_EQ(http.body_of("POST", "/v2.0/ports"), json(R"({"port":{
        "device_id":"85e577bf-b9cc-42aa-8d73-00911c68bf6f","network_id":"net",
        "admin_state_up":true,"tenant_id":"bcabe51aada148ea876cbded69bb30db",
        "fixed_ips":[{"ip_address":"10.0.0.9"}]}})"));
    EXPECT_EQ(http.only("POST", "/v2.0/ports").headers.at("X-Auth-Token"), "user");
    const std::string path = std::string("/v2.0/ports/") + port_a;
    EXPECT_EQ(http.body_of("PUT", path), json(R"({"port":{
        "device_id":"85e577bf-b9cc-42aa-8d73-00911c68bf6f","device_owner":"compute:nova",
        "binding:host_id":"compute1"}})"));
    EXPECT_EQ(http.only("PUT", path).headers.at("X-Auth-Token"), "agent");
    EXPECT_THAT(records.events, ElementsAre(std::string("taken ") + port_a + " fa:16:3e:00:00:01"));
    ASSERT_EQ(info->size(), 1U);
    EXPECT_EQ(info->at(0)["id"].as_string(), port_a);
    EXPECT_FALSE(info->at(0)["preserve_on_delete"].as_bool(true));
    EXPECT_EQ(info->at(0)["network"]["label"].as_string(), "private");
}

TEST_F(NeutronTest, TheUsersPortIsTakenWithItsProfile) {
    with_dns();
    one_network();
    const auto given = port(port_a, json(R"({"binding:profile":{"trusted":"true"}})"));
    const std::string path = std::string("/v2.0/ports/") + port_a;
    http.on("GET", path, 200, in("port", given)).on("PUT", path, 200, in("port", given));
    lists(Json::Array{port(port_b), given}); // another one of the instance
    const auto info = allocate({taken(port_a)});
    ASSERT_TRUE(info) << info.error().text;
    EXPECT_EQ(http.body_of("PUT", path), json(R"({"port":{
        "device_id":"85e577bf-b9cc-42aa-8d73-00911c68bf6f","device_owner":"compute:nova",
        "binding:host_id":"compute1","binding:profile":{"trusted":"true"},"dns_name":"web"}})"));
    ASSERT_EQ(info->size(), 1U) << "only what this call handled";
    EXPECT_TRUE(info->at(0)["preserve_on_delete"].as_bool());
}

TEST_F(NeutronTest, ExternalDnsIsNamedByTheUserAfterwards) {
    with_dns();
    one_network(R"({"dns_domain":"example.org."})");
    const std::string path = std::string("/v2.0/ports/") + port_a;
    http.on("POST", "/v2.0/ports", 201, in("port", port(port_a)));
    http.on("PUT", path, 200, in("port", port(port_a)));
    lists(Json::Array{port(port_a)});
    ASSERT_TRUE(allocate({network("net")}));
    std::vector<HttpRequest> puts;
    for (const auto& request : http.requests())
        if (request.method == "PUT")
            puts.push_back(request);
    ASSERT_EQ(puts.size(), 2U);
    EXPECT_THAT(puts[0].body, Not(HasSubstr("dns_name")));
    EXPECT_EQ(puts[0].headers.at("X-Auth-Token"), "agent");
    EXPECT_EQ(*Json::parse(puts[1].body), json(R"({"port":{"dns_name":"web"}})"));
    EXPECT_EQ(puts[1].headers.at("X-Auth-Token"), "user");
}

TEST_F(NeutronTest, AnInvalidHostnameInExternalDnsUndoesAll) {
    with_dns();
    one_network(R"({"dns_domain":"example.org."})");
    const std::string path = std::string("/v2.0/ports/") + port_a;
    http.on("POST", "/v2.0/ports", 201, in("port", port(port_a)));
    http.on("PUT", path, 200, in("port", port(port_a))).on("PUT", path, 400, Json());
    http.on("DELETE", path, 204);
    expect_failure(allocate({network("net")}), "InvalidInput");
    EXPECT_THAT(http.calls(), Contains("DELETE " + path));
    EXPECT_THAT(records.events, Contains(std::string("given back ") + port_a));
}

TEST_F(NeutronTest, RequestedPortsAreChecked) {
    no_extensions();
    const std::string path = std::string("/v2.0/ports/") + port_a;
    const struct {
        const char* more;
        const char* exception;
    } cases[] = {
        {R"({"tenant_id":"another"})", "PortNotUsable"},
        {R"({"device_id":"another server"})", "PortInUse"},
        {R"({"dns_name":"db"})", "PortNotUsableDNS"},
        {R"({"binding:vif_type":"binding_failed"})", "PortBindingFailed"},
    };
    for (const auto& one : cases) {
        http.forget("GET", path);
        http.on("GET", path, 200, in("port", port(port_a, json(one.more))));
        expect_failure(allocate({taken(port_a)}), one.exception);
    }
    http.forget("GET", path);
    http.on("GET", path, 404);
    expect_failure(allocate({taken(port_a)}), "PortNotFound");
    expect_failure(allocate({taken("../networks")}), "PortNotFound");
    for (const auto& call : http.calls())
        EXPECT_EQ(call, "GET " + path) << "nothing was changed";
}

TEST_F(NeutronTest, NetworksAreChecked) {
    no_extensions();
    one_network();
    http.on("GET", "/v2.0/networks?id=gone", 200, R"({"networks":[]})");
    expect_failure(allocate({network("gone")}), "NetworkNotFound");

    http.on("GET",
            "/v2.0/networks?id=wan",
            200,
            R"({"networks":[{"id":"wan","router:external":true,"shared":false,"subnets":["s"]}]})");
    expect_failure(allocate({network("wan")}), "ExternalNetworkAttachForbidden");

    http.on("GET", "/v2.0/networks?id=l2", 200, R"({"networks":[{"id":"l2","subnets":[]}]})");
    expect_failure(allocate({network("l2")}), "SecurityGroupCannotBeApplied");

    http.on("GET",
            "/v2.0/networks?id=open",
            200,
            R"({"networks":[{"id":"open","subnets":[],"port_security_enabled":false}]})");
    http.on("GET",
            std::string("/v2.0/security-groups?fields=id&fields=name&tenant_id=") + project,
            200,
            R"({"security_groups":[{"id":"g1","name":"web"}]})");
    expect_failure(allocate({network("open")}, {"web"}), "SecurityGroupCannotBeApplied");
    for (const auto& call : http.calls())
        EXPECT_TRUE(call.starts_with("GET ")) << call;
}

TEST_F(NeutronTest, AnAdministratorMayUseExternalNetworks) {
    no_extensions();
    one_network(R"({"router:external":true})");
    creates(port_a);
    lists(Json::Array{port(port_a)});
    context = admin;
    EXPECT_TRUE(allocate({network("net")}));
}

TEST_F(NeutronTest, RefusalsOfANewPortHaveNovasNames) {
    no_extensions();
    one_network();
    const std::pair<const char*, const char*> cases[] = {
        {"IpAddressInUse", "FixedIpAlreadyInUse"},
        {"IpAddressAlreadyAllocated", "FixedIpAlreadyInUse"},
        {"OverQuota", "PortLimitExceeded"},
        {"IpAddressGenerationFailure", "NoMoreFixedIps"},
        {"InvalidIpForNetwork", "InvalidInput"},
    };
    for (const auto& [type, exception] : cases) {
        http.forget("POST", "/v2.0/ports");
        http.on("POST", "/v2.0/ports", 409, neutron_error_of(type));
        expect_failure(allocate({network("net")}), exception);
    }
    http.forget("POST", "/v2.0/ports");
    http.on("POST", "/v2.0/ports", 403, neutron_error_of("PolicyNotAuthorized"));
    expect_failure(allocate({network("net")}), "Forbidden");
    http.forget("POST", "/v2.0/ports");
    http.on("POST", "/v2.0/ports", 400, neutron_error_of("Strange"));
    const auto strange = allocate({network("net")});
    ASSERT_FALSE(strange);
    EXPECT_THAT(strange.error().text, HasSubstr("Neutron's own words"));
    EXPECT_TRUE(records.events.empty());
}

TEST_F(NeutronTest, RefusalsOfABindingHaveNovasNames) {
    no_extensions();
    one_network();
    http.on("POST", "/v2.0/ports", 201, in("port", port(port_a)));
    const std::string path = std::string("/v2.0/ports/") + port_a;
    http.on("DELETE", path, 204);
    const std::pair<const char*, const char*> cases[] = {
        {"MacAddressInUse", "PortInUse"},
        {"HostNotCompatibleWithFixedIps", "FixedIpInvalidOnHost"},
    };
    for (const auto& [type, exception] : cases) {
        http.forget("PUT", path);
        http.on("PUT", path, 409, neutron_error_of(type));
        expect_failure(allocate({network("net")}), exception);
    }
    http.forget("PUT", path);
    http.on("PUT",
            path,
            200,
            in("port", port(port_a, json(R"({"binding:vif_type":"binding_failed"})"))));
    const auto failed = allocate({network("net")});
    expect_failure(failed, "PortBindingFailed");
    EXPECT_THAT(failed.error().text, HasSubstr("compute1"));
    http.forget("PUT", path);
    http.on("PUT", path, 401);
    expect_failure(allocate({network("net")}), "NeutronAdminCredentialConfigurationInvalid");
    EXPECT_TRUE(records.events.empty()) << "never recorded";
}

TEST_F(NeutronTest, AFailureHalfWayLeavesNothingBehind) {
    no_extensions();
    one_network();
    const std::string given = std::string("/v2.0/ports/") + port_a;
    const std::string made = std::string("/v2.0/ports/") + port_b;
    http.on("GET", given, 200, in("port", port(port_a)));
    http.on("PUT", given, 200, in("port", port(port_a)));
    http.on("GET",
            given + "?fields=binding%3Aprofile&fields=network_id",
            200,
            R"({"port":{"network_id":"net","binding:profile":{"trusted":"true","pci_slot":"x"}}})");
    http.on("POST", "/v2.0/ports", 201, in("port", port(port_b)));
    http.on("PUT", made, 200, in("port", port(port_b)));
    http.on("DELETE", made, 204);
    records.fail_for = port_b;
    const auto failed = allocate({taken(port_a), network("net")});
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().text, "the conductor is away");
    EXPECT_THAT(records.events,
                ElementsAre(std::string("taken ") + port_a + " fa:16:3e:00:00:01",
                            std::string("given back ") + port_a));
    EXPECT_THAT(http.calls(), Contains("DELETE " + made));
    EXPECT_THAT(http.calls(), Not(Contains("DELETE " + given)));
    const auto last = http.requests().end()[-2]; // the unbinding, before the deletion
    EXPECT_EQ(last.url, "http://neutron" + given);
    EXPECT_EQ(*Json::parse(last.body),
              json(R"({"port":{"binding:host_id":null,"device_id":"","device_owner":"",
                       "binding:profile":{"trusted":"true"}}})"));
}

TEST_F(NeutronTest, ANetworkWithBandwidthGuaranteesIsRefused) {
    no_extensions();
    one_network();
    http.on("POST",
            "/v2.0/ports",
            201,
            in("port", port(port_a, json(R"({"resource_request":{"required":["T"]}})"))));
    http.on("DELETE", std::string("/v2.0/ports/") + port_a, 204);
    expect_failure(allocate({network("net")}), "NetworksWithQoSPolicyNotSupported");
    EXPECT_THAT(http.calls(), Contains(std::string("DELETE /v2.0/ports/") + port_a));
}

TEST_F(NeutronTest, APortWithBandwidthNamesItsProviders) {
    extensions(R"({"extensions":[{"alias":"port-resource-request-groups"}]})");
    one_network();
    const auto given = port(port_a, json(R"({"resource_request":{"request_groups":
        [{"id":"g1"},{"id":"g2"}]}})"));
    const std::string path = std::string("/v2.0/ports/") + port_a;
    http.on("GET", path, 200, in("port", given)).on("PUT", path, 200, in("port", given));
    lists(Json::Array{given});
    auto who = owner();
    who.providers = {{"g1", "rp1"}, {"g2", "rp2"}};
    const auto info = make().allocate(context, who, {taken(port_a)}, {}, records);
    ASSERT_TRUE(info) << info.error().text;
    EXPECT_EQ(http.body_of("PUT", path)["port"]["binding:profile"],
              json(R"({"allocation":{"g1":"rp1","g2":"rp2"}})"));

    const auto missing = make().allocate(context, owner(), {taken(port_a)}, {}, records);
    expect_failure(missing, "PortUpdateFailed");
    EXPECT_THAT(missing.error().text, HasSubstr("'g1'"));
}

TEST_F(NeutronTest, WithoutAWishTheOnlyNetwork) {
    no_extensions();
    one_network();
    creates(port_a);
    lists(Json::Array{port(port_a)});
    const std::string own = std::string("/v2.0/networks?tenant_id=") + project + "&shared=False";
    http.on("GET", own, 200, R"({"networks":[{"id":"net","name":"n","subnets":["s"]}]})");
    http.on("GET", "/v2.0/networks?shared=True", 200, R"({"networks":[]})");
    const auto info = allocate({});
    ASSERT_TRUE(info) << info.error().text;
    EXPECT_EQ(info->size(), 1U);

    http.forget("GET", "/v2.0/networks?shared=True");
    http.on("GET", "/v2.0/networks?shared=True", 200, R"({"networks":[{"id":"b"}]})");
    expect_failure(allocate({}), "NetworkAmbiguous");

    http.forget("GET", "/v2.0/networks?shared=True");
    http.forget("GET", own);
    http.on("GET", own, 200, R"({"networks":[]})");
    http.on("GET", "/v2.0/networks?shared=True", 200, R"({"networks":[]})");
    EXPECT_EQ(allocate({})->size(), 0U) << "none at all is fine when none was asked for";
    expect_failure(allocate({NetworkWish{}}), "InterfaceAttachFailedNoNetwork");
}

TEST_F(NeutronTest, AutoAllocatedNetwork) {
    no_extensions();
    one_network();
    creates(port_a);
    lists(Json::Array{port(port_a)});
    http.on("GET",
            std::string("/v2.0/networks?tenant_id=") + project +
                "&shared=False&admin_state_up=True",
            200,
            R"({"networks":[]})");
    http.on("GET", "/v2.0/networks?shared=True", 200, R"({"networks":[]})");
    const std::string topology = std::string("/v2.0/auto-allocated-topology/") + project;
    http.on("GET", topology, 409);
    expect_failure(allocate({network("auto")}), "UnableToAutoAllocateNetwork");
    http.forget("GET", topology);
    http.on("GET", topology, 200, R"({"auto_allocated_topology":{"id":"net"}})");
    http.on("GET", "/v2.0/networks/net", 200, R"({"network":{"id":"net","subnets":["s"]}})");
    const auto info = allocate({network("auto")});
    ASSERT_TRUE(info) << info.error().text;
    EXPECT_EQ(http.body_of("POST", "/v2.0/ports")["port"]["network_id"].as_string(), "net");
}

TEST_F(NeutronTest, SecurityGroupsByIdAndName) {
    extensions(R"({"extensions":[{"alias":"security-groups-shared-filtering"}]})");
    one_network();
    creates(port_a);
    lists(Json::Array{port(port_a)});
    http.on("GET",
            std::string("/v2.0/security-groups?fields=id&fields=name&tenant_id=") + project,
            200,
            R"({"security_groups":[{"id":"g1","name":"web"},{"id":"g2","name":"g1"},
                {"id":"g3","name":"twice"},{"id":"g4","name":"twice"}]})");
    http.on("GET",
            "/v2.0/security-groups?fields=id&fields=name&shared=True",
            200,
            R"({"security_groups":[{"id":"s1","name":"ours"},{"id":"g1","name":"web"}]})");
    ASSERT_TRUE(allocate({network("net")}, {"g1", "web", "ours"}));
    EXPECT_EQ(http.body_of("POST", "/v2.0/ports")["port"]["security_groups"],
              json(R"(["g1","g1","s1"])"))
        << "an id wins over the same text as a name";
    expect_failure(allocate({network("net")}, {"twice"}), "NoUniqueMatch");
    expect_failure(allocate({network("net")}, {"none such"}), "SecurityGroupNotFound");
}

TEST_F(NeutronTest, FailuresThatMayPassAreTriedAgain) {
    no_extensions();
    one_network();
    options.allocate_retries = 2;
    http.on("POST", "/v2.0/ports", 503)
        .on("POST", "/v2.0/ports", 503)
        .on("POST", "/v2.0/ports", 201, in("port", port(port_a)));
    http.on("PUT", std::string("/v2.0/ports/") + port_a, 200, in("port", port(port_a)));
    lists(Json::Array{port(port_a)});
    const auto info = allocate({network("net")});
    ASSERT_TRUE(info) << info.error().text;
    EXPECT_THAT(pauses, ElementsAre(1000, 2000));

    http.on("GET", "/v2.0/networks?id=gone", 200, R"({"networks":[]})");
    expect_failure(allocate({network("gone")}), "NetworkNotFound");
    EXPECT_EQ(pauses.size(), 2U) << "waiting would not help";
}

TEST_F(NeutronTest, DeallocationDeletesAndUnbinds) {
    with_dns();
    const std::string made = std::string("/v2.0/ports/") + port_a;
    const std::string given = std::string("/v2.0/ports/") + port_b;
    http.on("GET",
            std::string("/v2.0/ports?device_id=") + server,
            200,
            in("ports", Json::Array{port(port_a), port(port_b)}));
    http.on("DELETE", made, 404); // gone already
    http.on("GET",
            given + "?fields=binding%3Aprofile&fields=network_id",
            200,
            R"({"port":{"network_id":"net","binding:profile":{"allocation":"rp","x":1}}})");
    http.on("GET", "/v2.0/networks/net?fields=dns_domain", 200, R"({"network":{}})");
    http.on("PUT", given, 200, in("port", port(port_b)));
    auto& client = make();
    const auto done = client.deallocate(context, owner(), {port_b});
    ASSERT_TRUE(done) << done.error().text;
    EXPECT_EQ(http.body_of("PUT", given), json(R"({"port":{"binding:host_id":null,"device_id":"",
        "device_owner":"","binding:profile":{"x":1},"dns_name":""}})"));
    EXPECT_EQ(http.only("DELETE", made).headers.at("X-Auth-Token"), "user");
}

TEST_F(NeutronTest, UnbindingClearsTheNameInExternalDnsAsTheUser) {
    with_dns();
    const std::string given = std::string("/v2.0/ports/") + port_b;
    http.on("GET",
            std::string("/v2.0/ports?device_id=") + server,
            200,
            in("ports", Json::Array{port(port_b)}));
    http.on("GET",
            given + "?fields=binding%3Aprofile&fields=network_id",
            200,
            R"({"port":{"network_id":"net","binding:profile":{}}})");
    http.on("GET",
            "/v2.0/networks/net?fields=dns_domain",
            200,
            R"({"network":{"dns_domain":"example.org."}})");
    http.on("PUT", given, 200, in("port", port(port_b)));
    ASSERT_TRUE(make().deallocate(context, owner(), {port_b}));
    const auto requests = http.requests();
    EXPECT_EQ(requests.end()[-2].body, R"({"port":{"dns_name":""}})");
    EXPECT_EQ(requests.end()[-2].headers.at("X-Auth-Token"), "user");
    EXPECT_THAT(requests.back().body, HasSubstr("device_id")) << "unbound last: it is found again";
    EXPECT_THAT(requests.back().body, Not(HasSubstr("dns_name")));
}

TEST_F(NeutronTest, DeallocationTriesAllAndTellsTheFirstFailure) {
    no_extensions();
    http.on("GET",
            std::string("/v2.0/ports?device_id=") + server,
            200,
            in("ports", Json::Array{port(port_a), port(port_b)}));
    http.on("DELETE", std::string("/v2.0/ports/") + port_a, 500);
    http.on("DELETE", std::string("/v2.0/ports/") + port_b, 204);
    const auto done = make().deallocate(context, owner(), {});
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().text, HasSubstr(port_a));
    EXPECT_EQ(http.calls().size(), 3U);
}

TEST_F(NeutronTest, NoInstanceMeansNoRequest) {
    auto nobody = owner();
    nobody.instance_uuid.clear();
    auto& client = make();
    EXPECT_FALSE(client.deallocate(context, nobody, {}));
    EXPECT_FALSE(client.network_info(context, nobody, Json::array()));
    EXPECT_FALSE(client.bind_to_host(context, nobody));
    EXPECT_FALSE(client.allocate(context, nobody, {}, {}, records));
    EXPECT_THAT(http.requests(), IsEmpty());
}

TEST_F(NeutronTest, PortsElsewhereAreBoundToThisHost) {
    lists(Json::Array{
        port(port_a, json(R"({"binding:host_id":"compute1"})")),
        port(port_b, json(R"({"binding:host_id":"old","binding:profile":{"migrating_to":"compute1",
                      "trusted":"true"}})"))});
    const std::string moved = std::string("/v2.0/ports/") + port_b;
    http.on("PUT", moved, 200, in("port", port(port_b)));
    ASSERT_TRUE(make().bind_to_host(context, owner()));
    EXPECT_EQ(http.body_of("PUT", moved), json(R"({"port":{"binding:host_id":"compute1",
        "device_owner":"compute:nova","binding:profile":{"trusted":"true"}}})"));
    EXPECT_EQ(http.calls().size(), 2U);
}

TEST_F(NeutronTest, ABadBindingIsMadeAnewWithoutTouchingTheProfile) {
    lists(Json::Array{port(
        port_a, json(R"({"binding:host_id":"compute1","binding:vif_type":"binding_failed"})"))});
    http.on("PUT", std::string("/v2.0/ports/") + port_a, 200, in("port", port(port_a)));
    ASSERT_TRUE(make().bind_to_host(context, owner()));
    EXPECT_FALSE(http.body_of("PUT", std::string("/v2.0/ports/") + port_a)["port"].contains(
        "binding:profile"));
}

TEST_F(NeutronTest, IdsAreEscaped) {
    no_extensions();
    http.on("GET", "/v2.0/networks?id=a%26b%2F..", 200, R"({"networks":[]})");
    expect_failure(allocate({network("a&b/..")}), "NetworkNotFound");
}

} // namespace
} // namespace novalet::clients
