#include "agent/tasks/peers/nova_peers.hpp"

#include "agent/tasks/records/operation.hpp"
#include "tests/support/fake_conductor.hpp"
#include "tests/support/fake_neutron.hpp"
#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using tests::FakeNeutron;
using tests::host_name;
using tests::json;
using tests::nova_object;
using tests::server_uuid;
using Loss = FakeNeutron::Loss;

constexpr const char* users_port = "cccccccc-0000-4000-8000-000000000003";

/// A cloud with two networks and a port that the user brings along.
class World {
  public:
    World() {
        neutron.put_network("net1");
        neutron.put_network("net2");
        neutron.put_port(users_port, "net2", json(R"({"name":"mine"})"));
        bus.put_instance(tests::server_in("building", "networking"));
        new_process();
    }
    /// Nothing is known but what Neutron and the conductor keep.
    void new_process() {
        neutron.revive();
        bus.set_outage(false);
        bus.before = nullptr;
        networks.reset();
        clients::ServiceOptions options;
        options.endpoint_override = "http://neutron";
        account = std::make_unique<clients::Keystone>(neutron, tests::test_account());
        client = std::make_unique<clients::Neutron>(
            clients::ServiceClient(neutron, *account, options, nullptr), clients::NeutronOptions{});
        networks = std::make_unique<NovaNetworks>(*client, conductor, host_name);
    }
    objects::Object instance() {
        auto record =
            conductor.get_instance(server_uuid, {"info_cache", "system_metadata"}, context);
        EXPECT_TRUE(record) << record.error().text;
        return std::move(*record);
    }
    Json cache() { return cached_network_info(instance()); }
    void set_cache(const Json& info) {
        auto record = instance();
        ASSERT_TRUE(conductor.save_network_info(record, info, context));
    }
    Result<Json> allocate() {
        auto record = objects::Object::from_primitive(
            nova_object("Instance", "2.7", bus.instance(server_uuid)));
        return networks->allocate(context, record, wishes(), Json::Array{"default"});
    }
    Result<void> deallocate(const Json& requested = {}) {
        auto record = instance();
        return networks->deallocate(context, record, requested);
    }
    Result<Json> heal() {
        auto record = instance();
        return networks->heal(context, record);
    }
    Result<Json> refresh(const std::string& port = {}) {
        auto record = instance();
        return networks->refresh(context, record, port);
    }
    Result<Json> bind() {
        auto record = instance();
        return networks->bind_to_host(context, record);
    }

    /// Several ports of one network, one of them with an address, tags, and the user's own port.
    static Json wishes() {
        Json list = Json::array();
        for (const char* wish :
             {R"({"network_id":"net1","address":null,"port_id":null,"tag":"front"})",
              R"({"network_id":"net1","address":null,"port_id":null,"tag":null})",
              R"({"network_id":"net1","address":"10.0.0.9","port_id":null,"tag":"fixed"})",
              R"({"network_id":null,"address":null,
                  "port_id":"cccccccc-0000-4000-8000-000000000003","tag":"own"})",
              R"({"network_id":"net2","address":null,"port_id":null,"tag":"back"})"})
            list.push_back(nova_object("NetworkRequest", "1.3", json(wish)));
        return nova_object("NetworkRequestList", "1.1", Json::object().set("objects", list));
    }
    /// Each wish is met once, in order, bound, recorded with its tag, and in the cache.
    void expect_allocated(const Result<Json>& info) {
        ASSERT_TRUE(info) << info.error().text;
        ASSERT_EQ(info->size(), 5U) << info->dump();
        std::vector<std::string> ids;
        for (const auto& vif : info->items())
            ids.push_back(vif["id"].as_string());
        EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), 5U) << "each once";
        const char* const networks_in_order[] = {"net1", "net1", "net1", "net2", "net2"};
        const char* const tags[] = {"front", "", "fixed", "own", "back"};
        for (std::size_t i = 0; i < ids.size(); ++i) {
            const Json port = neutron.port(ids[i]);
            EXPECT_EQ(port["network_id"].as_string(), networks_in_order[i]) << i;
            EXPECT_EQ(port["binding:host_id"].as_string(), host_name) << i;
            EXPECT_EQ(port["device_owner"].as_string(), "compute:nova") << i;
            EXPECT_EQ(bus.interface_of(ids[i])["tag"].as_string(), tags[i]) << i;
            EXPECT_EQ(info->at(i)["preserve_on_delete"].as_bool(), i == 3) << i;
        }
        EXPECT_EQ(neutron.port(ids[2])["fixed_ips"].at(0)["ip_address"].as_string(), "10.0.0.9");
        EXPECT_EQ(ids[3], users_port);
        EXPECT_EQ(neutron.ports_of(server_uuid).size(), 5U) << "and no other";
        EXPECT_EQ(bus.recorded_ports(server_uuid), ids);
        EXPECT_EQ(cache(), *info);
    }
    void expect_nothing() {
        EXPECT_EQ(neutron.ports(), 1U) << "only what the user made is left";
        const Json mine = neutron.port(users_port);
        EXPECT_EQ(mine["device_id"].as_string("none"), "");
        EXPECT_EQ(mine["device_owner"].as_string("none"), "");
        EXPECT_TRUE(mine["binding:host_id"].as_string().empty());
        EXPECT_THAT(bus.recorded_ports(server_uuid), IsEmpty());
    }

    tests::Diary diary;
    tests::FakeConductor bus{diary};
    objects::Conductor conductor{bus, objects::release_by_name("zed").value(), Milliseconds(1000)};
    FakeNeutron neutron;
    std::unique_ptr<clients::Keystone> account;
    std::unique_ptr<clients::Neutron> client;
    std::unique_ptr<NovaNetworks> networks;
    rpc::Context context{json(R"({"request_id":"req-1","auth_token":"user","is_admin":true,
        "service_catalog":[]})")};
};

