#include "scheduler_hooks/numa/counts.hpp"

#include <algorithm>
#include <bit>

namespace novalet::scheduler_hooks::numa {
namespace {

using model::CpuSet;
using model::HostCell;

CpuSet::Word free_word(const HostCell& cell, std::size_t at) {
    const auto& offered = cell.pcpuset.words();
    const auto& pinned = cell.pinned_cpus.words();
    if (at >= offered.size())
        return 0;
    return at < pinned.size() ? offered[at] & ~pinned[at] : offered[at];
}

/// CPUs of no sibling set are cores of their own.
std::size_t loose_cpus(const HostCell& cell) {
    CpuSet loose = cell.free_pcpus();
    for (const CpuSet& core : cell.siblings)
        loose -= core;
    return loose.size();
}

} // namespace

CellCounts::CellCounts(const HostCell& cell)
    : shared_(static_cast<std::int64_t>(cell.cpuset.size())),
      dedicated_(static_cast<std::int64_t>(cell.pcpuset.size())),
      legacy_(cell.cpuset == cell.pcpuset) {
    for (std::size_t at = 0; at < cell.pcpuset.words().size(); ++at)
        free_dedicated_ += std::popcount(free_word(cell, at));
    std::vector<std::int32_t> exactly; // [t]: cores with t free threads
    std::int64_t seen = 0;
    const auto add = [&](std::size_t free, std::size_t cores) {
        if (exactly.size() <= free)
            exactly.resize(free + 1);
        exactly[free] += static_cast<std::int32_t>(cores);
        seen += static_cast<std::int64_t>(free * cores);
    };
    cores_.reserve(cell.siblings.size());
    for (const CpuSet& core : cell.siblings) {
        const auto& words = core.words();
        // The last word is never zero.
        const bool one_word =
            !words.empty() && std::all_of(words.begin(), words.end() - 1, [](CpuSet::Word word) {
                return word == 0;
            });
        cores_.push_back(one_word ? CoreWord{words.size() - 1, words.back()} : CoreWord{});
        std::size_t size = 0;
        std::size_t free = 0;
        for (std::size_t at = 0; at < words.size(); ++at) {
            size += static_cast<std::size_t>(std::popcount(words[at]));
            free += static_cast<std::size_t>(std::popcount(words[at] & free_word(cell, at)));
        }
        threads_ = std::max(threads_, size);
        add(free, 1);
    }
    if (seen < free_dedicated_)
        if (const std::size_t loose = loose_cpus(cell); loose != 0)
            add(1, loose);
    for (std::size_t t = exactly.size(); t-- > 1;)
        if (t + 1 < exactly.size())
            exactly[t] += exactly[t + 1];
    most_free_ = exactly.empty() ? 0 : exactly.size() - 1;
    if (most_free_ > inline_threads)
        many_.assign(exactly.begin() + 1, exactly.end());
    else if (most_free_ > 0)
        std::copy(exactly.begin() + 1, exactly.end(), few_.begin());
}

HostCounts count_host(const model::HostTopology& host) {
    HostCounts counts;
    counts.reserve(host.cells.size());
    for (const HostCell& cell : host.cells)
        counts.emplace_back(cell);
    return counts;
}

} // namespace novalet::scheduler_hooks::numa
