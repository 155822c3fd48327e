// The shape of the simulated host.
#include "agent/core/text.hpp"
#include "hypervisor/simulated/simulated_hypervisor.hpp"

#include <algorithm>
#include <array>

namespace novalet::hypervisor::simulated {
namespace {

using scheduler_hooks::model::CpuSet;
using scheduler_hooks::model::HostCell;
using scheduler_hooks::model::HostTopology;
using scheduler_hooks::model::PagePool;

constexpr std::int64_t small_page_kib = 4;
constexpr std::array features{"aes",
                              "avx",
                              "avx2",
                              "bmi1",
                              "bmi2",
                              "fma",
                              "mmx",
                              "sse",
                              "sse2",
                              "sse4.1",
                              "sse4.2",
                              "ssse3",
                              "vmx",
                              "pclmuldq"};

/// Part `index` of `total` dealt out evenly to `parts`; the first ones take the remainder.
struct Share {
    std::uint64_t first;
    std::uint64_t count;
};
Share share_of(std::uint64_t total, unsigned parts, unsigned index) {
    const std::uint64_t each = total / parts;
    const std::uint64_t rest = total % parts;
    return {index * each + std::min<std::uint64_t>(index, rest), each + (index < rest ? 1 : 0)};
}

std::vector<CpuSet> cores_of(const CpuSet& cpus, unsigned threads) {
    std::vector<CpuSet> cores;
    cpus.for_each([&](unsigned cpu) {
        if (cores.empty() || cores.back().size() == threads)
            cores.emplace_back();
        cores.back().insert(cpu);
    });
    return cores;
}

/// Small pages are what the huge ones leave of the cell's memory.
std::vector<PagePool> pools_of(std::int64_t memory_mib, const std::vector<SimulatedPages>& huge) {
    std::int64_t left_kib = memory_mib * 1024;
    std::vector<PagePool> pools;
    for (const auto& pages : huge) {
        const auto size = static_cast<std::int64_t>(pages.size_kib);
        PagePool pool;
        pool.size_kib = pages.size_kib;
        pool.total = std::min(pages.pages_per_cell, left_kib / size);
        left_kib -= pool.total * size;
        pools.push_back(pool);
    }
    PagePool small;
    small.size_kib = small_page_kib;
    small.total = left_kib / small_page_kib;
    pools.push_back(small);
    std::sort(pools.begin(), pools.end(), [](const auto& a, const auto& b) {
        return a.size_kib < b.size_kib;
    });
    return pools;
}

HostTopology topology_of(const Options& options) {
    const bool configured = !options.shared_cpus.empty() || !options.dedicated_cpus.empty();
    const unsigned cells = std::clamp(options.numa_cells, 1U, std::max(options.vcpus, 1U));
    HostTopology topology;
    for (unsigned i = 0; i < cells; ++i) {
        const auto cpus = share_of(options.vcpus, cells, i);
        const auto memory = share_of(options.memory_mib, cells, i);
        const CpuSet all = cpus.count == 0
                               ? CpuSet()
                               : CpuSet::range(static_cast<unsigned>(cpus.first),
                                               static_cast<unsigned>(cpus.first + cpus.count - 1));
        HostCell cell;
        cell.id = static_cast<int>(i);
        cell.cpuset = configured ? all & options.shared_cpus : all;
        // Without configured sets every CPU may be pinned too, as Nova's hosts of old allow it.
        cell.pcpuset = configured ? all & options.dedicated_cpus : all;
        cell.siblings = cores_of(all, std::max(options.threads_per_core, 1U));
        cell.socket = static_cast<int>(i);
        cell.memory_mib = static_cast<std::int64_t>(memory.count);
        cell.mempages = pools_of(cell.memory_mib, options.huge_pages);
        for (unsigned other = 0; other < cells; ++other)
            cell.distances.push_back(other == i ? 10 : 21);
        topology.cells.push_back(std::move(cell));
    }
    return topology;
}

Json cpu_info(const Options& options, std::size_t cells) {
    const unsigned threads = std::max(options.threads_per_core, 1U);
    const auto per_cell = options.vcpus / static_cast<unsigned>(std::max<std::size_t>(cells, 1));
    Json topology = Json::object();
    topology.set("cells", cells);
    topology.set("sockets", 1);
    topology.set("cores", std::max(per_cell / threads, 1U));
    topology.set("threads", threads);
    Json names = Json::array();
    for (const char* name : features)
        names.push_back(name);
    Json out = Json::object();
    out.set("arch", "x86_64");
    out.set("model", "Simulated");
    out.set("vendor", "Intel");
    out.set("topology", std::move(topology));
    out.set("features", std::move(names));
    return out;
}

} // namespace

Result<HostFacts> SimulatedHypervisor::facts() {
    NOVALET_TRY(begin("facts"));
    HostFacts out;
    out.hostname = options_.hostname;
    out.type = "QEMU"; // what schedulers and images ask for; the guests only pretend to need it
    out.version = 7002000;
    out.libvirt_version = 9000000;
    out.topology = topology_of(options_);
    out.cpu_info = cpu_info(options_, out.topology.cells.size());
    out.supported_instances = Json::Array{Json::Array{"i686", "qemu", "hvm"},
                                          Json::Array{"x86_64", "qemu", "hvm"},
                                          Json::Array{"i686", "kvm", "hvm"},
                                          Json::Array{"x86_64", "kvm", "hvm"}};
    out.online_cpus = options_.vcpus;
    out.memory_mib = options_.memory_mib;
    out.disk_total_gib = options_.disk_gib;
    std::uint64_t taken = 0;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [uuid, guest] : guests_)
            taken += guest.disk_gib;
    }
    out.disk_available_least_gib =
        static_cast<std::int64_t>(options_.disk_gib) - static_cast<std::int64_t>(taken);
    out.cpu_features.assign(features.begin(), features.end());
    out.hyperthreading = out.topology.hyperthreading();
    out.disk_buses = {"fdc", "ide", "sata", "scsi", "usb", "virtio"};
    out.video_models = {"bochs", "cirrus", "none", "qxl", "vga", "virtio"};
    NOVALET_ASSIGN(out.uptime, uptime());
    return out;
}

Result<std::vector<GuestInfo>> SimulatedHypervisor::list() {
    NOVALET_TRY(begin("list"));
    std::vector<GuestInfo> out;
    const std::lock_guard lock(mutex_);
    out.reserve(guests_.size());
    for (const auto& [uuid, guest] : guests_)
        out.push_back(guest.info());
    return out;
}

Result<GuestInfo> SimulatedHypervisor::info(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto record, find(uuid));
    return record.info();
}

/// The form of uptime(1), for a host that booted when this object was made.
Result<std::string> SimulatedHypervisor::uptime() {
    NOVALET_TRY(within_reach());
    const auto now = clock_.wall();
    const auto minutes = std::chrono::duration_cast<std::chrono::minutes>(now - booted_).count();
    const std::string time = to_utc_text(now).substr(11);
    const auto two = [](std::int64_t number) { return cat(number < 10 ? "0" : "", number); };
    const auto days = minutes / (24 * 60);
    std::string span = days > 0 ? cat(days, days == 1 ? " day, " : " days, ") : "";
    span += cat(minutes / 60 % 24, ':', two(minutes % 60));
    return cat(' ', time, " up ", span, ",  0 users,  load average: 0.00, 0.00, 0.00\n");
}

} // namespace novalet::hypervisor::simulated
