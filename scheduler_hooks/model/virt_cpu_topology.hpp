#pragma once
// Sockets, cores and threads that the guest sees (reference 08 §6).
#include "agent/core/result.hpp"

namespace novalet::scheduler_hooks::model {

struct FlavorSpec;
struct ImageSpec;

struct VirtCpuTopology {
    unsigned sockets = 1;
    unsigned cores = 1;
    unsigned threads = 1;
    [[nodiscard]] bool operator==(const VirtCpuTopology&) const = default;
};

/// The topology Nova would choose for the flavor's vCPUs under the limits and preferences of flavor
/// and image. Exceptions: InvalidRequest, ImageVCPULimitsRangeExceeded,
/// ImageVCPUTopologyRangeExceeded, ImageVCPULimitsRangeImpossible.
[[nodiscard]] Result<VirtCpuTopology>
best_cpu_topology(const FlavorSpec& flavor, const ImageSpec& image, bool allow_threads = true);

} // namespace novalet::scheduler_hooks::model
