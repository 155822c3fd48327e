#pragma once
// What the kernel says about CPUs and memory of this host, from /sys. All files are small; a whole
// reading costs well below a millisecond per node, so it may be done at every audit.
#include "agent/core/result.hpp"
#include "scheduler_hooks/model/cpu_set.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <vector>

namespace novalet::hypervisor::topology {

/// Huge pages of one size on one node. Counts are pages.
struct HugePagePool {
    std::uint64_t size_kib = 0;
    std::int64_t total = 0; ///< nr_hugepages
    std::int64_t free = 0;  ///< as the kernel counts them; others than guests use pages too
};

struct NodeMemory {
    std::uint64_t total_kib = 0;     ///< huge pages included
    std::vector<HugePagePool> pools; ///< ascending by size
};

struct KernelState {
    scheduler_hooks::model::CpuSet online;
    scheduler_hooks::model::CpuSet offline;
    scheduler_hooks::model::CpuSet isolated; ///< isolcpus=
    std::map<int, NodeMemory> nodes;         ///< by node number; empty without NUMA support
};

/// `root` is put before /sys (recorded trees in tests). NotFound or DataLoss name the file.
[[nodiscard]] Result<KernelState> read_kernel_state(const std::filesystem::path& root = "/");

} // namespace novalet::hypervisor::topology
