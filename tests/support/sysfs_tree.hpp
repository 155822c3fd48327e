#pragma once
// A /sys of a machine that is not here: files as the kernel writes them, below a temporary folder.
// The machines at the end follow public descriptions of real ones (CPU numbering, sockets, cells).
#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "scheduler_hooks/model/cpu_set.hpp"
#include "tests/support/temporary_folder.hpp"

#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

namespace novalet::tests {

class SysfsTree {
  public:
    using CpuSet = scheduler_hooks::model::CpuSet;

    struct Pages {
        std::uint64_t size_kib = 2048;
        std::int64_t total = 0;
        std::int64_t free = 0;
    };

    [[nodiscard]] const std::filesystem::path& root() const { return folder_.path(); }

    void put(const std::string& name, const std::string& content) const {
        const auto path = root() / name;
        std::filesystem::create_directories(path.parent_path());
        if (const auto written = write_file_atomically(path, content); !written)
            throw std::runtime_error(written.error().text);
    }
    [[nodiscard]] std::string get(const std::string& name) const {
        return std::string(trim(read_file(root() / name).value()));
    }

    void node(int id,
              const CpuSet& cpus,
              std::uint64_t memory_kib,
              const std::vector<Pages>& pools,
              const std::string& distances) const {
        const std::string base = cat("sys/devices/system/node/node", id, '/');
        put(base + "cpulist", cpus.str() + "\n");
        put(base + "distance", distances + "\n");
        put(base + "meminfo",
            cat("Node ",
                id,
                " MemTotal:       ",
                memory_kib,
                " kB\nNode ",
                id,
                " MemFree: 1 kB\n"));
        for (const Pages& pool : pools) {
            const std::string pages = cat(base, "hugepages/hugepages-", pool.size_kib, "kB/");
            put(pages + "nr_hugepages", cat(pool.total, '\n'));
            put(pages + "free_hugepages", cat(pool.free, '\n'));
            put(pages + "surplus_hugepages", "0\n");
        }
    }
    /// Every CPU of the set is a thread of this core.
    void core(const CpuSet& threads, int package) const {
        threads.for_each([&](unsigned cpu) {
            const std::string base = cat("sys/devices/system/cpu/cpu", cpu, "/topology/");
            put(base + "thread_siblings_list", threads.str() + "\n");
            put(base + "physical_package_id", cat(package, '\n'));
        });
    }
    void cpus(const CpuSet& online, const CpuSet& offline = {}, const CpuSet& isolated = {}) const {
        put("sys/devices/system/cpu/online", online.str() + "\n");
        put("sys/devices/system/cpu/offline", offline.str() + "\n");
        put("sys/devices/system/cpu/isolated", isolated.str() + "\n");
    }
    /// Cores of two threads, numbered as firmware does: all first threads, then all second ones.
    void smt_cores(unsigned first, unsigned cores, unsigned second, int package) const {
        for (unsigned i = 0; i < cores; ++i)
            core({first + i, second + i}, package);
    }

