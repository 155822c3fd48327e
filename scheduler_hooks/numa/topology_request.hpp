#pragma once
// From checked policies to the guest's cells (reference 08 §2 steps 9 to 14). Internal to
// constraints().
#include "scheduler_hooks/model/flavor_image.hpp"
#include "scheduler_hooks/model/guest_topology.hpp"

#include <optional>

namespace novalet::scheduler_hooks::numa {

struct Policies {
    std::optional<model::CpuPolicy> cpu;
    std::optional<model::ThreadPolicy> thread;
    std::optional<model::EmulatorPolicy> emulator;
    model::CpuSet realtime;
    model::CpuSet pinned; ///< vCPUs that get a host CPU of their own
    std::int64_t page_size_kib = model::page_size_none;
};

/// hw:numa_nodes / hw_numa_nodes; empty when neither is set.
[[nodiscard]] Result<std::optional<unsigned>> requested_nodes(const model::FlavorSpec& flavor,
                                                              const model::ImageSpec& image);
/// Cells from hw:numa_cpus.N and hw:numa_mem.N, or evenly divided when none is given.
[[nodiscard]] Result<model::GuestTopology> build_topology(const model::FlavorSpec& flavor,
                                                          const model::ImageSpec& image,
                                                          unsigned nodes,
                                                          const Policies& wanted);

} // namespace novalet::scheduler_hooks::numa
