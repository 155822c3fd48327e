// The fit against a slow version written for clarity, on random small hosts and guests. Every
// answer is checked again by rules of its own. NOVALET_FIT_CASES and NOVALET_FIT_SEED set size and
// seed.
#include "agent/core/text.hpp"
#include "scheduler_hooks/numa/fit.hpp"
#include "scheduler_hooks/numa/usage.hpp"

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>
#include <random>

namespace novalet::scheduler_hooks::numa {
namespace {

using namespace model;

class Dice {
  public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    int upto(int last) { return std::uniform_int_distribution<int>(0, last)(engine_); }
    bool one_in(int n) { return upto(n - 1) == 0; }

  private:
    std::mt19937_64 engine_;
};

struct Case {
    HostTopology host;
    GuestTopology guest;
    std::optional<NumaLimits> limits;
    std::vector<PciRequest> requests;
    std::vector<PciPool> pools;
    bool packing = false;
};

HostCell random_host_cell(Dice& dice, int id) {
    HostCell cell;
    cell.id = id;
    cell.socket = id / 2;
    const unsigned threads = static_cast<unsigned>(1 << dice.upto(2));
    const unsigned cores = static_cast<unsigned>(1 + dice.upto(3));
    const unsigned base = static_cast<unsigned>(id) * 20;
    const bool legacy = dice.one_in(4);
    for (unsigned core = 0; core < cores; ++core) {
        CpuSet siblings;
        for (unsigned thread = 0; thread < threads; ++thread)
            siblings.insert(base + core + thread * cores);
        cell.siblings.push_back(siblings);
        siblings.for_each([&](unsigned cpu) {
            const bool dedicated = legacy || !dice.one_in(4);
            if (dedicated)
                cell.pcpuset.insert(cpu);
            if (legacy || !dedicated)
                cell.cpuset.insert(cpu);
            if (dedicated && dice.one_in(4))
                cell.pinned_cpus.insert(cpu);
        });
    }
    cell.memory_mib = 512 * (1 + dice.upto(3));
    cell.memory_usage = 256 * dice.upto(4);
    cell.cpu_usage = dice.upto(4);
    if (!dice.one_in(5)) {
        cell.mempages.push_back({4, cell.memory_mib * 128, 128 * 256 * dice.upto(2), 0});
        cell.mempages.push_back({2048, 128 * dice.upto(4), 64 * dice.upto(2), 10 * dice.upto(1)});
    }
    if (dice.one_in(2))
        cell.network.physnets.insert(dice.one_in(2) ? "a" : "b");
    cell.network.tunneled = dice.one_in(3);
    return cell;
}

GuestTopology random_guest(Dice& dice, int cells) {
    GuestTopology guest;
    const int policy = dice.upto(3);
    const std::int64_t page =
        std::array<std::int64_t, 5>{0, 0, -2, -3, 2048}[static_cast<std::size_t>(dice.upto(4))];
    if (policy >= 2 && dice.one_in(3))
        guest.emulator_policy = EmulatorPolicy::Isolate;
    std::optional<ThreadPolicy> thread;
    if (policy >= 2 && dice.one_in(2))
        thread = static_cast<ThreadPolicy>(dice.upto(2));
    unsigned vcpu = 0;
    for (int i = 0; i < cells; ++i) {
        GuestCell cell;
        cell.id = i;
        cell.memory_mib = 128 * (1 + dice.upto(4)) + (dice.one_in(8) ? 1 : 0);
        cell.page_size_kib = page;
        cell.thread_policy = thread;
        if (policy == 1)
            cell.cpu_policy = CpuPolicy::Shared;
        if (policy == 2)
            cell.cpu_policy = CpuPolicy::Dedicated;
        if (policy == 3)
            cell.cpu_policy = CpuPolicy::Mixed;
        for (int left = 1 + dice.upto(4); left > 0; --left, ++vcpu)
            if (policy == 2 || (policy == 3 && dice.one_in(2)))
                cell.pcpuset.insert(vcpu);
            else
                cell.cpuset.insert(vcpu);
        guest.cells.push_back(cell);
    }
    return guest;
}

Case random_case(Dice& dice) {
    Case out;
    const int hosts = 1 + dice.upto(3);
    for (int i = 0; i < hosts; ++i)
        out.host.cells.push_back(random_host_cell(dice, i));
    out.guest = random_guest(dice, 1 + dice.upto(std::min(hosts, 3)));
    out.packing = dice.one_in(2);
    if (dice.one_in(2)) {
        out.limits.emplace();
        out.limits->cpu_allocation_ratio = 1.0 + dice.upto(3);
        out.limits->ram_allocation_ratio = 1.0 + 0.5 * dice.upto(1);
        if (dice.one_in(2)) {
            out.limits->network.emplace();
            out.limits->network->tunneled = dice.one_in(2);
            if (dice.one_in(2))
                out.limits->network->physnets.insert("a");
            if (dice.one_in(2))
                out.limits->network->physnets.insert("b");
        }
    }
    for (int i = dice.one_in(3) ? 1 + dice.upto(1) : 0; i > 0; --i)
        out.requests.push_back({1 + dice.upto(2),
                                {{{"vendor_id", dice.one_in(2) ? "8086" : "15b3"}}},
                                static_cast<PciNumaPolicy>(dice.upto(3)),
                                "a",
                                ""});
    for (int i = 1 + dice.upto(3); i > 0 && !out.requests.empty(); --i) {
        PciPool pool;
        pool.count = 1 + dice.upto(2);
        if (!dice.one_in(4))
            pool.numa_node = dice.upto(hosts - 1);
        pool.attributes["vendor_id"] = dice.one_in(2) ? "8086" : "15b3";
        out.pools.push_back(pool);
    }
    return out;
}

// ---- the slow version: the text of the rules, nothing shared with the product ----

using Cpus = std::vector<unsigned>;

struct SlowPlace {
    std::int64_t page = 0;
    Cpus pins;
    Cpus reserved;
};

std::vector<Cpus> free_cores(const HostCell& cell) {
    std::vector<Cpus> out;
    for (const CpuSet& core : cell.siblings)
        out.push_back((core & cell.pcpuset).to_vector());
    for (Cpus& core : out)
        std::erase_if(core, [&](unsigned cpu) { return cell.pinned_cpus.contains(cpu); });
    return out;
}

std::optional<SlowPlace>
slow_pins(const HostCell& cell, std::size_t wanted, bool reserve, ThreadPolicy policy) {
    SlowPlace out;
    if (wanted == 0 && !reserve)
        return out;
    const std::vector<Cpus> cores = free_cores(cell);
    std::size_t threads = 1;
    for (const CpuSet& core : cell.siblings)
        threads = std::max(threads, core.size());
    const auto attempt = [&](std::size_t per_core, bool whole) -> std::optional<SlowPlace> {
        SlowPlace found;
        for (const Cpus& core : cores)
            for (std::size_t i = 0; core.size() >= per_core && i < per_core; ++i)
                if (found.pins.size() < wanted && (!whole || core.size() == threads))
                    found.pins.push_back(core[i]);
        if (found.pins.size() < wanted)
            return std::nullopt;
        if (!reserve)
            return found;
        for (const Cpus& core : cores) {
            const bool used = std::any_of(core.begin(), core.end(), [&](unsigned cpu) {
                return std::count(found.pins.begin(), found.pins.end(), cpu) != 0;
            });
            for (const unsigned cpu : core)
                if (found.reserved.empty() &&
                    std::count(found.pins.begin(), found.pins.end(), cpu) == 0 &&
                    (!whole || (!used && core.size() == threads)))
                    found.reserved.push_back(cpu);
        }
        return found.reserved.empty() ? std::nullopt : std::optional(found);
    };
    if (policy == ThreadPolicy::Isolate) {
        if (threads != 1 && cell.cpuset != cell.pcpuset)
            return std::nullopt;
        return attempt(1, true);
    }
    if (policy == ThreadPolicy::Require && wanted > 0 && threads == 1)
        return std::nullopt;
    const std::size_t least = policy == ThreadPolicy::Require && wanted > 0 ? 2 : 1;
    for (std::size_t per_core = threads; per_core >= least; --per_core)
        if (auto found = attempt(per_core, false))
            return found;
    if (least == 2)
        return std::nullopt;
    Cpus all;
    for (const Cpus& core : cores)
        all.insert(all.end(), core.begin(), core.end());
    if (all.size() < wanted + (reserve ? 1 : 0))
        return std::nullopt;
    out.pins.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(wanted));
    if (reserve)
        out.reserved.push_back(all[wanted]);
    return out;
}

std::optional<SlowPlace>
slow_pair(const HostCell& host, const GuestCell& guest, bool reserve, const NumaLimits* limits) {
    const std::int64_t kib = guest.memory_mib * 1024;
    const bool pinned = guest.wants_pins();
    std::int64_t page = 0;
    if (guest.page_size_kib != 0) {
        std::uint64_t smallest = ~std::uint64_t{0};
        for (const PagePool& pool : host.mempages)
            smallest = std::min(smallest, pool.size_kib);
        for (const PagePool& pool : host.mempages) {
            const auto size = static_cast<std::int64_t>(pool.size_kib);
            const bool asked = guest.page_size_kib == -3 || guest.page_size_kib == size ||
                               (guest.page_size_kib == -2 && pool.size_kib != smallest) ||
                               (guest.page_size_kib == -1 && pool.size_kib == smallest);
            if (asked && kib % size == 0 && kib <= pool.free() * size)
                page = std::max(page, size);
        }
        if (page == 0)
            return std::nullopt;
    } else if (!host.mempages.empty()) {
        const PagePool& pool = host.mempages.front();
        const auto size = static_cast<std::int64_t>(pool.size_kib);
        if (kib % size != 0 || kib > (pinned ? pool.free() : pool.total) * size)
            return std::nullopt;
    } else if (guest.memory_mib > host.memory_mib ||
               (pinned && guest.memory_mib > host.memory_mib - host.memory_usage)) {
        return std::nullopt;
    }
    SlowPlace out;
    if (pinned) {
        auto found = slow_pins(host,
                               guest.pcpuset.size(),
                               reserve,
                               guest.thread_policy.value_or(ThreadPolicy::Prefer));
        if (!found)
            return std::nullopt;
        out = *found;
    }
    out.page = page;
    if (guest.cpu_policy == CpuPolicy::Dedicated)
        return out;
    if (guest.cpuset.size() > host.cpuset.size())
        return std::nullopt;
    if (limits != nullptr) {
        const double cpus =
            static_cast<double>(host.cpu_usage) + static_cast<double>(guest.cpuset.size());
        if (cpus > static_cast<double>(host.cpuset.size()) * limits->cpu_allocation_ratio)
            return std::nullopt;
        if (static_cast<double>(host.memory_usage + guest.memory_mib) >
            static_cast<double>(host.memory_mib) * limits->ram_allocation_ratio)
            return std::nullopt;
    }
    return out;
}

bool slow_networks(const HostTopology& host,
                   const std::vector<int>& ids,
                   const NumaLimits& limits) {
    if (!limits.network)
        return true;
    const auto provided = [&](auto&& test) {
        bool anywhere = false;
        bool here = false;
        for (const HostCell& cell : host.cells)
            if (test(cell)) {
                anywhere = true;
                here |= std::count(ids.begin(), ids.end(), cell.id) != 0;
            }
        return here || !anywhere;
    };
    for (const std::string& net : limits.network->physnets)
        if (!provided([&](const HostCell& cell) { return cell.network.physnets.count(net) != 0; }))
            return false;
    return !limits.network->tunneled ||
           provided([](const HostCell& cell) { return cell.network.tunneled; });
}

bool slow_devices(const Case& c, const std::vector<int>& ids) {
    std::vector<PciPool> pools = c.pools;
    for (const PciRequest& request : c.requests) {
        std::vector<PciPool*> match;
        for (PciPool& pool : pools)
            if (pool.count > 0 && pool.attributes["vendor_id"] == request.spec[0].at("vendor_id"))
                match.push_back(&pool);
        const auto near = [&](const PciPool* pool) {
            return pool->numa_node && std::count(ids.begin(), ids.end(), *pool->numa_node) != 0;
        };
        const auto sum = [](const std::vector<PciPool*>& list) {
            std::int64_t total = 0;
            for (const PciPool* pool : list)
                total += pool->count;
            return total;
        };
        std::vector<PciPool*> use;
        for (PciPool* pool : match)
            if (near(pool))
                use.push_back(pool);
        if (request.numa_policy != PciNumaPolicy::Required && sum(use) < request.count) {
            if (request.numa_policy == PciNumaPolicy::Socket) {
                use.clear();
                for (PciPool* pool : match)
                    for (const int id : ids)
                        if (pool->numa_node && c.host.cell(*pool->numa_node) != nullptr &&
                            std::count(use.begin(), use.end(), pool) == 0 &&
                            c.host.cell(*pool->numa_node)->socket == c.host.cell(id)->socket)
                            use.push_back(pool);
            } else {
                use.clear();
                for (PciPool* pool : match)
                    if (near(pool) || !pool->numa_node)
                        use.push_back(pool);
                if (request.numa_policy == PciNumaPolicy::Preferred && sum(use) < request.count) {
                    const std::vector<PciPool*> close = use;
                    const auto far = [&](const PciPool* p) {
                        return std::count(close.begin(), close.end(), p) == 0;
                    };
                    use = match;
                    std::stable_partition(
                        use.begin(), use.end(), [&](const PciPool* p) { return !far(p); });
                }
            }
        }
        std::int64_t missing = request.count;
        for (PciPool* pool : use) {
            const std::int64_t taken = std::min(missing, pool->count);
            pool->count -= taken;
            missing -= taken;
        }
        if (missing > 0)
            return false;
    }
    return true;
}

/// Nova's three stable sorts, one after the other.
std::vector<const HostCell*> slow_order(const Case& c) {
    std::vector<const HostCell*> cells;
    for (const HostCell& cell : c.host.cells)
        cells.push_back(&cell);
    if (c.host.cells.size() <= c.guest.cells.size())
        return cells;
    const auto by = [&](auto&& key) {
        std::stable_sort(cells.begin(), cells.end(), [&](const HostCell* a, const HostCell* b) {
            return key(a) < key(b);
        });
    };
    const std::int64_t sign = c.packing ? 1 : -1;
    by([&](const HostCell* cell) { return sign * (cell->memory_mib - cell->memory_usage); });
    if (c.guest.cells[0].wants_pins())
        by([&](const HostCell* cell) {
            return sign * static_cast<std::int64_t>(cell->free_pcpus().size());
        });
    else
        by([&](const HostCell* cell) { return -sign * cell->cpu_usage; });
    if (!c.requests.empty())
        by([&](const HostCell* cell) {
            std::int64_t devices = 0;
            for (const PciPool& pool : c.pools)
                devices += pool.numa_node == cell->id ? pool.count : 0;
            return -devices;
        });
    return cells;
}

bool slow_search(const Case& c,
                 const std::vector<const HostCell*>& order,
                 std::vector<int>& ids,
                 std::vector<SlowPlace>& places) {
    const std::size_t g = ids.size();
    if (g == c.guest.cells.size())
        return (!c.limits || slow_networks(c.host, ids, *c.limits)) && slow_devices(c, ids);
    for (const HostCell* cell : order) {
        if (std::count(ids.begin(), ids.end(), cell->id) != 0)
            continue;
        const bool reserve = g == 0 && c.guest.emulator_policy == EmulatorPolicy::Isolate;
        const auto place =
            slow_pair(*cell, c.guest.cells[g], reserve, c.limits ? &*c.limits : nullptr);
        if (!place)
            continue;
        ids.push_back(cell->id);
        places.push_back(*place);
        if (slow_search(c, order, ids, places))
            return true;
        ids.pop_back();
        places.pop_back();
    }
    return false;
}

// ---- the checker: is an answer possible at all? ----

std::string what_is_wrong(const Case& c, const GuestTopology& answer) {
    if (answer.cells.size() != c.guest.cells.size())
        return "number of cells";
    CpuSet taken;
    std::vector<int> used;
    for (std::size_t g = 0; g < answer.cells.size(); ++g) {
        const GuestCell& cell = answer.cells[g];
        const GuestCell& asked = c.guest.cells[g];
        const HostCell* host = c.host.cell(cell.id);
        if (host == nullptr || std::count(used.begin(), used.end(), cell.id) != 0)
            return "host cell";
        used.push_back(cell.id);
        if (cell.memory_mib != asked.memory_mib || cell.pcpuset != asked.pcpuset ||
            cell.cpuset != asked.cpuset)
            return "changed request";
        if (asked.page_size_kib != 0) {
            const PagePool* pool = host->pool(static_cast<std::uint64_t>(cell.page_size_kib));
            if (pool == nullptr || cell.memory_mib * 1024 > pool->free() * cell.page_size_kib)
                return "pages";
        }
        if (!asked.wants_pins())
            continue;
        if (!cell.pins || cell.pins->size() != asked.pcpuset.size())
            return "number of pins";
        CpuSet vcpus;
        for (const CpuPin& pin : *cell.pins)
            vcpus.insert(pin.vcpu);
        const CpuSet cpus = cell.taken_cpus();
        const bool reserve = g == 0 && c.guest.emulator_policy == EmulatorPolicy::Isolate;
        if (vcpus != asked.pcpuset || cpus.size() != asked.pcpuset.size() + (reserve ? 1 : 0))
            return "pins";
        if (!cpus.is_subset_of(host->free_pcpus()) || cpus.intersects(taken))
            return "CPUs that are not free";
        taken |= cpus;
    }
    HostTopology after = c.host;
    const auto counted = add_usage(after, answer);
    if (!counted)
        return counted.error().text;
    if (!remove_usage(after, answer) || after != c.host)
        return "usage does not go back";
    return {};
}

std::uint64_t setting(const char* name, std::uint64_t fallback) {
    const char* text = std::getenv(name);
    return text == nullptr ? fallback : to_number<std::uint64_t>(text).value_or(fallback);
}

TEST(Fit, EqualsTheSlowVersion_OnRandomCases) {
    const std::uint64_t seed = setting("NOVALET_FIT_SEED", 20240601);
    const std::uint64_t cases = setting("NOVALET_FIT_CASES", 6000);
    std::uint64_t feasible = 0;
    for (std::uint64_t i = 0; i < cases; ++i) {
        SCOPED_TRACE(cat("NOVALET_FIT_SEED=", seed + i, " NOVALET_FIT_CASES=1"));
        Dice dice(seed + i);
        const Case c = random_case(dice);
        const FitResult fast = fit({c.host,
                                    c.guest,
                                    c.limits ? &*c.limits : nullptr,
                                    &c.requests,
                                    &c.pools,
                                    nullptr,
                                    {c.packing, false}});
        std::vector<int> ids;
        std::vector<SlowPlace> places;
        const bool slow = c.host.cells.size() >= c.guest.cells.size() &&
                          slow_search(c, slow_order(c), ids, places);
        ASSERT_EQ(fast.topology.has_value(), slow)
            << to_json(c.host).dump() << '\n'
            << to_json(std::optional(c.guest)).dump() << '\n'
            << (fast.refusal ? join(fast.refusal->lines(), "\n") : "");
        if (!slow) {
            ASSERT_TRUE(fast.refusal.has_value());
            ASSERT_FALSE(fast.refusal->summary.empty());
            ASSERT_LE(fast.refusal->summary.size(), 170U);
            continue;
        }
        ++feasible;
        ASSERT_EQ(what_is_wrong(c, *fast.topology), "");
        for (std::size_t g = 0; g < ids.size(); ++g) {
            const GuestCell& cell = fast.topology->cells[g];
            ASSERT_EQ(cell.id, ids[g]);
            ASSERT_EQ(cell.page_size_kib, places[g].page);
            Cpus pins;
            if (cell.pins)
                for (const CpuPin& pin : *cell.pins)
                    pins.push_back(pin.cpu);
            ASSERT_EQ(pins, places[g].pins);
            ASSERT_EQ(cell.reserved.value_or(CpuSet()).to_vector(), places[g].reserved);
        }
    }
    // Random cases that all fail, or all succeed, would prove nothing.
    if (cases >= 1000) {
        EXPECT_GT(feasible * 10, cases);
        EXPECT_LT(feasible * 10, cases * 9);
    }
}

} // namespace
} // namespace novalet::scheduler_hooks::numa
