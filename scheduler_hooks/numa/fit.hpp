#pragma once
// Where a guest's cells go on a host: exact (never an impossible answer, never a missed one) and in
// Nova's order of preference (reference 08 §4). Pure, deterministic, any thread. Cost: a few µs;
// below 1 ms for 16 host and 8 guest cells, also when nothing fits.
//
// Differs from Nova where Nova is wrong: no verdict is reused for another cell; the symbolic page
// size is asked of every host cell anew; all-shared cells of mixed guests fit on every release,
// also with thread policy isolate or isolated emulator threads. One behaviour (Epoxy's) for memory
// and mixed guests on every release.
#include "scheduler_hooks/model/guest_topology.hpp"
#include "scheduler_hooks/model/host_topology.hpp"
#include "scheduler_hooks/model/limits.hpp"
#include "scheduler_hooks/model/pci.hpp"
#include "scheduler_hooks/numa/counts.hpp"

#include <optional>
#include <string>
#include <vector>

namespace novalet::scheduler_hooks::numa {

/// Free pages as the kernel counts them now, less what is promised to guests not yet started.
struct KernelPages {
    int cell = 0;
    std::uint64_t size_kib = 0;
    std::int64_t free = 0;
};

struct FitOptions {
    bool packing = false; ///< packing_host_numa_cells_allocation_strategy; spread otherwise
    /// 2025.2+: hosts sort cells with PCI devices last for guests without PCI requests too.
    bool avoid_pci_cells = false;
};

/// What may be checked besides the cells. Pointers may be null; the fit keeps none of them.
struct FitInput {
    const model::HostTopology& host; ///< with current usage
    const model::GuestTopology& guest;
    const model::NumaLimits* limits = nullptr; ///< null: no overcommit check, as for forced hosts
    const std::vector<model::PciRequest>* pci_requests = nullptr;
    const std::vector<model::PciPool>* pci_pools = nullptr;
    const std::vector<KernelPages>* kernel_pages = nullptr; ///< null: not looked at
    FitOptions options;
    const HostCounts* counts = nullptr; ///< count_host() of this very host; null: counted here
};

/// Why one guest cell cannot be on one host cell, in numbers.
struct CellReason {
    int guest_cell = 0;
    int host_cell = 0;
    std::string text; ///< "needs 4 dedicated CPUs, 3 of 8 free"
};

struct Refusal {
    std::string summary; ///< one line, short enough for an instance fault
    std::vector<CellReason> cells;
    std::vector<std::string> general; ///< PCI, networks, number of cells
    /// All of it, one text a reason, for a log field.
    [[nodiscard]] std::vector<std::string> lines() const;
};

struct FitResult {
    /// The guest with host cell ids, concrete page sizes, pins and reserved CPUs; empty: refused.
    std::optional<model::GuestTopology> topology;
    std::optional<Refusal> refusal; ///< set exactly when topology is empty
};

/// Refuses when the host has no cells: callers ask only for hosts with a topology
/// (reference 08 §0.2 says what to do otherwise).
[[nodiscard]] FitResult fit(const FitInput& input);
/// The same without the explanation: for search loops.
[[nodiscard]] std::optional<model::GuestTopology> fit_quietly(const FitInput& input);

} // namespace novalet::scheduler_hooks::numa
