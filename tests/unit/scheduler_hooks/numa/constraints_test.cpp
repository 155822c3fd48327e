// The input cases of reference 08 §10.
#include "scheduler_hooks/numa/constraints.hpp"

#include <gtest/gtest.h>

namespace novalet::scheduler_hooks::numa {
namespace {

using namespace model;

Result<std::optional<GuestTopology>>
ask(unsigned vcpus, std::int64_t memory, TextMap extra, TextMap image = {}) {
    return constraints({"f", vcpus, memory, std::move(extra)}, {"", "img", std::move(image)});
}

/// "ok", "none", or the exception.
std::string verdict(unsigned vcpus, std::int64_t memory, TextMap extra, TextMap image = {}) {
    const auto result = ask(vcpus, memory, std::move(extra), std::move(image));
    if (!result)
        return result.error().exception;
    return *result ? "ok" : "none";
}

TEST(Constraints, GuestWithoutRequests_GetsNoTopology) {
    EXPECT_EQ(verdict(4, 2048, {}), "none");
    EXPECT_EQ(verdict(4, 2048, {{"hw:emulator_threads_policy", "share"}}), "none");
    EXPECT_EQ(verdict(4, 2048, {{"hw:numa_cpus.0", "0-3"}, {"hw:numa_mem.0", "2048"}}), "none");
    EXPECT_EQ(verdict(4, 2048, {{"hw:mem_page_size", "0"}}), "none");
    EXPECT_EQ(verdict(4, 2048, {{"resources:VCPU", "2"}}), "none");
    EXPECT_EQ(verdict(4, 2048, {{"hw:pmem", " , "}}), "none");
    EXPECT_EQ(verdict(4, 2048, {{"hw:numa_nodes", ""}}), "none");
}

TEST(Constraints, CellsAreDividedEvenly) {
    const auto guest = ask(4, 2048, {{"hw:numa_nodes", "2"}});
    ASSERT_TRUE(guest && *guest);
    ASSERT_EQ((*guest)->cells.size(), 2U);
    EXPECT_EQ((*guest)->cells[1].cpuset, (CpuSet{2, 3}));
    EXPECT_EQ((*guest)->cells[1].memory_mib, 1024);
    EXPECT_EQ(verdict(3, 2048, {{"hw:numa_nodes", "2"}}), "ImageNUMATopologyAsymmetric");
    EXPECT_EQ(verdict(4, 2049, {{"hw:numa_nodes", "2"}}), "ImageNUMATopologyAsymmetric");
    EXPECT_EQ(verdict(2, 2048, {{"hw:numa_nodes", "4"}}), "ImageNUMATopologyAsymmetric");
}

TEST(Constraints, NodeNumbersAreChecked) {
    for (const char* nodes : {"0", "x", " 2 ", "-1"})
        EXPECT_EQ(verdict(4, 2048, {{"hw:numa_nodes", nodes}}), "InvalidNUMANodesNumber") << nodes;
    EXPECT_EQ(verdict(4, 2048, {}, {{"hw_numa_nodes", "0"}}), "InvalidNUMANodesNumber");
    EXPECT_EQ(verdict(4, 2048, {{"hw:numa_nodes", "2"}}, {{"hw_numa_nodes", "2"}}),
              "ImageNUMATopologyForbidden");
}

TEST(Constraints, ListedCells) {
    const auto lists = [](const char* c0, const char* c1, const char* m0, const char* m1) {
        return TextMap{{"hw:numa_nodes", "2"},
                       {"hw:numa_cpus.0", c0},
                       {"hw:numa_cpus.1", c1},
                       {"hw:numa_mem.0", m0},
                       {"hw:numa_mem.1", m1}};
    };
    EXPECT_EQ(verdict(4, 2048, lists("0", "1-3", "512", "1536")), "ok");
    EXPECT_EQ(verdict(4, 2048, lists("0", "1-3", "512", "1537")),
              "ImageNUMATopologyMemoryOutOfRange");
    EXPECT_EQ(verdict(4, 2048, lists("0,1", "1-3", "512", "1536")),
              "ImageNUMATopologyCPUDuplicates");
    EXPECT_EQ(verdict(4, 2048, lists("0", "1-4", "512", "1536")), "ImageNUMATopologyCPUOutOfRange");
    const auto missing = ask(4, 2048, lists("0", "1,2", "512", "1536"));
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().text, "CPU number {3} is not assigned to any node");
    EXPECT_EQ(verdict(4, 2048, {{"hw:numa_nodes", "2"}, {"hw:numa_cpus.0", "0"}}),
              "ImageNUMATopologyIncomplete");
    EXPECT_EQ(verdict(4, 2048, lists("", "0-3", "512", "1536")), "Invalid");
}

TEST(Constraints, PageSizes) {
    const auto size = [](TextMap extra, TextMap image = {}) -> std::string {
        const auto guest = ask(2, 2048, std::move(extra), std::move(image));
        if (!guest)
            return guest.error().exception;
        return *guest ? std::to_string((*guest)->cells[0].page_size_kib) : "none";
    };
    const auto flavor = [](const char* text) { return TextMap{{"hw:mem_page_size", text}}; };
    EXPECT_EQ(size(flavor("2MB")), "2048");
    EXPECT_EQ(size(flavor("2MiB")), "2048");
    EXPECT_EQ(size(flavor("1GB")), "1048576");
    EXPECT_EQ(size(flavor("1.5MB")), "1536");
    EXPECT_EQ(size(flavor("2KB")), "2");
    EXPECT_EQ(size(flavor("2048Kb")), "256");
    EXPECT_EQ(size(flavor("any")), "-3");
    for (const char* bad : {"2M", "1G", "2kB", "4k", "Large", "2 MB", " 2048", "-1", "1b", "-2KB"})
        EXPECT_EQ(size(flavor(bad)), "MemoryPageSizeInvalid") << bad;
    EXPECT_EQ(size({}, {{"hw_mem_page_size", "large"}}), "MemoryPageSizeForbidden");
    EXPECT_EQ(size(flavor("2MB"), {{"hw_mem_page_size", "2MB"}}), "MemoryPageSizeForbidden");
    EXPECT_EQ(size(flavor("large"), {{"hw_mem_page_size", "small"}}), "-1");
}

TEST(Constraints, Policies) {
    const TextMap dedicated{{"hw:cpu_policy", "dedicated"}};
    EXPECT_EQ(verdict(4, 2048, dedicated), "ok");
    EXPECT_EQ(verdict(4, 2048, {{"hw:cpu_policy", "shared"}}, {{"hw_cpu_policy", "dedicated"}}),
              "ImageCPUPinningForbidden");
    EXPECT_EQ(verdict(4, 2048, {{"hw:cpu_policy", "x"}}), "InvalidCPUAllocationPolicy");
    EXPECT_EQ(verdict(4, 2048, {{"hw:cpu_thread_policy", "prefer"}, {"hw:numa_nodes", "0"}}),
              "CPUThreadPolicyConfigurationInvalid");
    EXPECT_EQ(verdict(4, 2048, {}, {{"trait:HW_CPU_HYPERTHREADING", "required"}}),
              "CPUThreadPolicyConfigurationInvalid");
    EXPECT_EQ(verdict(4, 2048, {{"hw:emulator_threads_policy", "isolate"}}),
              "BadRequirementEmulatorThreadsPolicy");
    EXPECT_EQ(verdict(4, 2048, {{"hw:cpu_policy", "dedicated"}, {"hw:cpu_dedicated_mask", "0"}}),
              "RequiredMixedInstancePolicy");
    EXPECT_EQ(verdict(4, 2048, {{"hw:cpu_policy", "mixed"}}), "RequiredMixedOrRealtimeCPUMask");
    EXPECT_EQ(verdict(4, 2048, {{"hw:locked_memory", "true"}}), "LockMemoryForbidden");
    EXPECT_EQ(verdict(4, 2048, {{"hw:numa_nodes", "0"}, {"hw:mem_page_size", "zz"}}),
              "InvalidNUMANodesNumber");
    EXPECT_EQ(verdict(3, 2048, {{"hw:numa_nodes", "2"}, {"hw:locked_memory", "true"}}),
              "LockMemoryForbidden");
}

TEST(Constraints, MixedMasks) {
    const auto pinned = [](const char* mask) -> std::string {
        const auto guest =
            ask(4, 2048, {{"hw:cpu_policy", "mixed"}, {"hw:cpu_dedicated_mask", mask}});
        return guest ? (*guest)->cells[0].pcpuset.str() : guest.error().text;
    };
    EXPECT_EQ(pinned("^0"), "1-3");
    EXPECT_EQ(pinned("0-3,^1"), "0,2-3");
    for (const char* bad : {"0-3", "^0-3", "0-9"})
        EXPECT_NE(pinned(bad).find("at least 1 pinned"), std::string::npos) << bad;
    for (const char* bad : {"2-5", "8-9"})
        EXPECT_NE(pinned(bad).find("not a subset"), std::string::npos) << bad;
}

TEST(Constraints, ResourcesStandForAPolicy) {
    EXPECT_EQ(verdict(4, 2048, {{"resources:PCPU", "4"}}), "ok");
    EXPECT_EQ(verdict(4, 2048, {{"resources:PCPU", "3"}}), "InvalidRequest");
    EXPECT_EQ(verdict(4, 2048, {{"resources:PCPU", "x"}}), "none");
    EXPECT_EQ(verdict(4, 2048, {{"resources1:PCPU", "2"}, {"resources2:PCPU", "2"}}), "ok");
    EXPECT_EQ(verdict(4, 2048, {{"resources:PCPU", "4"}, {"hw:cpu_policy", "dedicated"}}),
              "InvalidRequest");
    EXPECT_EQ(
        verdict(4, 2048, {{"resources:PCPU", "5"}, {"hw:emulator_threads_policy", "isolate"}}),
        "ok");
    EXPECT_EQ(
        verdict(4, 2048, {{"resources:PCPU", "4"}, {"hw:emulator_threads_policy", "isolate"}}),
        "InvalidRequest");
}

TEST(Constraints, Realtime) {
    const TextMap base{{"hw:cpu_policy", "dedicated"}, {"hw:cpu_realtime", "yes"}};
    EXPECT_EQ(verdict(4, 2048, base), "RealtimeMaskNotFoundOrInvalid");
    TextMap shared = base;
    shared["hw:emulator_threads_policy"] = "share";
    EXPECT_EQ(verdict(4, 2048, shared), "ok");
    TextMap masked = base;
    masked["hw:cpu_realtime_mask"] = "^0";
    const auto cpus =
        realtime_cpus({"f", 4, 2048, masked}, {"", "", {{"hw_cpu_realtime_mask", "^1"}}});
    ASSERT_TRUE(cpus);
    EXPECT_EQ(cpus->str(), "0,2-3");
    EXPECT_EQ(verdict(1, 2048, masked), "RealtimeMaskNotFoundOrInvalid");
}

} // namespace
} // namespace novalet::scheduler_hooks::numa