std::string at(std::size_t number, Loss loss, const World& world) {
    return cat("request ", number, loss == Loss::Call ? " lost" : " without an answer", " of ") +
           testing::PrintToString(world.neutron.calls());
}

TEST(NovaNetworks, AllocateMeetsEachWishOnceAndDeallocateLeavesTheUsersPort) {
    World world;
    world.expect_allocated(world.allocate());
    EXPECT_EQ(world.neutron.count("POST /v2.0/ports"), 4U);
    EXPECT_TRUE(world.deallocate());
    world.expect_nothing();
    EXPECT_EQ(world.cache(), Json::array());
    EXPECT_THAT(world.bus.unknown(), IsEmpty());
}

TEST(NovaNetworks, ARepeatedAllocationChangesNothing) {
    World world;
    ASSERT_TRUE(world.allocate());
    world.new_process();
    world.expect_allocated(world.allocate());
    EXPECT_EQ(world.neutron.count("POST"), 0U);
    EXPECT_EQ(world.neutron.count("PUT"), 0U);
    EXPECT_EQ(world.neutron.count("DELETE"), 0U);
}

TEST(NovaNetworks, AllocationGoesOnAfterACrashAtAnyRequest) {
    World clean;
    ASSERT_TRUE(clean.allocate());
    const std::size_t requests = clean.neutron.calls().size();
    ASSERT_GT(requests, 15U);
    for (std::size_t number = 0; number < requests; ++number)
        for (const Loss loss : {Loss::Call, Loss::Answer}) {
            World world;
            world.neutron.on_death = [&] { world.bus.set_outage(true); };
            world.neutron.die_at(number, loss);
            EXPECT_FALSE(world.allocate());
            SCOPED_TRACE(at(number, loss, world));
            world.new_process();
            world.expect_allocated(world.allocate());
            EXPECT_TRUE(world.deallocate());
            world.expect_nothing();
        }
}

TEST(NovaNetworks, AllocationGoesOnAfterACrashAtAnyRecord) {
    World clean;
    std::size_t records = 0;
    clean.bus.before = [&](const std::string&) { ++records; };
    ASSERT_TRUE(clean.allocate());
    ASSERT_GE(records, 6U) << "five interfaces and the cache";
    for (std::size_t number = 0; number < records; ++number)
        for (const Loss loss : {Loss::Call, Loss::Answer}) {
            World world;
            std::size_t seen = 0;
            world.bus.before = [&](const std::string& call) {
                if (seen == number) {
                    world.neutron.die();
                    if (loss == Loss::Answer)
                        world.bus.lose_answer(call);
                }
                if (seen > number || (seen == number && loss == Loss::Call))
                    world.bus.set_outage(true);
                ++seen;
            };
            const auto cut_off = world.allocate();
            ASSERT_FALSE(cut_off);
            EXPECT_TRUE(control_plane_unreachable(cut_off.error())) << "it is started over";
            SCOPED_TRACE(cat("record ", number, loss == Loss::Call ? " lost" : " unanswered"));
            world.new_process();
            world.expect_allocated(world.allocate());
            EXPECT_TRUE(world.deallocate());
            world.expect_nothing();
        }
}

TEST(NovaNetworks, AConductorThatDoesNotAnswerUndoesNothing) {
    World world;
    world.bus.lose("VirtualInterface.create");
    ASSERT_FALSE(world.allocate());
    EXPECT_EQ(world.neutron.count("DELETE"), 0U);
    world.new_process();
    world.expect_allocated(world.allocate());
    EXPECT_EQ(world.neutron.count("POST"), 0U) << "all ports were there";
}

