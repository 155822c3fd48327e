#include "scheduler_hooks/numa/cell_fit.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/model/page_size.hpp"

#include <algorithm>
#include <bit>

namespace novalet::scheduler_hooks::numa {
namespace {

using model::CpuSet;
using model::GuestCell;
using model::HostCell;
using model::PagePool;
using model::ThreadPolicy;

/// Memory beyond this cannot be meant, and keeps KiB far from the limits of 64 bits.
constexpr std::int64_t max_memory_mib = std::int64_t{1} << 50;

/// Threads per core that the guest's CPUs get; 0: any free ones, one by one (only prefer).
/// Empty: impossible.
std::optional<std::size_t>
threads_per_core(const CellCounts& counts, std::int64_t wanted, ThreadPolicy policy) {
    const std::size_t least = policy == ThreadPolicy::Require ? 2 : 1;
    for (std::size_t t = counts.most_free(); t >= least; --t)
        if (counts.cores_with(t) * static_cast<std::int64_t>(t) >= wanted)
            return t;
    if (policy == ThreadPolicy::Require)
        return std::nullopt;
    return 0;
}

/// Free pages: what the books say, and not more than the kernel has.
std::int64_t free_pages(const CellView& host, const PagePool& pool) {
    std::int64_t free = pool.free();
    if (host.kernel != nullptr)
        for (const KernelPages& pages : *host.kernel)
            if (pages.cell == host.cell->id && pages.size_kib == pool.size_kib)
                free = std::min(free, pages.free);
    return free;
}

/// The pair check, one function a step; each returns true when it holds.
class PairCheck {
  public:
    PairCheck(const CellView& host,
              const GuestCell& guest,
              const PairTerms& terms,
              std::vector<std::string>* why)
        : host_(host), cell_(*host.cell), counts_(*host.counts), guest_(guest), terms_(terms),
          why_(why) {}

    bool run(std::int64_t& page_size_kib) {
        bool fits = memory(page_size_kib);
        if (!fits && why_ == nullptr)
            return false;
        if (guest_.wants_pins())
            fits &= pins();
        if (!fits && why_ == nullptr)
            return false;
        if (guest_.cpu_policy != model::CpuPolicy::Dedicated)
            fits &= shared();
        return fits;
    }

  private:
    template <class... Parts> bool no(const Parts&... parts) {
        if (why_ != nullptr)
            why_->push_back(cat(parts...));
        return false;
    }

    bool memory(std::int64_t& page_size_kib) {
        if (guest_.memory_mib > max_memory_mib)
            return no("needs ", guest_.memory_mib, " MiB");
        const std::int64_t kib = guest_.memory_mib * 1024;
        page_size_kib = model::page_size_none;
        if (guest_.page_size_kib != model::page_size_none)
            return requested_pages(kib, page_size_kib);
        if (host_.smallest != nullptr)
            return small_pages(kib);
        const std::int64_t there = guest_.wants_pins()
                                       ? std::min(cell_.memory_mib, cell_.available_memory())
                                       : cell_.memory_mib;
        return guest_.memory_mib <= there || no("needs ",
                                                guest_.memory_mib,
                                                " MiB, ",
                                                there,
                                                " of ",
                                                cell_.memory_mib,
                                                guest_.wants_pins() ? " free" : " there");
    }

    /// A guest without a page request lives in the smallest pages: pinned guests without
    /// overcommit, others below the total.
    bool small_pages(std::int64_t kib) {
        const PagePool& pool = *host_.smallest;
        const auto size = static_cast<std::int64_t>(pool.size_kib);
        const std::int64_t there = guest_.wants_pins() ? pool.free() : pool.total;
        if (kib % size != 0)
            return no("needs ",
                      guest_.memory_mib,
                      " MiB, no multiple of ",
                      model::page_size_text(size),
                      " pages");
        return kib / size <= there ||
               no(page_text(pool, kib / size, there), guest_.wants_pins() ? " free" : " in all");
    }

    static std::string page_text(const PagePool& pool, std::int64_t needed, std::int64_t there) {
        return cat("needs ",
                   needed,
                   " ",
                   model::page_size_text(static_cast<std::int64_t>(pool.size_kib)),
                   " pages, ",
                   there,
                   " of ",
                   pool.total);
    }

    bool usable(const PagePool& pool) const {
        const auto size = static_cast<std::int64_t>(pool.size_kib);
        if (guest_.page_size_kib > 0)
            return size == guest_.page_size_kib;
        if (guest_.page_size_kib == model::page_size_any)
            return true;
        const bool is_smallest = pool.size_kib == host_.smallest->size_kib;
        return is_smallest == (guest_.page_size_kib == model::page_size_small);
    }

