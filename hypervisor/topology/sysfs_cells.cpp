#include "hypervisor/topology/sysfs_cells.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/topology/sysfs.hpp"

#include <algorithm>
#include <set>
#include <unistd.h>

namespace novalet::hypervisor::topology {
namespace {

namespace fs = std::filesystem;
namespace model = scheduler_hooks::model;
using model::CpuSet;
using model::HostCell;

constexpr std::size_t max_bytes = 64U << 10U;

Result<CpuSet> cpu_list(const fs::path& file) {
    NOVALET_ASSIGN(const auto text, read_file(file, max_bytes));
    auto cpus = CpuSet::parse(trim(text));
    if (!cpus)
        return fail(Code::DataLoss, cat(file.string(), ": ", cpus.error().text));
    return cpus;
}

Result<int> number(const fs::path& file) {
    NOVALET_ASSIGN(const auto text, read_file(file, max_bytes));
    const auto value = to_number<int>(trim(text));
    if (!value)
        return fail(Code::DataLoss, cat(file.string(), " holds '", trim(text), "', no number"));
    return *value;
}

/// "MemTotal:  9005268 kB" of a host without NUMA.
Result<std::uint64_t> memory_total(const fs::path& file) {
    NOVALET_ASSIGN(const auto text, read_file(file, max_bytes));
    for (const auto& line : split(text, '\n')) {
        if (!line.starts_with("MemTotal:"))
            continue;
        std::string_view rest = trim(std::string_view(line).substr(9));
        rest = rest.substr(0, rest.find(' '));
        if (const auto value = to_number<std::uint64_t>(rest))
            return *value;
    }
    return fail(Code::DataLoss, cat(file.string(), " has no readable MemTotal"));
}

/// Cores and socket of the cell's CPUs.
Result<void> read_cores(HostCell& cell, const fs::path& cpus, const CpuSet& online) {
    std::set<int> sockets;
    CpuSet seen;
    for (const unsigned cpu : cell.cpuset.to_vector()) {
        const fs::path folder = cpus / cat("cpu", cpu) / "topology";
        NOVALET_ASSIGN(const int socket, number(folder / "physical_package_id"));
        sockets.insert(socket);
        if (seen.contains(cpu))
            continue;
        NOVALET_ASSIGN(CpuSet core, cpu_list(folder / "thread_siblings_list"));
        core &= online;
        seen |= core;
        cell.siblings.push_back(std::move(core));
    }
    // -1: the firmware says nothing about sockets
    if (sockets.size() == 1 && *sockets.begin() >= 0)
        cell.socket = *sockets.begin();
    return {};
}

void add_pages(HostCell& cell, const NodeMemory& memory, std::uint64_t small_page) {
    cell.memory_mib = static_cast<std::int64_t>(memory.total_kib >> 10U);
    std::uint64_t in_pools = 0;
    for (const HugePagePool& pool : memory.pools)
        in_pools +=
            pool.size_kib * static_cast<std::uint64_t>(std::max<std::int64_t>(0, pool.total));
    const std::uint64_t left = memory.total_kib > in_pools ? memory.total_kib - in_pools : 0;
    cell.mempages.push_back({small_page, static_cast<std::int64_t>(left / small_page), 0, 0});
    for (const HugePagePool& pool : memory.pools)
        cell.mempages.push_back({pool.size_kib, pool.total, 0, 0});
}

Result<HostCell> read_cell(int id,
                           const NodeMemory& memory,
                           const fs::path& devices,
                           const CpuSet& online,
                           std::uint64_t small) {
    HostCell cell;
    cell.id = id;
    const fs::path node = devices / cat("node/node", id);
    NOVALET_ASSIGN(cell.cpuset, cpu_list(node / "cpulist"));
    cell.cpuset &= online;
    NOVALET_TRY(read_cores(cell, devices / "cpu", online));
    add_pages(cell, memory, small);
    NOVALET_ASSIGN(const auto distances, read_file(node / "distance", max_bytes));
    for (const std::string& text : split(trim(distances), ' '))
        if (const auto distance = to_number<unsigned>(trim(text)))
            cell.distances.push_back(*distance);
    return cell;
}

Result<HostCell> only_cell(const fs::path& root, const KernelState& kernel, std::uint64_t small) {
    HostCell cell;
    cell.cpuset = kernel.online;
    NOVALET_TRY(read_cores(cell, root / "sys/devices/system/cpu", kernel.online));
    NodeMemory memory;
    NOVALET_ASSIGN(memory.total_kib, memory_total(root / "proc/meminfo"));
    add_pages(cell, memory, small);
    cell.distances = {10};
    return cell;
}

} // namespace

Result<model::HostTopology> cells_from_sysfs(const fs::path& root, std::uint64_t small_page) {
    NOVALET_ASSIGN(const KernelState kernel, read_kernel_state(root));
    model::HostTopology host;
    for (const auto& [id, memory] : kernel.nodes) {
        NOVALET_ASSIGN(
            HostCell cell,
            read_cell(id, memory, root / "sys/devices/system", kernel.online, small_page));
        host.cells.push_back(std::move(cell));
    }
    if (host.empty()) {
        NOVALET_ASSIGN(HostCell cell, only_cell(root, kernel, small_page));
        host.cells.push_back(std::move(cell));
    }
    return host;
}

std::uint64_t small_page_kib() {
    return static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) / 1024;
}

} // namespace novalet::hypervisor::topology
