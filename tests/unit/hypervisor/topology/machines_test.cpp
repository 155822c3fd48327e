// The cells of machines of several kinds, read from their /sys and given to guests.
#include "hypervisor/topology/host_topology.hpp"
#include "hypervisor/topology/sysfs_cells.hpp"
#include "tests/support/sysfs_tree.hpp"

#include <gmock/gmock.h>

namespace novalet::hypervisor::topology {
namespace {

namespace model = scheduler_hooks::model;
using model::CpuSet;
using testing::ElementsAre;
using tests::Machine;

model::HostTopology read(const Machine& machine) {
    auto host = cells_from_sysfs(machine->root());
    EXPECT_TRUE(host) << host.error().text;
    return host ? *host : model::HostTopology();
}

TEST(Machines, OneCellWithoutSmt) {
    const auto host = read(tests::one_cell());
    ASSERT_EQ(host.cells.size(), 1U);
    EXPECT_EQ(host.cells[0].cpuset, CpuSet::range(0, 3));
    EXPECT_EQ(host.cells[0].siblings.size(), 4U);
    EXPECT_FALSE(host.hyperthreading());
    EXPECT_EQ(host.cells[0].socket, 0);
    EXPECT_EQ(host.cells[0].memory_mib, 15936);
    EXPECT_THAT(host.cells[0].mempages,
                ElementsAre(model::PagePool{4, 4079623, 0, 0},
                            model::PagePool{2048, 0, 0, 0},
                            model::PagePool{1048576, 0, 0, 0}));
}

TEST(Machines, TwoCellsWithSmtAndInterleavedNumbers) {
    const auto host = read(tests::two_cells_smt());
    ASSERT_EQ(host.cells.size(), 2U);
    EXPECT_TRUE(host.hyperthreading());
    EXPECT_EQ(host.cells[1].cpuset.str(), "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31");
    EXPECT_EQ(host.cells[1].siblings.front(), (CpuSet{1, 17}));
    EXPECT_EQ(host.cells[1].siblings.back(), (CpuSet{15, 31}));
    EXPECT_EQ(host.cells[1].socket, 1);
    EXPECT_THAT(host.cells[1].distances, ElementsAre(21U, 10U));
    // what huge pages leave
    EXPECT_EQ(host.cells[0].mempages[0].total, (98911232 - 4096 * 2048 - 8 * 1048576) / 4);
}

TEST(Machines, FourCellsOfUnevenMemory) {
    const auto host = read(tests::four_cells_uneven());
    ASSERT_EQ(host.cells.size(), 4U);
    std::vector<std::int64_t> memory;
    for (const auto& cell : host.cells)
        memory.push_back(cell.memory_mib);
    EXPECT_THAT(memory, ElementsAre(128839, 64512, 64512, 32256));
    EXPECT_EQ(host.cells[0].pool(2048)->total, 1024);
    EXPECT_EQ(host.cells[3].pool(2048)->total, 0);
    EXPECT_EQ(host.cells[3].pool(1048576), nullptr);
}

TEST(Machines, EightCellsInTwoSockets) {
    const auto host = read(tests::eight_cells());
    ASSERT_EQ(host.cells.size(), 8U);
    EXPECT_EQ(host.cells[3].socket, 0);
    EXPECT_EQ(host.cells[4].socket, 1);
    EXPECT_EQ(host.cells[7].siblings.front(), (CpuSet{56, 120}));
    CpuSet all;
    for (const auto& cell : host.cells) {
        EXPECT_FALSE(all.intersects(cell.cpuset));
        all |= cell.cpuset;
    }
    EXPECT_EQ(all, CpuSet::range(0, 127));
}

TEST(Machines, ACellWithMemoryOnly) {
    const auto host = read(tests::memory_only_cell());
    ASSERT_EQ(host.cells.size(), 2U);
    EXPECT_TRUE(host.cells[1].cpuset.empty());
    EXPECT_TRUE(host.cells[1].siblings.empty());
    EXPECT_EQ(host.cells[1].socket, std::nullopt);
    EXPECT_EQ(host.cells[1].memory_mib, 131072);
}

TEST(Machines, OfflineCpusAreNotThere) {
    const auto machine = tests::offline_cpus();
    const auto host = read(machine);
    ASSERT_EQ(host.cells.size(), 1U);
    EXPECT_EQ(host.cells[0].cpuset.str(), "0-2,4-5");
    EXPECT_THAT(host.cells[0].siblings, ElementsAre(CpuSet{0, 4}, CpuSet{1, 5}, CpuSet{2}));
    const auto kernel = read_kernel_state(machine->root());
    ASSERT_TRUE(kernel);
    EXPECT_EQ(kernel->offline.str(), "3,6-7");
    EXPECT_EQ(kernel->isolated.str(), "2");
}

TEST(Machines, SubNumaClustersShareASocket) {
    const auto host = read(tests::sub_numa_clusters());
    ASSERT_EQ(host.cells.size(), 4U);
    EXPECT_EQ(host.cells[0].socket, 0);
    EXPECT_EQ(host.cells[1].socket, 0);
    EXPECT_EQ(host.cells[2].socket, 1);
    EXPECT_THAT(host.cells[1].distances, ElementsAre(11U, 10U, 21U, 21U));
}

TEST(Machines, WithoutNumaTheHostIsOneCell) {
    tests::SysfsTree tree;
    tree.cpus({0, 1});
    tree.core({0, 1}, 0);
    tree.put("proc/meminfo", "MemTotal:        2048000 kB\nMemFree: 1 kB\n");
    const auto host = cells_from_sysfs(tree.root());
    ASSERT_TRUE(host) << host.error().text;
    ASSERT_EQ(host->cells.size(), 1U);
    EXPECT_EQ(host->cells[0].memory_mib, 2000);
    EXPECT_EQ(host->cells[0].cpuset, (CpuSet{0, 1}));
}

/// Each cell is given to guests by configuration as the kernel describes it.
TEST(Machines, ConfiguredSetsAreCutPerCell) {
    const auto machine = tests::sub_numa_clusters();
    domain::HostCapabilities capabilities;
    capabilities.arch = "x86_64";
    capabilities.topology = read(machine);
    TopologyOptions options;
    options.shared_cpus = "0-1,24-25";
    options.dedicated_cpus = "2-23,26-47";
    options.reserved_pages[3][2048] = 16;
    const auto kernel = read_kernel_state(machine->root());
    ASSERT_TRUE(kernel);
    const auto host = host_topology(capabilities, *kernel, options);
    ASSERT_TRUE(host) << host.error().text;
    EXPECT_EQ(host->cells[0].cpuset.str(), "0-1,24-25");
    EXPECT_EQ(host->cells[0].pcpuset.str(), "2-5,26-29");
    EXPECT_TRUE(host->cells[1].cpuset.empty());
    EXPECT_EQ(host->cells[3].pool(2048)->reserved, 16);
}

TEST(Machines, ABrokenTreeNamesTheFile) {
    const auto machine = tests::one_cell();
    machine->put("sys/devices/system/cpu/cpu2/topology/physical_package_id", "x\n");
    const auto host = cells_from_sysfs(machine->root());
    ASSERT_FALSE(host);
    EXPECT_THAT(host.error().text, testing::HasSubstr("cpu2/topology/physical_package_id"));
}

} // namespace
} // namespace novalet::hypervisor::topology
