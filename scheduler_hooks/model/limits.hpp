#pragma once
// Limits that the scheduler sends along with a request (reference 08 §0, §4.3).
#include "agent/core/json.hpp"
#include "scheduler_hooks/model/host_topology.hpp"

#include <optional>

namespace novalet::scheduler_hooks::model {

/// NUMATopologyLimits. Absent limits mean: no overcommit check at all.
struct NumaLimits {
    double cpu_allocation_ratio = 1.0;
    double ram_allocation_ratio = 1.0;
    std::optional<NetworkMetadata> network; ///< networks the guest needs near its cells
};

/// From the RPC argument `limits`: null, a SchedulerLimits or NUMATopologyLimits primitive, or the
/// plain dict {"numa_topology": …}. Empty when no NUMA limits are in it.
[[nodiscard]] Result<std::optional<NumaLimits>> limits_from_json(const Json& document);

} // namespace novalet::scheduler_hooks::model