TEST(NovaNetworks, ARequestLostOnTheWayIsMetOrUndone) {
    World clean;
    ASSERT_TRUE(clean.allocate());
    const std::size_t requests = clean.neutron.calls().size();
    for (std::size_t number = 0; number < requests; ++number)
        for (const Loss loss : {Loss::Call, Loss::Answer}) {
            World world;
            world.neutron.lose(number, loss);
            const auto first = world.allocate();
            SCOPED_TRACE(at(number, loss, world));
            const bool made = clean.neutron.calls()[number] == "POST /v2.0/ports";
            EXPECT_EQ(first.has_value(), made && loss == Loss::Answer)
                << "only a port whose answer was lost can be found again";
            if (!first)
                world.expect_nothing();
            world.new_process();
            world.expect_allocated(first ? first : world.allocate());
            EXPECT_TRUE(world.deallocate());
            world.expect_nothing();
        }
}

TEST(NovaNetworks, DeallocationIsCompleteWhenRepeated) {
    for (const Json& requested : {Json(), World::wishes()}) {
        World clean;
        ASSERT_TRUE(clean.allocate());
        clean.neutron.revive();
        ASSERT_TRUE(clean.deallocate(requested));
        const std::size_t requests = clean.neutron.calls().size();
        ASSERT_GT(requests, 6U);
        for (std::size_t number = 0; number < requests; ++number)
            for (const Loss loss : {Loss::Call, Loss::Answer}) {
                World world;
                ASSERT_TRUE(world.allocate());
                world.new_process();
                world.neutron.lose(number, loss);
                const auto first = world.deallocate(requested);
                SCOPED_TRACE(at(number, loss, world));
                EXPECT_NE(world.neutron.port(users_port), Json()) << "the user's own";
                world.new_process();
                EXPECT_TRUE(first || world.deallocate(requested));
                world.expect_nothing();
                EXPECT_EQ(world.cache(), Json::array());
                EXPECT_TRUE(world.deallocate(requested)) << "nothing is there, nothing is wrong";
            }
    }
}

TEST(NovaNetworks, APortThatNeutronRefusesToUnbindStaysInTheCache) {
    World world;
    ASSERT_TRUE(world.allocate());
    world.neutron.refuse("PUT /v2.0/ports/" + std::string(users_port), 400);
    EXPECT_TRUE(world.deallocate()) << "it does not keep the server";
    const auto left = world.cache();
    ASSERT_EQ(left.size(), 1U);
    EXPECT_EQ(left.at(0)["id"].as_string(), users_port);
    world.new_process();
    EXPECT_TRUE(world.deallocate());
    world.expect_nothing();
}

TEST(NovaNetworks, APortThatAnEarlierAttemptMadeTooMuchIsRemoved) {
    World world;
    ASSERT_TRUE(world.allocate());
    const Json of_server = Json::object().set("device_id", server_uuid);
    world.neutron.put_port("dddddddd-0000-4000-8000-000000000004", "net1", of_server);
    Json named = of_server;
    world.neutron.put_port(
        "eeeeeeee-0000-4000-8000-000000000005", "net1", named.set("name", "the user's"));
    const auto recorded =
        world.conductor.create_virtual_interface(server_uuid,
                                                 "dddddddd-0000-4000-8000-000000000004",
                                                 "fa:16:3e:00:00:44",
                                                 {},
                                                 world.context);
    ASSERT_TRUE(recorded);
    world.new_process();
    ASSERT_TRUE(world.allocate());
    EXPECT_EQ(world.bus.recorded_ports(server_uuid).size(), 5U);
    EXPECT_EQ(world.neutron.port("dddddddd-0000-4000-8000-000000000004"), Json());
    EXPECT_NE(world.neutron.port("eeeeeeee-0000-4000-8000-000000000005"), Json());
}

// --- the info cache

std::vector<std::string> ids(const Result<Json>& info) {
    EXPECT_TRUE(info) << info.error().text;
    std::vector<std::string> out;
    if (info)
        for (const auto& vif : info->items())
            out.push_back(vif["id"].as_string());
    return out;
}

/// A server with its five ports, and their ids in order.
class HealTest : public testing::Test {
  protected:
    void SetUp() override {
        const auto info = world.allocate();
        ASSERT_TRUE(info) << info.error().text;
        whole = *info;
        order = ids(info);
        world.new_process();
    }
    [[nodiscard]] Json without(std::size_t index) const {
        Json out = Json::array();
        for (std::size_t i = 0; i < whole.size(); ++i)
            if (i != index)
                out.push_back(whole.at(i));
        return out;
    }
    World world;
    Json whole;
    std::vector<std::string> order;
};

