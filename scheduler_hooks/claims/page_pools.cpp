#include "scheduler_hooks/claims/page_pools.hpp"

#include "agent/core/text.hpp"

#include <algorithm>
#include <map>

namespace novalet::scheduler_hooks::claims {
namespace {

/// KiB of the cell's small pages that nobody was promised.
std::int64_t free_small_kib(const model::HostCell& cell) {
    const auto smallest =
        std::min_element(cell.mempages.begin(),
                         cell.mempages.end(),
                         [](const auto& a, const auto& b) { return a.size_kib < b.size_kib; });
    if (smallest == cell.mempages.end())
        return 0;
    return std::max<std::int64_t>(0, smallest->free()) *
           static_cast<std::int64_t>(smallest->size_kib);
}

} // namespace

std::vector<PoolChange> plan_pools(const std::vector<PoolPolicy>& policies,
                                   const model::HostTopology& books,
                                   const std::vector<PoolNow>& kernel) {
    std::vector<PoolChange> changes;
    std::map<int, std::int64_t> room_kib; // by cell; what one pool takes, the next has not
    for (const model::HostCell& cell : books.cells)
        room_kib[cell.id] = free_small_kib(cell);
    for (const PoolPolicy& policy : policies) {
        const auto now = std::find_if(kernel.begin(), kernel.end(), [&](const PoolNow& pool) {
            return pool.cell == policy.cell && pool.size_kib == policy.size_kib;
        });
        const model::HostCell* cell = books.cell(policy.cell);
        const model::PagePool* pool = cell == nullptr ? nullptr : cell->pool(policy.size_kib);
        if (now == kernel.end() || pool == nullptr)
            continue;
        const std::int64_t used = std::max(now->total - now->free, pool->used + pool->reserved);
        std::int64_t target = std::max(
            used, std::clamp(used + policy.spare, policy.min, std::max(policy.min, policy.max)));
        const auto size = static_cast<std::int64_t>(policy.size_kib);
        std::string reason = cat(used,
                                 " in use, ",
                                 policy.spare,
                                 " spare wanted, ",
                                 policy.min,
                                 " to ",
                                 policy.max,
                                 " allowed");
        if (target > now->total) {
            const std::int64_t room = room_kib[policy.cell] / size;
            if (target > now->total + room)
                reason += cat(", memory for ", room, " more");
            target = std::min(target, now->total + room);
            room_kib[policy.cell] -= (target - now->total) * size;
        } else if (now->total <= std::max(policy.max, used) &&
                   now->total - used <= 2 * policy.spare) {
            target = now->total;
        }
        if (target != now->total)
            changes.push_back(
                {policy.cell, policy.size_kib, now->total, target, std::move(reason)});
    }
    return changes;
}

} // namespace novalet::scheduler_hooks::claims
