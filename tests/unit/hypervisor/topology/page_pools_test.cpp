#include "hypervisor/topology/page_pools.hpp"
#include "tests/support/sysfs_tree.hpp"

#include <gmock/gmock.h>

namespace novalet::hypervisor::topology {
namespace {

TEST(PoolsInSysfs, AreReadAndChanged) {
    const auto machine = tests::sub_numa_clusters();
    const auto kernel = read_kernel_state(machine->root()).value();
    const auto pools = pools_of(kernel);
    ASSERT_EQ(pools.size(), 8U);
    EXPECT_EQ(pools[2].cell, 1);
    EXPECT_EQ(pools[2].size_kib, 2048U);
    EXPECT_EQ(pools[2].total, 256);
    EXPECT_EQ(pools[2].free, 200);
    EXPECT_EQ(free_pages_of(kernel)[3].free, 1);
    const auto now = resize_pool(1, 2048, 300, machine->root());
    ASSERT_TRUE(now) << now.error().text;
    EXPECT_EQ(*now, 300);
    EXPECT_EQ(machine->get("sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"),
              "300");
    ASSERT_TRUE(resize_pool(1, 2048, 7, machine->root()));
    EXPECT_EQ(read_kernel_state(machine->root()).value().nodes.at(1).pools.front().total, 7);
}

TEST(PoolsInSysfs, APoolThatIsNotThere) {
    const auto machine = tests::one_cell();
    const auto changed = resize_pool(0, 16384, 1, machine->root());
    ASSERT_FALSE(changed);
    EXPECT_EQ(changed.error().code, Code::NotFound);
    EXPECT_THAT(changed.error().text, testing::HasSubstr("hugepages-16384kB"));
    EXPECT_EQ(resize_pool(0, 2048, -1, machine->root()).error().code, Code::InvalidArgument);
}

} // namespace
} // namespace novalet::hypervisor::topology
