#include "scheduler_hooks/numa/usage.hpp"

#include "agent/core/text.hpp"

#include <algorithm>

namespace novalet::scheduler_hooks::numa {
namespace {

using model::CpuSet;
using model::GuestCell;
using model::GuestTopology;
using model::HostCell;
using model::HostTopology;

enum class Verb { Add, Remove };

/// The pool that a guest cell lives in: the size it asked for, else the smallest one.
model::PagePool* pool_of(HostCell& host, const GuestCell& guest) {
    if (host.mempages.empty())
        return nullptr;
    if (guest.page_size_kib == model::page_size_none)
        return &*std::min_element(host.mempages.begin(),
                                  host.mempages.end(),
                                  [](const model::PagePool& a, const model::PagePool& b) {
                                      return a.size_kib < b.size_kib;
                                  });
    for (model::PagePool& pool : host.mempages)
        if (static_cast<std::int64_t>(pool.size_kib) == guest.page_size_kib)
            return &pool;
    return nullptr;
}

std::string list_text(const CpuSet& cpus) {
    std::vector<std::string> names;
    cpus.for_each([&](unsigned cpu) { names.push_back(cat(cpu)); });
    return cat('[', join(names, ", "), ']');
}

Failure refuse(const char* exception,
               const char* verb,
               const CpuSet& wanted,
               const char* kind,
               const CpuSet& available) {
    return fail_as(exception,
                   Code::Conflict,
                   cat("CPU set to ",
                       verb,
                       ' ',
                       list_text(wanted),
                       " must be a subset of ",
                       kind,
                       " CPU set ",
                       list_text(available)));
}

/// May the CPUs be pinned or given back? `before`: what other cells of the same guest do there.
Result<void> check_cpus(const HostCell& host, const CpuSet& cpus, const CpuSet& before, Verb verb) {
    if (verb == Verb::Add) {
        if (!cpus.is_subset_of(host.pcpuset))
            return refuse("CPUPinningUnknown", "pin", cpus, "known", host.pcpuset);
        if (cpus.intersects(host.pinned_cpus) || cpus.intersects(before))
            return refuse("CPUPinningInvalid", "pin", cpus, "free", host.free_pcpus() - before);
        return {};
    }
    if (!cpus.is_subset_of(host.pcpuset))
        return refuse("CPUUnpinningUnknown", "unpin", cpus, "known", host.pcpuset);
    if (!cpus.is_subset_of(host.pinned_cpus) || cpus.intersects(before))
        return refuse("CPUUnpinningInvalid", "unpin", cpus, "pinned", host.pinned_cpus - before);
    return {};
}

void count_memory(HostCell& host, const GuestCell& guest, Verb verb) {
    const std::int64_t sign = verb == Verb::Add ? 1 : -1;
    if (model::PagePool* pool = pool_of(host, guest)) {
        const std::int64_t pages =
            guest.memory_mib * 1024 / static_cast<std::int64_t>(pool->size_kib);
        pool->used = std::max<std::int64_t>(0, pool->used + sign * pages);
    }
    host.memory_usage += sign * guest.memory_mib;
    host.cpu_usage += sign * static_cast<std::int64_t>(guest.cpuset.size());
}

Result<void> count(HostTopology& host, const GuestTopology& guest, Verb verb) {
    // Everything is checked before anything is changed.
    std::vector<CpuSet> blocked;
    for (std::size_t i = 0; i < guest.cells.size(); ++i) {
        const GuestCell& cell = guest.cells[i];
        blocked.emplace_back();
        const HostCell* there = host.cell(cell.id);
        if (there == nullptr || !cell.wants_pins())
            continue;
        CpuSet before;
        for (std::size_t j = 0; j < i; ++j)
            if (guest.cells[j].id == cell.id)
                before |= blocked[j];
        blocked.back() = blocked_cpus(*there, cell);
        NOVALET_TRY(check_cpus(*there, blocked.back(), before, verb));
    }
    for (std::size_t i = 0; i < guest.cells.size(); ++i)
        if (HostCell* there = host.cell(guest.cells[i].id)) {
            count_memory(*there, guest.cells[i], verb);
            if (verb == Verb::Add)
                there->pinned_cpus |= blocked[i];
            else
                there->pinned_cpus -= blocked[i];
        }
    for (HostCell& cell : host.cells) {
        cell.memory_usage = std::max<std::int64_t>(0, cell.memory_usage);
        cell.cpu_usage = std::max<std::int64_t>(0, cell.cpu_usage);
    }
    return {};
}

} // namespace

CpuSet blocked_cpus(const HostCell& host, const GuestCell& guest) {
    CpuSet cpus = guest.taken_cpus();
    if (guest.thread_policy != model::ThreadPolicy::Isolate)
        return cpus;
    const CpuSet pinned = cpus;
    for (const CpuSet& core : host.siblings)
        if (core.intersects(pinned))
            cpus |= core;
    return cpus;
}

Result<void> add_usage(HostTopology& host, const GuestTopology& guest) {
    return count(host, guest, Verb::Add);
}

Result<void> remove_usage(HostTopology& host, const GuestTopology& guest) {
    return count(host, guest, Verb::Remove);
}

} // namespace novalet::scheduler_hooks::numa
