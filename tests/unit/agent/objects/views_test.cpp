#include "agent/objects/block_device.hpp"
#include "agent/objects/external_event.hpp"
#include "agent/objects/instance.hpp"
#include "agent/objects/request_spec.hpp"
#include "agent/objects/server_group.hpp"

#include <gtest/gtest.h>

namespace novalet::objects {
namespace {

Json parse(const char* text) {
    return Json::parse(text).value();
}

std::string name(const char* name_template, const Json& fields) {
    const auto result = InstanceView(fields).name(name_template);
    return result ? *result : "error: " + result.error().text;
}

TEST(InstanceName, IsTheTemplateOfTheId) {
    const auto fields = parse(R"({"id": 255, "uuid": "u-1", "hostname": "web", "memory_mb": 64})");
    EXPECT_EQ(name("instance-%08x", fields), "instance-000000ff");
    EXPECT_EQ(name("vm-%d", fields), "vm-255");
    EXPECT_EQ(name("vm-%5d-%X", fields), "vm-  255-FF");
    EXPECT_EQ(name("vm-%s", fields), "vm-255");
    EXPECT_EQ(name("%o", fields), "377");
}

TEST(InstanceName, MayTakeAnyField) {
    const auto fields = parse(R"({"id": 255, "uuid": "u-1", "hostname": "web", "memory_mb": 64})");
    EXPECT_EQ(name("%(uuid)s", fields), "u-1");
    EXPECT_EQ(name("%(hostname)s-%(id)04x", fields), "web-00ff");
    EXPECT_EQ(name("%(memory_mb)d%%", fields), "64%");
}

TEST(InstanceName, AFieldThatIsMissingGivesTheUuid) {
    const auto fields = parse(R"({"id": 255, "uuid": "u-1"})");
    EXPECT_EQ(name("%(nothing)s-x", fields), "u-1");
    const auto without_id = parse(R"({"uuid": "u-1"})");
    EXPECT_EQ(name("instance-%08x", without_id), "u-1");
}

TEST(InstanceName, AWrongTemplateIsRefusedWithItsPlace) {
    const auto fields = parse(R"({"id": 1, "uuid": "u-1", "hostname": "web"})");
    EXPECT_TRUE(name("a-%q", fields).starts_with("error: instance_name_template 'a-%q'"));
    EXPECT_TRUE(name("a-%", fields).starts_with("error: "));
    EXPECT_TRUE(name("%(uuid", fields).starts_with("error: "));
    EXPECT_TRUE(name("%99999999999999999999d", fields).starts_with("error: "));
    EXPECT_TRUE(name("%(hostname)d", fields).starts_with("error: "));
}

TEST(InstanceView, ReadsNetworkInfo) {
    const auto fields = parse(R"({"uuid": "u-1", "info_cache": {
        "nova_object.name": "InstanceInfoCache", "nova_object.data": {"network_info":
        "[{\"id\": \"p-1\"}]"}}})");
    EXPECT_EQ(InstanceView(fields).network_info().value().at(0)["id"].as_string(), "p-1");
    const auto none = parse(R"({"uuid": "u-1", "info_cache": null})");
    EXPECT_TRUE(InstanceView(none).network_info().value().is_array());
    const auto damaged = parse(R"({"uuid": "u-1", "info_cache": {
        "nova_object.name": "InstanceInfoCache", "nova_object.data": {"network_info": "[{"}}})");
    const auto error = InstanceView(damaged).network_info();
    ASSERT_FALSE(error);
    EXPECT_NE(error.error().text.find("u-1"), std::string::npos);
}

TEST(InstanceView, NullReadsAsEmpty) {
    const auto fields = parse(R"({"task_state": null, "host": null, "flavor": null})");
    const InstanceView view(fields);
    EXPECT_EQ(view.task_state(), "");
    EXPECT_EQ(view.host(), "");
    EXPECT_FALSE(view.flavor().present());
    EXPECT_EQ(view.flavor().vcpus(), 0);
    EXPECT_TRUE(view.keypairs().empty());
    EXPECT_TRUE(view.numa_topology().is_null());
}

TEST(InstanceView, ReadsKeypairs) {
    const auto fields = parse(R"({"keypairs": {"nova_object.name": "KeyPairList",
        "nova_object.data": {"objects": [{"nova_object.name": "KeyPair", "nova_object.data":
        {"name": "k", "type": "ssh", "public_key": "ssh-ed25519 A"}}]}}})");
    const auto pairs = InstanceView(fields).keypairs();
    ASSERT_EQ(pairs.size(), 1U);
    EXPECT_EQ(pairs.front().public_key(), "ssh-ed25519 A");
}

TEST(BlockDeviceView, KnowsItsKind) {
    const auto root = parse(R"({"source_type": "image", "destination_type": "local",
        "boot_index": 0, "volume_size": null})");
    EXPECT_TRUE(BlockDeviceView(root).is_root());
    EXPECT_FALSE(BlockDeviceView(root).volume_size());
    const auto swap = parse(R"({"source_type": "blank", "destination_type": "local",
        "guest_format": "swap", "boot_index": -1, "volume_size": 64})");
    EXPECT_TRUE(BlockDeviceView(swap).is_swap());
    EXPECT_FALSE(BlockDeviceView(swap).is_ephemeral());
    EXPECT_FALSE(BlockDeviceView(swap).is_root());
    const auto blank_volume = parse(R"({"source_type": "blank", "destination_type": "volume"})");
    EXPECT_TRUE(BlockDeviceView(blank_volume).is_volume());
    EXPECT_FALSE(BlockDeviceView(blank_volume).is_ephemeral());
}