TEST_F(HealTest, APortThatTheCacheLostReturnsToItsPlace) {
    for (std::size_t lost = 0; lost < order.size(); ++lost) {
        world.set_cache(without(lost));
        EXPECT_EQ(ids(world.heal()), order);
        EXPECT_EQ(ids(world.cache()), order) << "and it is saved";
    }
    world.set_cache(Json::array());
    EXPECT_EQ(ids(world.heal()), order) << "the whole of it";
}

TEST_F(HealTest, WhoseAPortIsStaysKnown) {
    world.set_cache(without(0));
    const auto info = world.heal();
    ASSERT_TRUE(info);
    EXPECT_TRUE(info->at(3)["preserve_on_delete"].as_bool());
    EXPECT_FALSE(info->at(0)["preserve_on_delete"].as_bool());
}

TEST_F(HealTest, PortsWithoutARecordFollowThoseThatHaveOne) {
    world.bus.forget_interface(order[0]);
    EXPECT_EQ(ids(world.heal()),
              (std::vector<std::string>{order[1], order[2], order[3], order[4], order[0]}));
}

TEST_F(HealTest, WithoutRecordsTheCacheKeepsTheOrder) {
    for (const auto& port : order)
        world.bus.forget_interface(port);
    Json turned = Json::array();
    for (std::size_t i = whole.size(); i > 1; --i)
        turned.push_back(whole.at(i - 1));
    world.set_cache(turned);
    EXPECT_EQ(ids(world.heal()),
              (std::vector<std::string>{order[4], order[3], order[2], order[1], order[0]}))
        << "and what it does not have comes last";
}

TEST_F(HealTest, APortThatNeutronDoesNotHaveLeaves) {
    world.neutron.remove_port(order[1]);
    EXPECT_EQ(ids(world.heal()),
              (std::vector<std::string>{order[0], order[2], order[3], order[4]}));
}

TEST_F(HealTest, ARefreshOfOnePortTouchesNoOther) {
    world.neutron.change_port(order[0], "status", "ACTIVE");
    world.neutron.change_port(order[1], "status", "ACTIVE");
    const auto info = world.refresh(order[1]);
    EXPECT_EQ(ids(info), order);
    EXPECT_FALSE(info->at(0)["active"].as_bool());
    EXPECT_TRUE(info->at(1)["active"].as_bool());

    world.set_cache(without(1));
    auto expected = order;
    std::rotate(expected.begin() + 1, expected.begin() + 2, expected.end());
    EXPECT_EQ(ids(world.refresh(order[1])), expected) << "a new one joins at the end";
    world.neutron.remove_port(order[1]);
    expected.pop_back();
    EXPECT_EQ(ids(world.refresh(order[1])), expected) << "and leaves";
    world.set_cache(Json::array());
    EXPECT_THAT(ids(world.refresh(order[0])), IsEmpty()) << "as Nova: that is for heal";
}

TEST_F(HealTest, ARefreshOfAllFollowsTheCache) {
    world.set_cache(without(2));
    world.neutron.remove_port(order[0]);
    EXPECT_EQ(ids(world.refresh()), (std::vector<std::string>{order[1], order[3], order[4]}));
}

TEST_F(HealTest, PortsThatAreNotBoundHereAreBoundAgain) {
    world.neutron.change_port(order[0], "binding:vif_type", "binding_failed");
    world.neutron.change_port(order[1], "binding:vif_type", "unbound");
    world.neutron.change_port(order[2], "binding:host_id", "another");
    const auto info = world.bind();
    EXPECT_EQ(ids(info), order);
    EXPECT_FALSE(badly_bound(*info));
    EXPECT_EQ(world.neutron.count("PUT"), 3U) << "the others are left alone";
    for (const auto& port : order)
        EXPECT_EQ(world.neutron.port(port)["binding:host_id"].as_string(), host_name);
    EXPECT_EQ(world.cache(), *info);
}

TEST_F(HealTest, ABindingThatFailsAgainIsTold) {
    world.neutron.set_bindable(false);
    world.neutron.change_port(order[0], "binding:vif_type", "binding_failed");
    const auto info = world.bind();
    EXPECT_EQ(ids(info), order);
    EXPECT_TRUE(badly_bound(*info));
}

TEST_F(HealTest, APortIsForgotten) {
    auto record = world.instance();
    const auto vif = world.networks->forget(world.context, record, order[1]);
    ASSERT_TRUE(vif);
    EXPECT_EQ(*vif, whole.at(1));
    EXPECT_EQ(world.cache(), without(1));
    const auto again = world.networks->forget(world.context, record, order[1]);
    ASSERT_TRUE(again);
    EXPECT_TRUE(again->is_null());
    EXPECT_EQ(world.cache(), without(1));
}

} // namespace
} // namespace novalet::tasks
