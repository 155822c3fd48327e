// Documents that a Zed nova-compute wrote come back unchanged, whatever the order inside their
// sets.
#include "agent/core/file.hpp"
#include "scheduler_hooks/model/guest_topology.hpp"
#include "scheduler_hooks/model/host_topology.hpp"

#include <algorithm>
#include <gtest/gtest.h>

namespace novalet::scheduler_hooks::model {
namespace {

Json recorded(const std::string& name) {
    const auto text =
        read_file(std::string(NOVALET_SOURCE_DIR "/tests/contract/data/numa/") + name, 1U << 20U);
    EXPECT_TRUE(text);
    const auto document = Json::parse(*text);
    EXPECT_TRUE(document);
    return *document;
}

/// Without `changes`, which carry no meaning here, and with sorted arrays.
Json normal(const Json& value) {
    if (value.is_array()) {
        std::vector<Json> items;
        for (const Json& item : value.items())
            items.push_back(normal(item));
        std::sort(items.begin(), items.end(), [](const Json& a, const Json& b) {
            return a.dump() < b.dump();
        });
        return items;
    }
    if (!value.is_object())
        return value;
    Json out = Json::object();
    for (const auto& [key, member] : value.members())
        if (key != "nova_object.changes")
            out.set(key, normal(member));
    return out;
}

TEST(RecordedTopology, Host) {
    const Json document = recorded("zed_numa_topology.json");
    const auto topology = host_topology_from_json(document);
    ASSERT_TRUE(topology) << topology.error().text;
    EXPECT_EQ(normal(to_json(*topology)), normal(document));
    ASSERT_EQ(topology->cells.size(), 1U);
    EXPECT_EQ(topology->cells[0].pcpuset, (CpuSet{1}));
    EXPECT_EQ(topology->cells[0].pool(2048)->total, 256);
}

TEST(RecordedTopology, Guest) {
    const Json document = recorded("zed_instance_numa_topology.json");
    const auto topology = guest_topology_from_json(document);
    ASSERT_TRUE(topology && *topology);
    EXPECT_EQ(normal(to_json(*topology)), normal(document));
    EXPECT_EQ((*topology)->cells[0].page_size_kib, 2048);
    EXPECT_EQ((*topology)->cells[0].taken_cpus(), (CpuSet{1}));
}

} // namespace
} // namespace novalet::scheduler_hooks::model
