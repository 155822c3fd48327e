#include "scheduler_hooks/model/cpu_set.hpp"
#include "scheduler_hooks/model/flavor_image.hpp"
#include "scheduler_hooks/model/guest_topology.hpp"
#include "scheduler_hooks/model/limits.hpp"
#include "scheduler_hooks/model/virt_cpu_topology.hpp"

#include "agent/core/text.hpp"

#include <gtest/gtest.h>

namespace novalet::scheduler_hooks::model {
namespace {

TEST(CpuSet, ReadsNovasSyntax) {
    const auto text = [](const char* in) {
        const auto set = CpuSet::parse(in);
        return set ? set->str() : set.error().exception;
    };
    EXPECT_EQ(text("1-4,^3,6"), "1-2,4,6");
    EXPECT_EQ(text("^1-2,0-4"), "0,3-4");
    EXPECT_EQ(text("^1"), "");
    EXPECT_EQ(text("1,,2"), "1-2");
    EXPECT_EQ(text(" 7 , 9 "), "7,9");
    EXPECT_EQ(text("5,^5"), "");
    for (const char* bad : {"3-1", "1-", "-1", "a", "^a", "0-4000000000"})
        EXPECT_EQ(text(bad), "Invalid") << bad;
}

TEST(CpuSet, Algebra) {
    const CpuSet wide = CpuSet::range(0, 129);
    EXPECT_EQ(wide.size(), 130U);
    EXPECT_EQ(wide.back(), 129U);
    EXPECT_EQ((wide - CpuSet::range(1, 200)), (CpuSet{0}));
    EXPECT_TRUE((CpuSet{64, 128}).is_subset_of(wide));
    EXPECT_FALSE((CpuSet{500}).is_subset_of(wide));
    EXPECT_TRUE((CpuSet{1, 500} - CpuSet{500}) == CpuSet{1});
}

TEST(VirtCpuTopology, OfReference) {
    const auto best = [](unsigned vcpus, TextMap extra, TextMap image = {}) -> std::string {
        const auto found =
            best_cpu_topology({"f", vcpus, 1, std::move(extra)}, {"", "", std::move(image)});
        return found ? cat(found->sockets, ':', found->cores, ':', found->threads)
                     : found.error().exception;
    };
    EXPECT_EQ(best(8, {}), "8:1:1");
    EXPECT_EQ(best(8, {{"hw:cpu_sockets", "2"}}), "2:4:1");
    EXPECT_EQ(best(8, {{"hw:cpu_cores", "4"}}), "2:4:1");
    EXPECT_EQ(best(8, {{"hw:cpu_threads", "2"}}), "4:1:2");
    EXPECT_EQ(best(8, {{"hw:cpu_cores", "2"}, {"hw:cpu_threads", "2"}}), "2:2:2");
    EXPECT_EQ(best(8, {{"hw:cpu_sockets", "3"}}), "8:1:1");
    EXPECT_EQ(best(8, {{"hw:cpu_max_sockets", "1"}}), "1:8:1");
    EXPECT_EQ(best(8, {{"hw:cpu_max_sockets", "2"}, {"hw:cpu_max_cores", "2"}}), "2:2:2");
    EXPECT_EQ(best(8, {{"hw:cpu_max_sockets", "1"}, {"hw:cpu_max_cores", "1"}}), "1:1:8");
    EXPECT_EQ(
        best(8,
             {{"hw:cpu_max_sockets", "1"}, {"hw:cpu_max_cores", "1"}, {"hw:cpu_max_threads", "1"}}),
        "ImageVCPULimitsRangeImpossible");
    EXPECT_EQ(best(8, {{"hw:cpu_sockets", "4"}, {"hw:cpu_max_sockets", "2"}}), "2:4:1");
    EXPECT_EQ(best(8, {{"hw:cpu_sockets", "4"}}, {{"hw_cpu_cores", "2"}}), "4:2:1");
    EXPECT_EQ(best(8, {{"hw:cpu_sockets", "-2"}}), "8:1:1");
    EXPECT_EQ(best(8, {{"hw:cpu_sockets", "x"}}), "InvalidRequest");
    EXPECT_EQ(best(7, {{"hw:cpu_max_sockets", "2"}}), "1:7:1");
    EXPECT_EQ(best(6, {{"hw:cpu_max_sockets", "4"}}), "3:2:1");
    EXPECT_EQ(best(12, {{"hw:cpu_threads", "2"}, {"hw:cpu_max_sockets", "2"}}), "2:3:2");
    EXPECT_EQ(best(8, {{"hw:cpu_max_cores", "2"}}, {{"hw_cpu_max_cores", "4"}}),
              "ImageVCPULimitsRangeExceeded");
}

TEST(Image, TypedAndFlatPropertiesAreTheSame) {
    const auto typed = Json::parse(
        R"({"nova_object.name":"ImageMetaProps","nova_object.namespace":"nova",)"
        R"("nova_object.version":"1.34","nova_object.data":{"hw_numa_cpus":[[1,0],[2]],)"
        R"("hw_numa_nodes":2,"hw_locked_memory":true,"traits_required":["HW_X"]}})");
    ASSERT_TRUE(typed);
    const auto image = image_from_json(*typed);
    ASSERT_TRUE(image);
    EXPECT_EQ(image->properties,
              (TextMap{{"hw_numa_cpus.0", "1,0"},
                       {"hw_numa_cpus.1", "2"},
                       {"hw_numa_nodes", "2"},
                       {"hw_locked_memory", "true"},
                       {"trait:HW_X", "required"}}));
}

TEST(GuestTopology, OldPinnedCells_AreBroughtToTodaysForm) {
    const auto document =
        Json::parse(R"({"cells":[{"id":0,"cpuset":[0,1],"memory":512,"cpu_policy":"dedicated"}]})");
    ASSERT_TRUE(document);
    const auto guest = guest_topology_from_json(*document);
    ASSERT_TRUE(guest && *guest);
    EXPECT_EQ((*guest)->cells[0].pcpuset, (CpuSet{0, 1}));
    EXPECT_TRUE((*guest)->cells[0].cpuset.empty());
    EXPECT_TRUE(to_json(std::optional<GuestTopology>()).is_null());
    const auto wrong = Json::parse(R"({"cells":[{"id":0,"cpuset":[-1]}]})");
    EXPECT_FALSE(guest_topology_from_json(*wrong));
}

TEST(Limits, EveryForm) {
    const auto read = [](const char* text) { return *limits_from_json(*Json::parse(text)); };
    EXPECT_FALSE(read("null"));
    EXPECT_FALSE(read("{}"));
    EXPECT_FALSE(read(R"({"numa_topology":null,"memory_mb":5})"));
    EXPECT_EQ(read(R"({"cpu_allocation_ratio":4})")->cpu_allocation_ratio, 4.0);
    EXPECT_TRUE(read(R"({"numa_topology":{"cpu_allocation_ratio":1.5,"ram_allocation_ratio":1,)"
                     R"("network_metadata":{"physnets":["a"],"tunneled":true}}})")
                    ->network->tunneled);
}

} // namespace
} // namespace novalet::scheduler_hooks::model
