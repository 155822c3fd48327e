// Time of one fit, p50 and p99, feasible and not, for several shapes of host and guest with 64 CPUs
// (32 cores of two threads) a cell, everything on: pinning, huge pages, limits, PCI, networks.
// usage: bench_numa [ROUNDS]
#include "agent/core/text.hpp"
#include "scheduler_hooks/numa/fit.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <random>

namespace {

using namespace novalet;
using namespace novalet::scheduler_hooks;

struct Setting {
    model::HostTopology host;
    model::GuestTopology guest;
    model::NumaLimits limits;
    std::vector<model::PciRequest> requests;
    std::vector<model::PciPool> pools;
};

enum class Kind { Feasible, NoRoom, NoDevice, NoNetwork };

model::HostCell host_cell(unsigned index, std::mt19937& engine) {
    model::HostCell cell;
    cell.id = static_cast<int>(index);
    cell.socket = static_cast<int>(index / 4);
    const unsigned base = index * 64;
    for (unsigned core = 0; core < 32; ++core) {
        cell.siblings.push_back({base + core, base + core + 32});
        cell.pcpuset |= cell.siblings.back();
    }
    for (int taken = 0; taken < 24; ++taken)
        cell.pinned_cpus.insert(base + static_cast<unsigned>(engine() % 64U));
    cell.memory_mib = 262144;
    cell.memory_usage = static_cast<std::int64_t>(engine() % 65536);
    cell.mempages = {{4, 33554432, 0, 0}, {2048, 65536, 1024, 0}, {1048576, 64, 3, 0}};
    cell.network.physnets.insert(cat("net", index));
    return cell;
}

Setting make(unsigned hosts, unsigned guests, Kind kind, std::mt19937& engine) {
    Setting out;
    for (unsigned i = 0; i < hosts; ++i) {
        out.host.cells.push_back(host_cell(i, engine));
        out.pools.push_back({1, static_cast<int>(i), {{"vendor_id", "8086"}}});
    }
    for (unsigned i = 0; i < guests; ++i) {
        model::GuestCell cell;
        cell.id = static_cast<int>(i);
        cell.pcpuset = model::CpuSet::range(i * 16, i * 16 + 15);
        cell.memory_mib = 16384;
        cell.page_size_kib = model::page_size_large;
        cell.cpu_policy = model::CpuPolicy::Dedicated;
        cell.thread_policy = model::ThreadPolicy::Prefer;
        if (kind == Kind::NoRoom && i + 1 == guests)
            cell.pcpuset = model::CpuSet::range(i * 16, i * 16 + 63);
        out.guest.cells.push_back(cell);
    }
    out.guest.emulator_policy = model::EmulatorPolicy::Isolate;
    // More devices than the guest's cells can have near them, or just one.
    const std::int64_t devices = kind == Kind::NoDevice ? guests + 1 : 1;
    out.requests.push_back(
        {devices, {{{"vendor_id", "8086"}}}, model::PciNumaPolicy::Required, "dev", ""});
    out.limits.network.emplace();
    out.limits.network->physnets.insert("net0");
    if (kind == Kind::NoNetwork)
        for (unsigned i = 0; i <= guests && i < hosts; ++i)
            out.limits.network->physnets.insert(cat("net", i));
    return out;
}

/// CPU time of this thread: what others do on the machine does not count.
std::int64_t own_nanoseconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * std::int64_t{1000000000} + now.tv_nsec;
}

void run(unsigned hosts, unsigned guests, Kind kind, const char* name, unsigned rounds) {
    std::mt19937 engine(hosts * 100 + guests);
    std::vector<std::int64_t> nanoseconds;
    unsigned fitted = 0;
    for (unsigned variant = 0; variant < 20; ++variant) {
        const Setting setting = make(hosts, guests, kind, engine);
        const auto counts = numa::count_host(setting.host);
        for (unsigned i = 0; i < rounds / 20; ++i) {
            const std::int64_t begin = own_nanoseconds();
            const auto result = numa::fit_quietly({setting.host,
                                                   setting.guest,
                                                   &setting.limits,
                                                   &setting.requests,
                                                   &setting.pools,
                                                   nullptr,
                                                   {},
                                                   &counts});
            const std::int64_t end = own_nanoseconds();
            if (result)
                ++fitted;
            nanoseconds.push_back(end - begin);
        }
    }
    std::sort(nanoseconds.begin(), nanoseconds.end());
    const auto microseconds = [&](std::size_t percent) {
        return static_cast<double>(nanoseconds[(nanoseconds.size() - 1) * percent / 100]) / 1000.0;
    };
    std::printf("%2u/%u %-12s fits %3u%%  p50 %8.2f us  p99 %8.2f us  max %8.2f us\n",
                hosts,
                guests,
                name,
                static_cast<unsigned>(fitted * 100 / nanoseconds.size()),
                microseconds(50),
                microseconds(99),
                microseconds(100));
}

} // namespace

int main(int argc, char** argv) {
    const unsigned rounds =
        std::max(20U, argc > 1 ? to_number<unsigned>(argv[1]).value_or(0) : 10000U);
    struct Shape {
        unsigned hosts;
        unsigned guests;
    };
    for (const Shape shape : {Shape{2, 1}, {2, 2}, {8, 4}, {16, 6}, {16, 8}}) {
        run(shape.hosts, shape.guests, Kind::Feasible, "feasible", rounds);
        run(shape.hosts, shape.guests, Kind::NoRoom, "no CPUs", rounds);
        run(shape.hosts, shape.guests, Kind::NoDevice, "no devices", rounds);
        if (shape.hosts > shape.guests)
            run(shape.hosts, shape.guests, Kind::NoNetwork, "no network", rounds);
    }
    return 0;
}
