#pragma once
// The host's NUMA cells with what configuration gives to guests: ComputeNode.numa_topology before
// any guest is counted (reference 08 §3). Pure functions, any thread.
#include "hypervisor/domain/capabilities.hpp"
#include "hypervisor/topology/sysfs.hpp"
#include "scheduler_hooks/model/host_topology.hpp"

#include <map>
#include <set>
#include <string>

namespace novalet::hypervisor::topology {

struct TopologyOptions {
    std::string shared_cpus;    ///< compute.cpu_shared_set; empty = not configured
    std::string dedicated_cpus; ///< compute.cpu_dedicated_set; empty = not configured
    /// reserved_huge_pages: node → size KiB → pages.
    std::map<int, std::map<std::uint64_t, std::int64_t>> reserved_pages;
    std::map<std::string, std::set<int>> physnets; ///< physical network → its nodes
    std::set<int> tunnel_nodes;
};

struct GuestCpus {
    scheduler_hooks::model::CpuSet shared;    ///< VCPU inventory
    scheduler_hooks::model::CpuSet dedicated; ///< PCPU inventory
    /// Neither set is configured: every online CPU is both, as on hosts of old.
    bool everything = false;
};

/// InvalidConfiguration for sets that overlap, name nothing, or name CPUs that are not online.
[[nodiscard]] Result<GuestCpus> guest_cpus(const TopologyOptions& options,
                                           const scheduler_hooks::model::CpuSet& online);

/// Cells of libvirt's capabilities with memory and pages as the kernel counts them now: pools may
/// have changed since libvirt was asked. Page arithmetic is libvirt's: the smallest size holds what
/// huge pages leave. No cells on architectures without NUMA guests.
/// InvalidNetworkNUMAAffinity for a network on a node that does not exist.
[[nodiscard]] Result<scheduler_hooks::model::HostTopology>
host_topology(const domain::HostCapabilities& capabilities,
              const KernelState& kernel,
              const TopologyOptions& options);

} // namespace novalet::hypervisor::topology
