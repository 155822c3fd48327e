#include "agent/tasks/books/migration_context.hpp"

#include "tests/support/fake_http.hpp"
#include "tests/support/task_bench.hpp"

#include <algorithm>

namespace novalet::tasks {
namespace {

using tests::nova_object;

/// Nova has sets of changes: their order means nothing.
Json with_sorted_changes(const Json& document) {
    if (document.is_array()) {
        Json out = Json::array();
        for (const auto& item : document.items())
            out.push_back(with_sorted_changes(item));
        return out;
    }
    if (!document.is_object())
        return document;
    Json out = Json::object();
    for (const auto& [key, value] : document.members()) {
        if (key != "nova_object.changes") {
            out.set(key, with_sorted_changes(value));
            continue;
        }
        std::vector<std::string> names;
        for (const auto& name : value.items())
            names.push_back(name.as_string());
        std::sort(names.begin(), names.end());
        out.set(key, Json::Array(names.begin(), names.end()));
    }
    return out;
}

Json pci_requests(Json requests, const std::string& uuid) {
    return nova_object(
        "InstancePCIRequests",
        "1.1",
        Json::object().set("instance_uuid", uuid).set("requests", std::move(requests)));
}

Json request(Json alias) {
    return nova_object("InstancePCIRequest",
                       "1.4",
                       Json::object().set("count", 1).set("alias_name", std::move(alias)));
}

class MigrationContextTest : public tests::TaskTest {
  protected:
    MigrationContextTest() {
        Json record = tests::new_server("93698f6c-3d73-4161-9b2c-ca98f1bae757");
        record.set(
            "pci_devices",
            nova_object("PciDeviceList", "1.3", Json::object().set("objects", Json::array())));
        record.set("resources", nullptr);
        server = objects::Object::from_primitive(nova_object("Instance", "2.7", record));
        flavor = record["flavor"];
    }
    Json flavor_with_alias(const char* alias) {
        Json out = flavor;
        out.member("nova_object.data")
            .set("extra_specs", Json::object().set("pci_passthrough:alias", alias));
        return out;
    }
    objects::Object server;
    Json flavor;
};

/// As the nova-compute of Zed sent it for a resize without NUMA cells and PCI devices.
TEST_F(MigrationContextTest, IsTheDocumentThatNovaComputeSends) {
    const auto requests = pci_requests_after_move(bench.conductor, server, flavor);
    ASSERT_TRUE(requests) << requests.error().text;
    const auto context = migration_context(bench.conductor, server, 1, {}, *requests);
    const Json recorded = tests::json(R"({
        "nova_object.name": "MigrationContext", "nova_object.namespace": "nova",
        "nova_object.version": "1.2", "nova_object.data": {
          "instance_uuid": "93698f6c-3d73-4161-9b2c-ca98f1bae757", "migration_id": 1,
          "new_numa_topology": null, "old_numa_topology": null,
          "new_pci_devices": {"nova_object.name": "PciDeviceList",
            "nova_object.namespace": "nova", "nova_object.version": "1.3",
            "nova_object.data": {"objects": []}, "nova_object.changes": ["objects"]},
          "old_pci_devices": {"nova_object.name": "PciDeviceList",
            "nova_object.namespace": "nova", "nova_object.version": "1.3",
            "nova_object.data": {"objects": []}},
          "new_pci_requests": {"nova_object.name": "InstancePCIRequests",
            "nova_object.namespace": "nova", "nova_object.version": "1.1",
            "nova_object.data": {"instance_uuid": "93698f6c-3d73-4161-9b2c-ca98f1bae757",
              "requests": []}, "nova_object.changes": ["requests", "instance_uuid"]},
          "old_pci_requests": {"nova_object.name": "InstancePCIRequests",
            "nova_object.namespace": "nova", "nova_object.version": "1.1",
            "nova_object.data": {"instance_uuid": "93698f6c-3d73-4161-9b2c-ca98f1bae757",
              "requests": []}},
          "new_resources": null, "old_resources": null},
        "nova_object.changes": ["old_resources", "old_pci_devices", "new_resources",
          "new_pci_devices", "old_pci_requests", "new_pci_requests", "new_numa_topology",
          "instance_uuid", "migration_id", "old_numa_topology"]})");
    EXPECT_EQ(with_sorted_changes(context.to_primitive()).dump(),
              with_sorted_changes(recorded).dump());
}

TEST_F(MigrationContextTest, TheNewSideIsTheClaim) {
    scheduler_hooks::claims::Claim claim;
    claim.topology.emplace();
    claim.topology->cells.emplace_back();
    claim.topology->cells[0].memory_mib = 512;
    const auto context = migration_context(bench.conductor, server, 1, claim, Json());
    EXPECT_EQ(context.get("new_numa_topology"), scheduler_hooks::model::to_json(claim.topology));
    EXPECT_TRUE(context.get("old_numa_topology").is_null());
}

TEST_F(MigrationContextTest, PortsKeepTheirRequests_AliasesAreNotKnownHere) {
    server.set("pci_requests",
               pci_requests(Json::Array{request(nullptr), request("gpu")}, server.text("uuid")));
    const auto moved = pci_requests_after_move(bench.conductor, server, flavor);
    ASSERT_TRUE(moved) << moved.error().text;
    const auto& kept = objects::data_of(*moved)["requests"];
    ASSERT_EQ(kept.size(), 1U);
    EXPECT_TRUE(objects::data_of(kept.at(0))["alias_name"].is_null());
    const auto refused =
        pci_requests_after_move(bench.conductor, server, flavor_with_alias("gpu:2"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "PciRequestAliasNotDefined");
    EXPECT_EQ(refused.error().text, "PCI alias gpu is not defined");
}

TEST_F(MigrationContextTest, SidesAreTakenOver) {
    scheduler_hooks::claims::Claim claim;
    claim.topology.emplace();
    server.set("numa_topology", nullptr);
    server.set(
        "migration_context",
        migration_context(bench.conductor, server, 1, claim, Json("new requests")).to_primitive());
    const Json old_requests = server.get("pci_requests");
    apply_migration_context(server);
    EXPECT_FALSE(server.get("numa_topology").is_null());
    EXPECT_EQ(server.text("pci_requests"), "new requests");
    EXPECT_TRUE(server.changes().contains("numa_topology"));
    revert_migration_context(server);
    EXPECT_TRUE(server.get("numa_topology").is_null());
    EXPECT_EQ(server.get("pci_requests"), old_requests);
}

TEST_F(MigrationContextTest, WithoutAContextNothingIsTakenOverAndNothingDropped) {
    server.clear_changes();
    server.set_unchanged("migration_context", nullptr);
    apply_migration_context(server);
    revert_migration_context(server);
    EXPECT_TRUE(server.changes().empty());
    EXPECT_TRUE(drop_migration_context(bench.conductor, server, bench.context));
    EXPECT_EQ(bench.diary.count("Instance."), 0U);
}

TEST_F(MigrationContextTest, IsDroppedFromTheRecord) {
    Json record = server.data();
    record.set("migration_context", nova_object("MigrationContext", "1.2", Json::object()));
    bench.bus.put_instance(record);
    ASSERT_TRUE(drop_migration_context(bench.conductor, server, bench.context));
    EXPECT_TRUE(bench.bus.instance(server.text("uuid"))["migration_context"].is_null());
    EXPECT_TRUE(server.get("migration_context").is_null());
    EXPECT_FALSE(server.changes().contains("migration_context"));
}

} // namespace
} // namespace novalet::tasks