TEST(ExternalEvents, AreReadWithTheirKey) {
    const auto events = parse(R"([{"nova_object.name": "InstanceExternalEvent",
        "nova_object.data": {"instance_uuid": "u-1", "name": "network-vif-plugged",
        "status": "failed", "tag": "p-1"}},
        {"nova_object.name": "InstanceExternalEvent", "nova_object.data":
        {"instance_uuid": "u-2", "name": "network-changed", "tag": null}}])");
    const auto parsed = parse_external_events(events);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->at(0).key(), "network-vif-plugged-p-1");
    EXPECT_EQ(parsed->at(0).status, "failed");
    EXPECT_EQ(parsed->at(1).key(), "network-changed");
    EXPECT_EQ(parsed->at(1).status, "completed");
}

TEST(ExternalEvents, AWrongOneIsNamedByItsPosition) {
    EXPECT_FALSE(parse_external_events(Json("x")));
    const auto events = parse(R"([{"nova_object.name": "InstanceExternalEvent",
        "nova_object.data": {"instance_uuid": "u-1", "name": "a"}}, 3])");
    const auto parsed = parse_external_events(events);
    ASSERT_FALSE(parsed);
    EXPECT_TRUE(parsed.error().text.starts_with("external event 1 has no instance_uuid"));
}

TEST(NetworkRequests, AreReadInOrder) {
    const auto list = parse(R"({"nova_object.name": "NetworkRequestList", "nova_object.data":
        {"objects": [{"nova_object.name": "NetworkRequest", "nova_object.data":
        {"network_id": "n-1", "address": "10.0.0.5", "port_id": null, "tag": "t"}},
        {"nova_object.name": "NetworkRequest", "nova_object.data": {"port_id": "p-1"}}]}})");
    const auto requests = parse_network_requests(list);
    ASSERT_TRUE(requests);
    ASSERT_EQ(requests->size(), 2U);
    EXPECT_EQ(requests->at(0).network_id, "n-1");
    EXPECT_EQ(requests->at(0).address, "10.0.0.5");
    EXPECT_EQ(requests->at(0).port_id, "");
    EXPECT_EQ(requests->at(1).port_id, "p-1");
    EXPECT_TRUE(parse_network_requests(Json()).value().empty());
    EXPECT_FALSE(parse_network_requests(Json::array()));
    EXPECT_FALSE(parse_network_requests(parse(R"({"nova_object.data": {"objects": [1]}})")));
}

TEST(Limits, MayBeAnObjectAPlainDictOrNothing) {
    const auto object = parse(R"({"nova_object.name": "SchedulerLimits", "nova_object.data":
        {"memory_mb": 512, "vcpu": null, "numa_topology": {"nova_object.name":
        "NUMATopologyLimits", "nova_object.data": {"cpu_allocation_ratio": 16.0}}}})");
    EXPECT_EQ(LimitsView(object).memory_mib(), 512);
    EXPECT_FALSE(LimitsView(object).vcpus());
    EXPECT_EQ(LimitsView(object).numa_topology()["cpu_allocation_ratio"].as_double(), 16.0);
    const auto dict = parse(R"({"disk_gb": 10})");
    EXPECT_EQ(LimitsView(dict).disk_gib(), 10);
    const Json none;
    EXPECT_FALSE(LimitsView(none).memory_mib());
}

TEST(RequestSpec, GivesHintsAndProviders) {
    const auto spec = parse(R"({"scheduler_hints": {"group": ["g-1"], "plain": "x", "none": []},
        "requested_resources": [{"nova_object.name": "RequestGroup", "nova_object.data":
        {"requester_id": "p-1", "provider_uuids": ["rp-1", "rp-2"]}}]})");
    const RequestSpecView view(spec);
    EXPECT_EQ(view.scheduler_hint("group"), "g-1");
    EXPECT_EQ(view.scheduler_hint("plain"), "x");
    EXPECT_EQ(view.scheduler_hint("none"), "");
    EXPECT_EQ(view.scheduler_hint("absent"), "");
    EXPECT_EQ(view.provider_mapping().at("p-1"), (std::vector<std::string>{"rp-1", "rp-2"}));
    const auto empty = parse(R"({"requested_resources": null})");
    EXPECT_TRUE(RequestSpecView(empty).provider_mapping().empty());
}

TEST(ServerGroup, KnowsItsRule) {
    Object group("InstanceGroup", "1.11");
    group.set_unchanged("policy", "anti-affinity");
    EXPECT_EQ(ServerGroupView(group).max_server_per_host(), 1);
    Json rules = Json::object();
    rules.set("max_server_per_host", "3");
    group.set_unchanged("_rules", rules);
    EXPECT_EQ(ServerGroupView(group).max_server_per_host(), 3);
}

} // namespace
} // namespace novalet::objects