    /// The largest usable size that divides the memory and has enough free pages.
    bool requested_pages(std::int64_t kib, std::int64_t& page_size_kib) {
        for (const PagePool& pool : cell_.mempages) {
            const auto size = static_cast<std::int64_t>(pool.size_kib);
            if (size > page_size_kib && usable(pool) && kib % size == 0 &&
                kib / size <= free_pages(host_, pool))
                page_size_kib = size;
        }
        if (page_size_kib == model::page_size_none && why_ != nullptr)
            why_->push_back(missing_pages(kib));
        return page_size_kib != model::page_size_none;
    }

    std::string missing_pages(std::int64_t kib) const {
        std::string text;
        for (const PagePool& pool : cell_.mempages) {
            if (!usable(pool))
                continue;
            const auto size = static_cast<std::int64_t>(pool.size_kib);
            if (!text.empty())
                text += " or ";
            if (kib % size != 0)
                text += cat("a multiple of ",
                            model::page_size_text(size),
                            " pages, is ",
                            guest_.memory_mib,
                            " MiB");
            else
                text += cat(page_text(pool, kib / size, free_pages(host_, pool)),
                            " free",
                            free_pages(host_, pool) < pool.free() ? " in the kernel" : "");
        }
        if (!text.empty())
            return text;
        return cell_.mempages.empty()
                   ? "has no page pools"
                   : cat("has no ", model::page_size_text(guest_.page_size_kib), " pages");
    }

    bool pins() {
        const std::int64_t wanted = terms_.pinned + terms_.reserved;
        if (wanted > counts_.dedicated() || wanted > counts_.free_dedicated())
            return no(need_cpus(), counts_.free_dedicated(), " of ", counts_.dedicated(), " free");
        if (wanted == 0)
            return true;
        const ThreadPolicy policy = guest_.thread_policy.value_or(ThreadPolicy::Prefer);
        if (policy == ThreadPolicy::Isolate)
            return isolated(wanted);
        if (policy == ThreadPolicy::Prefer || terms_.pinned == 0)
            return true;
        if (counts_.threads() <= 1)
            return no("needs cores with threads (cpu_thread_policy require), has none");
        return threads_per_core(counts_, terms_.pinned, policy).has_value() ||
               no(need_cpus(),
                  "thread siblings are free on ",
                  counts_.cores_with(2),
                  " cores only");
    }

    /// A whole core for each vCPU. With separate sets a host with threads is meant to be excluded
    /// by its trait: the siblings would be sold twice (Nova bug 1889633).
    bool isolated(std::int64_t wanted) {
        if (counts_.threads() != 1 && !counts_.legacy())
            return no("needs cores without threads (cpu_thread_policy isolate), has ",
                      counts_.threads(),
                      " threads a core");
        return wanted <= counts_.whole_cores() ||
               no("needs ", wanted, " unused cores, ", counts_.whole_cores(), " free");
    }

    std::string need_cpus() const {
        return cat("needs ",
                   terms_.pinned,
                   " dedicated CPUs",
                   terms_.reserved != 0 ? " and 1 for the emulator, " : ", ");
    }

    bool shared() {
        bool fits = true;
        if (terms_.floating > counts_.shared())
            fits = no("needs ", terms_.floating, " shared CPUs, has ", counts_.shared());
        if (terms_.limits == nullptr)
            return fits;
        const double cpu_limit =
            static_cast<double>(counts_.shared()) * terms_.limits->cpu_allocation_ratio;
        if (static_cast<double>(cell_.cpu_usage + terms_.floating) > cpu_limit)
            fits = no("needs ",
                      terms_.floating,
                      " shared vCPUs, ",
                      cell_.cpu_usage,
                      " used, limit ",
                      static_cast<std::int64_t>(cpu_limit));
        const double memory_limit =
            static_cast<double>(cell_.memory_mib) * terms_.limits->ram_allocation_ratio;
        if (static_cast<double>(cell_.memory_usage) + static_cast<double>(guest_.memory_mib) >
            memory_limit)
            fits = no("needs ",
                      guest_.memory_mib,
                      " MiB, ",
                      cell_.memory_usage,
                      " used, limit ",
                      static_cast<std::int64_t>(memory_limit));
        return fits;
    }

