#include "agent/app/huge_pages.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/topology/page_pools.hpp"

namespace novalet::app {
namespace {

namespace claims = scheduler_hooks::claims;
namespace topology = hypervisor::topology;
using scheduler_hooks::numa::KernelPages;

metrics::Labels labels(int cell, std::uint64_t size_kib) {
    return {{"cell", cat(cell)}, {"size_kib", cat(size_kib)}};
}

} // namespace

HugePages::HugePages(const config::Compute& config, std::filesystem::path root)
    : root_(std::move(root)) {
    for (const auto& pool : config.huge_page_pools)
        policies_.push_back({static_cast<int>(pool.node),
                             pool.size,
                             static_cast<std::int64_t>(pool.min),
                             static_cast<std::int64_t>(pool.max),
                             static_cast<std::int64_t>(pool.spare)});
}

std::vector<KernelPages> HugePages::free_pages() const {
    const auto kernel = topology::read_kernel_state(root_);
    if (kernel)
        return topology::free_pages_of(*kernel);
    log::warning("the kernel's free huge pages cannot be read; claims go by the books alone",
                 {{"error", kernel.error().text}});
    return {};
}

void HugePages::show_drift(const std::vector<KernelPages>& drift) {
    for (const KernelPages& pages : drift) {
        metrics::gauge("novalet_huge_page_drift_pages",
                       "Huge pages that should be free by the books, less those that are free",
                       labels(pages.cell, pages.size_kib))
            .set(static_cast<double>(pages.free));
        Drift& seen = drift_[{pages.cell, pages.size_kib}];
        const bool lasts = seen.pages == pages.free;
        seen.pages = pages.free;
        if (!lasts || seen.told == (pages.free != 0))
            continue;
        seen.told = pages.free != 0;
        if (seen.told)
            log::warning("huge pages: the kernel's count differs from the books",
                         {{"cell", pages.cell},
                          {"size_kib", pages.size_kib},
                          {"missing_pages", pages.free}});
        else
            log::info("huge pages: the kernel's count is the books' again",
                      {{"cell", pages.cell}, {"size_kib", pages.size_kib}});
    }
}

bool HugePages::tend(const scheduler_hooks::model::HostTopology& books) {
    if (policies_.empty())
        return false;
    const auto kernel = topology::read_kernel_state(root_);
    if (!kernel) {
        log::warning("the pools of huge pages cannot be read; they stay as they are",
                     {{"error", kernel.error().text}});
        return false;
    }
    bool changed = false;
    std::set<Pool> differ;
    for (const auto& change : claims::plan_pools(policies_, books, topology::pools_of(*kernel))) {
        const auto now = topology::resize_pool(change.cell, change.size_kib, change.to, root_);
        if (!now) {
            log::warning("a pool of huge pages cannot be changed", {{"error", now.error().text}});
            continue;
        }
        metrics::gauge("novalet_huge_page_pool_pages",
                       "Huge pages of a pool after the agent changed it",
                       labels(change.cell, change.size_kib))
            .set(static_cast<double>(*now));
        const auto say = [&](auto write, const char* text) {
            write(text,
                  {{"cell", change.cell},
                   {"size_kib", change.size_kib},
                   {"from", change.from},
                   {"asked", change.to},
                   {"now", *now},
                   {"reason", change.reason}});
        };
        if (*now != change.from)
            say(log::info, "pool of huge pages changed");
        changed = changed || *now != change.from;
        const Pool pool{change.cell, change.size_kib};
        if (*now != change.to && differ.insert(pool).second && differ_.count(pool) == 0)
            say(log::warning,
                *now < change.to
                    ? "the kernel has fewer huge pages than asked for (its free memory is in "
                      "smaller pieces); asked again with each audit"
                    : "the kernel keeps more huge pages than asked for: others use them");
    }
    differ_ = std::move(differ);
    return changed;
}

} // namespace novalet::app
