#pragma once
// Sizes of the kernel's huge page pools at run time: how many pages each cell should have, by the
// operator's policy and what guests hold. Pure; hypervisor/topology/page_pools.hpp does it.
#include "scheduler_hooks/model/host_topology.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace novalet::scheduler_hooks::claims {

/// Counts are pages. No policy for a pool: it is left alone.
struct PoolPolicy {
    int cell = 0;
    std::uint64_t size_kib = 0;
    std::int64_t min = 0;   ///< never fewer
    std::int64_t max = 0;   ///< never more, unless more are in use
    std::int64_t spare = 0; ///< free pages to have in store for the next guests
    [[nodiscard]] bool operator==(const PoolPolicy&) const = default;
};

/// The kernel's pool now.
struct PoolNow {
    int cell = 0;
    std::uint64_t size_kib = 0;
    std::int64_t total = 0;
    std::int64_t free = 0;
};

struct PoolChange {
    int cell = 0;
    std::uint64_t size_kib = 0;
    std::int64_t from = 0;
    std::int64_t to = 0;
    std::string reason; ///< "400 in use, 64 spare wanted, 0 to 1000 allowed"
    [[nodiscard]] bool operator==(const PoolChange&) const = default;
};

/// What to change, in the order of the policies; empty when all is well. In use counts what the
/// kernel says and what `books` (host topology with the usage of all claims) promises or reserves,
/// whichever is more, and a pool never falls below it. A pool grows as soon as there are fewer than
/// `spare` free pages, only into small pages that nobody was promised; it shrinks when more than
/// twice `spare` are free, so that one guest that comes and goes does not move it.
[[nodiscard]] std::vector<PoolChange> plan_pools(const std::vector<PoolPolicy>& policies,
                                                 const model::HostTopology& books,
                                                 const std::vector<PoolNow>& kernel);

} // namespace novalet::scheduler_hooks::claims