    const CellView& host_;
    const HostCell& cell_;
    const CellCounts& counts_;
    const GuestCell& guest_;
    const PairTerms& terms_;
    std::vector<std::string>* why_;
};

/// Calls f(free threads of the core, are they all of a largest core) in sibling order until it
/// returns false. CPUs of no sibling set come last, each a core of its own.
template <class F> void for_each_core(const CellView& host, const CpuSet& free, F&& f) {
    std::vector<unsigned> threads;
    threads.reserve(host.counts->threads());
    const auto take = [&](std::size_t at, CpuSet::Word cpus) {
        const CpuSet::Word there = at < free.words().size() ? free.words()[at] : 0;
        for (CpuSet::Word word = cpus & there; word != 0; word &= word - 1)
            threads.push_back(static_cast<unsigned>(at * CpuSet::word_bits) +
                              static_cast<unsigned>(std::countr_zero(word)));
    };
    const auto& cores = host.counts->cores();
    for (std::size_t i = 0; i < cores.size(); ++i) {
        threads.clear();
        if (cores[i].cpus != 0) {
            take(cores[i].word, cores[i].cpus);
        } else {
            const auto& words = host.cell->siblings[i].words();
            for (std::size_t at = 0; at < words.size(); ++at)
                take(at, words[at]);
        }
        if (!f(threads, threads.size() == host.counts->threads()))
            return;
    }
    CpuSet loose = free;
    for (const CpuSet& core : host.cell->siblings)
        loose -= core;
    bool more = true;
    loose.for_each([&](unsigned cpu) {
        threads.assign(1, cpu);
        more = more && f(threads, host.counts->threads() == 1);
    });
}

/// Gives every pin its host CPU: the first `per_core` free threads of each core that has that many;
/// per_core 0: every free thread. With isolate only cores of which nothing is taken.
void choose_cpus(const CellView& host,
                 const CpuSet& free,
                 ThreadPolicy policy,
                 std::vector<model::CpuPin>& pins) {
    if (pins.empty())
        return;
    const bool isolate = policy == ThreadPolicy::Isolate;
    const auto wanted = static_cast<std::int64_t>(pins.size());
    const std::size_t per_core =
        isolate ? 1 : threads_per_core(*host.counts, wanted, policy).value_or(0);
    auto next = pins.begin();
    for_each_core(host, free, [&](const std::vector<unsigned>& threads, bool whole) {
        if (threads.size() < per_core || (isolate && !whole))
            return true;
        const std::size_t count = per_core == 0 ? threads.size() : per_core;
        for (std::size_t i = 0; i < count && next != pins.end(); ++i)
            (next++)->cpu = threads[i];
        return next != pins.end();
    });
    pins.erase(next, pins.end()); // none, unless the counts are of another host
}

/// The first CPU, in core order, that is free beside the pins; with isolate on a core nobody uses,
/// because its siblings are blocked along with it.
CpuSet emulator_cpu(const CellView& host, const CpuSet& free, ThreadPolicy policy) {
    CpuSet out;
    for_each_core(host, free, [&](const std::vector<unsigned>& threads, bool whole) {
        if (!threads.empty() && (whole || policy != ThreadPolicy::Isolate))
            out.insert(threads.front());
        return out.empty();
    });
    return out;
}

} // namespace

CellView
view_of(const HostCell& cell, const std::vector<KernelPages>* kernel, const CellCounts& counts) {
    const auto smallest = std::min_element(
        cell.mempages.begin(), cell.mempages.end(), [](const PagePool& a, const PagePool& b) {
            return a.size_kib < b.size_kib;
        });
    return {&cell, kernel, &counts, smallest == cell.mempages.end() ? nullptr : &*smallest};
}

bool pair_fits(const CellView& host,
               const GuestCell& guest,
               const PairTerms& terms,
               std::int64_t& page_size_kib,
               std::vector<std::string>* why) {
    return PairCheck(host, guest, terms, why).run(page_size_kib);
}

GuestCell
place(const CellView& host, const GuestCell& guest, unsigned reserved, std::int64_t page_size_kib) {
    GuestCell placed = guest;
    placed.id = host.cell->id;
    placed.page_size_kib = page_size_kib;
    placed.pins.reset();
    placed.reserved.reset();
    if (!guest.wants_pins())
        return placed;
    const ThreadPolicy policy = guest.thread_policy.value_or(ThreadPolicy::Prefer);
    placed.pins.emplace();
    placed.pins->reserve(guest.pcpuset.size());
    guest.pcpuset.for_each([&](unsigned vcpu) { placed.pins->push_back({vcpu, 0}); });
    CpuSet free = host.cell->free_pcpus();
    choose_cpus(host, free, policy, *placed.pins);
    if (reserved != 0) {
        for (const model::CpuPin& pin : *placed.pins)
            free.erase(pin.cpu);
        placed.reserved = emulator_cpu(host, free, policy);
    }
    return placed;
}

} // namespace novalet::scheduler_hooks::numa
