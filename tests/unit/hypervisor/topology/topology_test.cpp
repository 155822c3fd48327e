#include "agent/core/file.hpp"
#include "hypervisor/topology/host_topology.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace novalet::hypervisor::topology {
namespace {

namespace fs = std::filesystem;
namespace model = scheduler_hooks::model;
using model::CpuSet;
using ::testing::HasSubstr;

/// A recorded tree: two nodes, one CPU offline, 2 MiB pools.
class Tree {
  public:
    Tree() {
        put("cpu/online", "0-2\n");
        put("cpu/offline", "3\n");
        put("cpu/isolated", "\n");
        for (const char* node : {"0", "1"}) {
            put(std::string("node/node") + node + "/meminfo",
                std::string("Node ") + node + " MemTotal:        8388608 kB\nNode " + node +
                    " MemFree:          1000 kB\n");
            pool(node, 2048, "1024", "512");
        }
        put("node/possible", "0-1\n");
    }
    void pool(const std::string& node, unsigned kib, const char* total, const char* free) {
        const auto base =
            "node/node" + node + "/hugepages/hugepages-" + std::to_string(kib) + "kB/";
        put(base + "nr_hugepages", total);
        put(base + "free_hugepages", free);
    }
    void put(const std::string& name, const std::string& content) {
        const auto path = folder_.path() / "sys/devices/system" / name;
        fs::create_directories(path.parent_path());
        ASSERT_TRUE(write_file_atomically(path, content));
    }
    [[nodiscard]] Result<KernelState> read() const { return read_kernel_state(folder_.path()); }

  private:
    tests::TemporaryFolder folder_;
};

domain::HostCapabilities capabilities() {
    domain::HostCapabilities out;
    out.arch = "x86_64";
    for (unsigned i = 0; i < 2; ++i) {
        model::HostCell cell;
        cell.id = static_cast<int>(i);
        cell.cpuset = CpuSet{i, i + 2};
        cell.siblings = {CpuSet{i, i + 2}};
        cell.memory_mib = 1;
        cell.mempages = {{4, 1, 0, 0}, {2048, 1, 0, 0}};
        out.topology.cells.push_back(cell);
    }
    return out;
}

TEST(Sysfs, RecordedTree_IsRead) {
    const auto state = Tree().read();
    ASSERT_TRUE(state) << state.error().text;
    EXPECT_EQ(state->online.str(), "0-2");
    EXPECT_EQ(state->offline.str(), "3");
    EXPECT_TRUE(state->isolated.empty());
    ASSERT_EQ(state->nodes.size(), 2U);
    EXPECT_EQ(state->nodes.at(1).total_kib, 8388608U);
    ASSERT_EQ(state->nodes.at(1).pools.size(), 1U);
    EXPECT_EQ(state->nodes.at(1).pools[0].total, 1024);
    EXPECT_EQ(state->nodes.at(1).pools[0].free, 512);
}

TEST(Sysfs, BrokenOrMissingFiles_AreNamed) {
    Tree tree;
    tree.pool("0", 2048, "many", "1");
    const auto state = tree.read();
    ASSERT_FALSE(state);
    EXPECT_THAT(state.error().text, HasSubstr("nr_hugepages"));
    EXPECT_THAT(state.error().text, HasSubstr("many"));
    EXPECT_EQ(read_kernel_state("/nonexistent/novalet").error().code, Code::NotFound);
}

TEST(Sysfs, ThisHost_CanBeRead) {
    const auto state = read_kernel_state();
    ASSERT_TRUE(state) << state.error().text;
    EXPECT_FALSE(state->online.empty());
}

TEST(HostTopology, NothingConfigured_GivesAllOnlineCpusTwice) {
    const auto host = host_topology(capabilities(), *Tree().read(), {});
    ASSERT_TRUE(host) << host.error().text;
    EXPECT_EQ(host->cells[0].cpuset.str(), "0,2");
    EXPECT_EQ(host->cells[0].pcpuset.str(), "0,2");
    EXPECT_EQ(host->cells[1].cpuset.str(), "1"); // 3 is offline
    EXPECT_EQ(host->cells[1].siblings.at(0).str(), "1");
}

TEST(HostTopology, SharedAndDedicated_AreSeparate) {
    TopologyOptions options;
    options.shared_cpus = "0";
    options.dedicated_cpus = "1";
    const auto host = host_topology(capabilities(), *Tree().read(), options);
    ASSERT_TRUE(host) << host.error().text;
    EXPECT_EQ(host->cells[0].cpuset.str(), "0");
    EXPECT_TRUE(host->cells[0].pcpuset.empty());
    EXPECT_EQ(host->cells[0].siblings.at(0).str(), "0"); // 2 belongs to nobody
    EXPECT_TRUE(host->cells[1].cpuset.empty());
    EXPECT_EQ(host->cells[1].pcpuset.str(), "1");
}

TEST(HostTopology, PagesFollowTheKernel_WithLibvirtsArithmetic) {
    Tree tree;
    tree.pool("0", 2048, "2048", "0");
    TopologyOptions options;
    options.reserved_pages[0][2048] = 64;
    const auto host = host_topology(capabilities(), *tree.read(), options);
    ASSERT_TRUE(host) << host.error().text;
    EXPECT_EQ(host->cells[0].memory_mib, 8192);
    EXPECT_EQ(host->cells[0].pool(2048)->total, 2048);
    EXPECT_EQ(host->cells[0].pool(2048)->reserved, 64);
    EXPECT_EQ(host->cells[0].pool(4)->total, (8388608 - 2048 * 2048) / 4);
    EXPECT_EQ(host->cells[1].pool(4)->total, (8388608 - 1024 * 2048) / 4);
    EXPECT_EQ(host->cells[1].pool(2048)->reserved, 0);
}

TEST(HostTopology, WrongCpuSets_AreInvalidConfiguration) {
    const auto kernel = *Tree().read();
    struct Case {
        const char* shared;
        const char* dedicated;
        const char* text;
    };
    for (const auto& one : {Case{"0-3", "", "not online"},
                            Case{"0-1", "1", "share CPUs 1"},
                            Case{"0,^0", "", "No CPUs"},
                            Case{"", "x", "cpu_dedicated_set"}}) {
        TopologyOptions options;
        options.shared_cpus = one.shared;
        options.dedicated_cpus = one.dedicated;
        const auto host = host_topology(capabilities(), kernel, options);
        ASSERT_FALSE(host) << one.text;
        EXPECT_EQ(host.error().exception, "InvalidConfiguration");
        EXPECT_THAT(host.error().text, HasSubstr(one.text));
    }
}

TEST(HostTopology, Networks_AreOnTheirCells) {
    TopologyOptions options;
    options.physnets["physnet0"] = {1};
    options.tunnel_nodes = {0};
    const auto host = host_topology(capabilities(), *Tree().read(), options);
    ASSERT_TRUE(host);
    EXPECT_TRUE(host->cells[0].network.tunneled);
    EXPECT_EQ(host->cells[1].network.physnets, std::set<std::string>{"physnet0"});
    options.tunnel_nodes = {7};
    EXPECT_EQ(host_topology(capabilities(), *Tree().read(), options).error().exception,
              "InvalidNetworkNUMAAffinity");
}

TEST(HostTopology, ArchitectureWithoutNumaGuests_HasNoCells) {
    auto caps = capabilities();
    caps.arch = "s390x";
    EXPECT_TRUE(host_topology(caps, *Tree().read(), {})->empty());
}

} // namespace
} // namespace novalet::hypervisor::topology
