// Start, heartbeat and audit as a real nova-compute of Zed sent them.
#include "agent/objects/compute_host.hpp"
#include "agent/objects/conductor.hpp"
#include "tests/contract/agent/objects/recording.hpp"

namespace novalet::objects::tests {
namespace {

using novalet::tests::FakeCaller;

class HostRecords : public ::testing::Test {
  protected:
    FakeCaller bus;
    Conductor conductor{bus, release_by_name("zed").value(), Milliseconds(60000)};
    rpc::Context context = rpc::Context::admin();
};

/// An object as it was before its recorded save: the same document, the changes still to be made.
Object before_changes(const Json& exchange) {
    auto object = Object::from_primitive(exchange["args"]["objinst"]);
    object.clear_changes();
    return object;
}

/// Makes the changes of the recorded save through the interface that operations use.
void make_changes(Object& object, const Json& exchange) {
    const auto& recorded = exchange["args"]["objinst"];
    for (const auto& field : recorded["nova_object.changes"].items())
        object.set(field.as_string(), recorded["nova_object.data"][field.as_string()]);
}

/// What the record says after the call: the sent fields, replaced by the updates.
Json recorded_state(const Json& exchange) {
    Json state = exchange["args"]["objinst"]["nova_object.data"];
    for (const auto& [field, value] : exchange["result"].at(0).members())
        if (field != "obj_what_changed")
            state.set(field, value);
    return state;
}

TEST_F(HostRecords, PingIsNovas) {
    const Recording cold("cold_start");
    replay(bus, cold.find("ping"));
    ASSERT_TRUE(conductor.wait_until_alive({}));
    expect_same_request(bus.last(), cold.find("ping"));
}

TEST_F(HostRecords, ReadsAtStartAskWhatNovaAsks) {
    const Recording cold("cold_start");
    replay(bus, cold.find("Service.get_minimum_version"));
    EXPECT_EQ(conductor.minimum_service_version("nova-compute", context).value(), 64);
    expect_same_request(bus.last(), cold.find("Service.get_minimum_version"));

    replay(bus, cold.find("Service.get_by_host_and_binary"));
    const auto none = conductor.service("ref-compute", "nova-compute", context);
    ASSERT_TRUE(none);
    EXPECT_FALSE(none->valid());
    expect_same_request(bus.last(), cold.find("Service.get_by_host_and_binary"));

    replay(bus, cold.find("InstanceList.get_by_host_and_node"));
    const auto instances = conductor.instances_by_host(
        "ref-compute",
        "vm",
        {"system_metadata", "numa_topology", "flavor", "migration_context", "resources"},
        context);
    ASSERT_TRUE(instances);
    EXPECT_TRUE(instances->empty());
    expect_same_request(bus.last(), cold.find("InstanceList.get_by_host_and_node"));

    replay(bus, cold.find("MigrationList.get_in_progress_and_error"));
    EXPECT_TRUE(conductor.migrations_in_progress("ref-compute", "vm", context));
    expect_same_request(bus.last(), cold.find("MigrationList.get_in_progress_and_error"));

    const auto& evacuations = cold.find("MigrationList.get_by_filters");
    replay(bus, evacuations);
    EXPECT_TRUE(conductor.migrations_by_filters(evacuations["args"]["args"].at(0), context));
    expect_same_request(bus.last(), evacuations);
}

TEST_F(HostRecords, AHostWithoutNodeIsNotFoundByName) {
    const Recording cold("cold_start");
    replay(bus, cold.find("ComputeNode.get_by_host_and_nodename"));
    const auto node = conductor.compute_node("ref-compute", "vm", context);
    ASSERT_FALSE(node);
    EXPECT_EQ(node.error().exception, "ComputeHostNotFound");
    EXPECT_EQ(node.error().code, Code::NotFound);
    expect_same_request(bus.last(), cold.find("ComputeNode.get_by_host_and_nodename"));

    replay(bus, cold.find("ComputeNodeList.get_all_by_host"));
    const auto nodes = conductor.compute_nodes_by_host("ref-compute", context);
    ASSERT_TRUE(nodes) << nodes.error().text;
    EXPECT_TRUE(nodes->empty());
    // use_slave only chooses a database replica.
    expect_same_request(bus.last(), cold.find("ComputeNodeList.get_all_by_host"), {"use_slave"});
}

TEST_F(HostRecords, AServiceIsCreatedAsNovaDoesIt) {
    const Recording cold("cold_start");
    const auto& exchange = cold.find("Service#create");
    Object service = conductor.make("Service");
    service.set("host", "ref-compute");
    service.set("binary", "nova-compute");
    service.set("topic", "compute");
    service.set("report_count", 0);
    service.set("version", 64);
    replay(bus, exchange);
    ASSERT_TRUE(conductor.create_service(service, context));
    expect_same_request(bus.last(), exchange);
    EXPECT_EQ(service.data().dump(), recorded_state(exchange).dump());
    EXPECT_TRUE(service.changes().empty());
    EXPECT_GT(ServiceView(service).id(), 0);
}

TEST_F(HostRecords, HeartbeatsFollowEachOtherAsRecorded) {
    const Recording idle("idle");
    const auto beats = idle.all("Service#save");
    ASSERT_EQ(beats.size(), 4U);
    Object service = before_changes(*beats.front());
    service.set_unchanged("report_count", service.get("report_count").as_int() - 1);
    for (const Json* beat : beats) {
        replay(bus, *beat);
        ASSERT_TRUE(conductor.report_alive(service, context));
        expect_same_request(bus.last(), *beat);
        EXPECT_EQ(service.data().dump(), recorded_state(*beat).dump());
    }
}

TEST_F(HostRecords, AComputeNodeIsCreatedAndAuditedAsNovaDoesIt) {
    const Recording cold("cold_start");
    const auto& create = cold.find("ComputeNode#create");
    Object node = conductor.make("ComputeNode");
    make_changes(node, create);
    replay(bus, create);
    ASSERT_TRUE(conductor.create_compute_node(node, context));
    expect_same_request(bus.last(), create);
    EXPECT_EQ(node.data().dump(), recorded_state(create).dump());
    EXPECT_FALSE(ComputeNodeView(node).uuid().empty());

    // The audit that follows starts from what create left behind.
    const auto& save = cold.find("ComputeNode#save");
    make_changes(node, save);
    replay(bus, save);
    ASSERT_TRUE(conductor.save_compute_node(node, context));
    expect_same_request(bus.last(), save);
    EXPECT_EQ(node.data().dump(), recorded_state(save).dump());
}

TEST_F(HostRecords, AKnownNodeIsReadAndSavedAgain) {
    const Recording warm("warm_start");
    const auto& get = warm.find("ComputeNode.get_by_host_and_nodename");
    replay(bus, get);
    auto node = conductor.compute_node("ref-compute", "vm", context);
    ASSERT_TRUE(node) << node.error().text;
    expect_same_request(bus.last(), get);
    EXPECT_EQ(node->version(), "1.19");
    EXPECT_EQ(ComputeNodeView(*node).hypervisor_hostname(), "vm");

    replay(bus, warm.find("Service.get_by_compute_host"));
    const auto service = conductor.service_of_compute_host("ref-compute", context);
    ASSERT_TRUE(service);
    expect_same_request(bus.last(), warm.find("Service.get_by_compute_host"));
    EXPECT_EQ(ServiceView(*service).version(), 64);

    const auto& save = warm.find("ComputeNode#save");
    make_changes(*node, save);
    replay(bus, save);
    ASSERT_TRUE(conductor.save_compute_node(*node, context));
    expect_same_request(bus.last(), save);
}

TEST_F(HostRecords, PeriodicWorkIsNovas) {
    const Recording audit("audit");
    const auto& sync = audit.find("sync_instance_info");
    std::vector<std::string> uuids;
    for (const auto& uuid : sync["args"]["instance_uuids"].items())
        uuids.push_back(uuid.as_string());
    ASSERT_TRUE(conductor.sync_scheduler("ref-compute", uuids, context));
    expect_same_request(bus.last(), sync);

    const auto& clean = audit.find("ConsoleAuthToken.clean_expired_console_auths");
    replay(bus, clean);
    ASSERT_TRUE(conductor.clean_expired_console_tokens(context));
    expect_same_request(bus.last(), clean);

    const auto& deleted = audit.find("InstanceList.get_by_filters");
    replay(bus, deleted);
    ASSERT_TRUE(conductor.instances_by_filters(
        deleted["args"]["args"].at(0), {"system_metadata"}, context));
    expect_same_request(bus.last(), deleted, {"use_slave"});
}

} // namespace
} // namespace novalet::objects::tests
