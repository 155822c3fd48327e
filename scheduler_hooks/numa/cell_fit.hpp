#pragma once
// One guest cell on one host cell: may it be there, and on which CPUs and pages (reference 08 §4.3
// to §4.5). Internal to the fit; pure.
#include "scheduler_hooks/model/guest_topology.hpp"
#include "scheduler_hooks/model/host_topology.hpp"
#include "scheduler_hooks/model/limits.hpp"
#include "scheduler_hooks/numa/counts.hpp"
#include "scheduler_hooks/numa/fit.hpp"

#include <string>
#include <vector>

namespace novalet::scheduler_hooks::numa {

/// A host cell with everything counted once that the pair checks ask for.
struct CellView {
    const model::HostCell* cell = nullptr;
    const std::vector<KernelPages>* kernel = nullptr;
    const CellCounts* counts = nullptr;
    const model::PagePool* smallest = nullptr; ///< its smallest pages; null: it has no pools
};

[[nodiscard]] CellView view_of(const model::HostCell& cell,
                               const std::vector<KernelPages>* kernel,
                               const CellCounts& counts);

/// What a guest cell asks, counted once for all host cells, and what goes with it.
struct PairTerms {
    std::int64_t pinned = 0;   ///< |pcpuset|
    std::int64_t floating = 0; ///< |cpuset|
    unsigned reserved = 0;     ///< CPUs for the emulator threads: 0 or 1
    const model::NumaLimits* limits = nullptr;
    [[nodiscard]] bool operator==(const PairTerms&) const = default;
};

/// Does it fit? `page_size_kib` receives the size the guest would get (0: none asked). With `why`
/// every failed check adds a text in numbers; without, the first one ends it.
[[nodiscard]] bool pair_fits(const CellView& host,
                             const model::GuestCell& guest,
                             const PairTerms& terms,
                             std::int64_t& page_size_kib,
                             std::vector<std::string>* why);

/// The guest cell on that host cell: id, page size, pins, reserved CPU. Only after pair_fits().
[[nodiscard]] model::GuestCell place(const CellView& host,
                                     const model::GuestCell& guest,
                                     unsigned reserved,
                                     std::int64_t page_size_kib);

} // namespace novalet::scheduler_hooks::numa
