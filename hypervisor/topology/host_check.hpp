#pragma once
// Does what configuration gives to guests exist, and is it free of contradictions? Asked by
// `--check-config` and at start. Each finding says what to write instead. Pure, any thread.
#include "hypervisor/topology/host_topology.hpp"
#include "hypervisor/topology/sysfs.hpp"
#include "scheduler_hooks/model/guest_topology.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace novalet::hypervisor::topology {

struct HostFinding {
    std::string option; ///< as in the configuration file: "compute.cpu_shared_set"
    std::string text;
};

struct HostFindings {
    std::vector<HostFinding> errors;   ///< the agent must not start
    std::vector<HostFinding> warnings; ///< it works, but not as meant
};

struct HostWish {
    TopologyOptions cpus_and_pages;
    unsigned reserved_cpus = 0;            ///< compute.reserved_host_cpus
    std::uint64_t reserved_memory_mib = 0; ///< compute.reserved_host_memory
};

/// CPU sets that overlap, name nothing, or name CPUs that are off-line or do not exist; isolated
/// CPUs in the shared set; reserved huge pages of cells or sizes that do not exist or more than
/// there are; reserved CPUs along with CPU sets; more reserved memory than there is.
[[nodiscard]] HostFindings check_host(const HostWish& wish, const KernelState& kernel);

/// A guest of this host, by what its record or its domain says.
struct GuestOnHost {
    std::string uuid;
    std::optional<scheduler_hooks::model::GuestTopology> topology; ///< empty: floating vCPUs only
};

/// Guests that the CPU sets leave no CPUs for are errors, guests pinned to CPUs outside of
/// cpu_dedicated_set warnings (reference 08 §3.1). `online` are the host's CPUs.
[[nodiscard]] HostFindings check_guests(const TopologyOptions& options,
                                        const scheduler_hooks::model::CpuSet& online,
                                        const std::vector<GuestOnHost>& guests);

} // namespace novalet::hypervisor::topology