  private:
    TemporaryFolder folder_;
};

using Machine = std::unique_ptr<SysfsTree>;

/// A desktop board: one cell, four cores, no SMT.
inline Machine one_cell() {
    auto tree = std::make_unique<SysfsTree>();
    tree->cpus(SysfsTree::CpuSet::range(0, 3));
    for (unsigned cpu = 0; cpu < 4; ++cpu)
        tree->core({cpu}, 0);
    tree->node(0, SysfsTree::CpuSet::range(0, 3), 16318492, {{2048, 0, 0}, {1048576, 0, 0}}, "10");
    return tree;
}

/// Two sockets of eight cores with SMT, even and odd CPUs as some servers number them.
inline Machine two_cells_smt() {
    auto tree = std::make_unique<SysfsTree>();
    tree->cpus(SysfsTree::CpuSet::range(0, 31));
    for (int id = 0; id < 2; ++id) {
        SysfsTree::CpuSet all;
        for (unsigned i = 0; i < 8; ++i) {
            const unsigned cpu = 2 * i + static_cast<unsigned>(id);
            tree->core({cpu, cpu + 16}, id);
            all |= {cpu, cpu + 16};
        }
        tree->node(
            id, all, 98911232, {{2048, 4096, 4096}, {1048576, 8, 8}}, id == 0 ? "10 21" : "21 10");
    }
    return tree;
}

/// Four sockets, memory modules not everywhere alike.
inline Machine four_cells_uneven() {
    auto tree = std::make_unique<SysfsTree>();
    tree->cpus(SysfsTree::CpuSet::range(0, 39));
    const std::vector<std::uint64_t> memory{131931308, 66060288, 66060288, 33030144};
    const std::vector<std::string> distances{
        "10 21 31 21", "21 10 21 31", "31 21 10 21", "21 31 21 10"};
    for (unsigned id = 0; id < 4; ++id) {
        for (unsigned i = 0; i < 10; ++i)
            tree->core({id * 10 + i}, static_cast<int>(id));
        tree->node(static_cast<int>(id),
                   SysfsTree::CpuSet::range(id * 10, id * 10 + 9),
                   memory[id],
                   {{2048, id == 0 ? 1024 : 0, 0}},
                   distances[id]);
    }
    return tree;
}

/// Two sockets, four cells each (NPS4): 8 cells of 8 cores with SMT.
inline Machine eight_cells() {
    auto tree = std::make_unique<SysfsTree>();
    tree->cpus(SysfsTree::CpuSet::range(0, 127));
    for (unsigned id = 0; id < 8; ++id) {
        tree->smt_cores(id * 8, 8, 64 + id * 8, static_cast<int>(id / 4));
        std::string distances;
        for (unsigned other = 0; other < 8; ++other)
            distances += cat(other == 0 ? "" : " ",
                             other == id           ? 10
                             : other / 4 == id / 4 ? 12
                                                   : 32);
        tree->node(static_cast<int>(id),
                   SysfsTree::CpuSet::range(id * 8, id * 8 + 7) |
                       SysfsTree::CpuSet::range(64 + id * 8, 71 + id * 8),
                   65863680,
                   {{2048, 512, 256}, {1048576, 4, 4}},
                   distances);
    }
    return tree;
}

/// One socket and a memory expander: cell 1 has no CPUs.
inline Machine memory_only_cell() {
    auto tree = std::make_unique<SysfsTree>();
    tree->cpus(SysfsTree::CpuSet::range(0, 7));
    tree->smt_cores(0, 4, 4, 0);
    tree->node(0, SysfsTree::CpuSet::range(0, 7), 32768000, {{2048, 128, 128}}, "10 17");
    tree->node(1, {}, 134217728, {{2048, 0, 0}}, "17 28");
    return tree;
}

/// Half of the second threads switched off, one core as a whole. Off-line CPUs have no topology.
inline Machine offline_cpus() {
    auto tree = std::make_unique<SysfsTree>();
    const SysfsTree::CpuSet offline{3, 6, 7};
    tree->cpus(SysfsTree::CpuSet::range(0, 7) - offline, offline, {2});
    tree->core({0, 4}, 0);
    tree->core({1, 5}, 0);
    tree->core({2}, 0);
    tree->node(0, SysfsTree::CpuSet::range(0, 7) - offline, 16318492, {{2048, 64, 64}}, "10");
    return tree;
}

/// Sub-NUMA clusters: two cells in each of two sockets; cell ids are not the sockets'.
inline Machine sub_numa_clusters() {
    auto tree = std::make_unique<SysfsTree>();
    tree->cpus(SysfsTree::CpuSet::range(0, 47));
    const std::vector<std::string> distances{
        "10 11 21 21", "11 10 21 21", "21 21 10 11", "21 21 11 10"};
    for (unsigned id = 0; id < 4; ++id) {
        tree->smt_cores(id * 6, 6, 24 + id * 6, static_cast<int>(id / 2));
        tree->node(static_cast<int>(id),
                   SysfsTree::CpuSet::range(id * 6, id * 6 + 5) |
                       SysfsTree::CpuSet::range(24 + id * 6, 29 + id * 6),
                   49152000,
                   {{2048, 256, 200}, {1048576, 2, 1}},
                   distances[id]);
    }
    return tree;
}

} // namespace novalet::tests
