#pragma once
// The host as the fit sees it: NUMA cells, CPUs, page pools and what is used of them; the same
// content as ComputeNode.numa_topology (reference 08 §3). Plain values, any thread.
#include "agent/core/json.hpp"
#include "scheduler_hooks/model/cpu_set.hpp"

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace novalet::scheduler_hooks::model {

/// Pages of one size on one cell. Counts are pages; `used` may exceed `total` for the smallest size
/// (memory overcommit), and `reserved` pages belong to others.
struct PagePool {
    std::uint64_t size_kib = 4;
    std::int64_t total = 0;
    std::int64_t used = 0;
    std::int64_t reserved = 0;
    [[nodiscard]] std::int64_t free() const noexcept { return total - used - reserved; }
    [[nodiscard]] bool operator==(const PagePool&) const = default;
};

/// Networks that are near a cell (also: networks that a guest needs, in the limits).
struct NetworkMetadata {
    std::set<std::string> physnets;
    bool tunneled = false;
    [[nodiscard]] bool operator==(const NetworkMetadata&) const = default;
};

struct HostCell {
    int id = 0;                     ///< libvirt's cell id; ids may be sparse
    CpuSet cpuset;                  ///< CPUs for shared vCPUs (VCPU inventory)
    CpuSet pcpuset;                 ///< CPUs for pinned vCPUs (PCPU inventory)
    CpuSet pinned_cpus;             ///< of pcpuset, taken by guests
    std::vector<CpuSet> siblings;   ///< threads of one core; ascending by lowest CPU
    std::optional<int> socket;      ///< empty: unknown, or the cell spans sockets
    std::int64_t memory_mib = 0;    ///< huge pages included
    std::int64_t memory_usage = 0;  ///< MiB promised to guests
    std::int64_t cpu_usage = 0;     ///< shared vCPUs promised to guests
    std::vector<PagePool> mempages; ///< ascending by size
    NetworkMetadata network;
    std::vector<unsigned> distances; ///< to each cell in host order; not part of Nova's document

    [[nodiscard]] CpuSet free_pcpus() const { return pcpuset - pinned_cpus; }
    /// May be negative.
    [[nodiscard]] std::int64_t available_memory() const noexcept {
        return memory_mib - memory_usage;
    }
    [[nodiscard]] const PagePool* pool(std::uint64_t size_kib) const noexcept;
    [[nodiscard]] bool operator==(const HostCell&) const = default;
};

/// No cells: the host has no NUMA information (ComputeNode.numa_topology is null).
struct HostTopology {
    std::vector<HostCell> cells;

    [[nodiscard]] bool empty() const noexcept { return cells.empty(); }
    [[nodiscard]] const HostCell* cell(int id) const noexcept;
    [[nodiscard]] HostCell* cell(int id) noexcept;
    [[nodiscard]] CpuSet shared_cpus() const;
    [[nodiscard]] CpuSet dedicated_cpus() const;
    /// True when a core has more than one thread.
    [[nodiscard]] bool hyperthreading() const noexcept;
    [[nodiscard]] bool operator==(const HostTopology&) const = default;
};

/// The NUMATopology 1.2 primitive as Nova stores it (its text goes to ComputeNode.numa_topology);
/// null for a host without cells. Same form in every release from Zed on.
[[nodiscard]] Json to_json(const HostTopology& topology);
/// Reads the primitive, or null. Sets in any order, unset fields as their empty value. An error
/// names the cell and the field.
[[nodiscard]] Result<HostTopology> host_topology_from_json(const Json& document);

[[nodiscard]] Json to_json(const NetworkMetadata& network);
/// The primitive or the plain object {physnets, tunneled}.
[[nodiscard]] Result<NetworkMetadata> network_metadata_from_json(const Json& document);

} // namespace novalet::scheduler_hooks::model
