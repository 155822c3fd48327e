#include "hypervisor/topology/placement_check.hpp"

#include "agent/core/file.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "scheduler_hooks/model/page_size.hpp"

#include <algorithm>

namespace novalet::hypervisor::topology {
namespace {

namespace fs = std::filesystem;
namespace model = scheduler_hooks::model;
using model::CpuSet;
using model::GuestCell;

constexpr std::size_t max_status_bytes = 64U << 10U;
constexpr std::size_t max_maps_bytes = 16U << 20U;

/// The rest of the line that begins with `key`.
std::optional<std::string_view> line_value(std::string_view text, std::string_view key) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::string_view line = text.substr(at, end - at);
        if (line.starts_with(key))
            return trim(line.substr(key.size()));
        at = end + 1;
    }
    return std::nullopt;
}

Result<ThreadOfGuest> read_thread(const fs::path& folder, pid_t id) {
    ThreadOfGuest thread;
    thread.id = id;
    NOVALET_ASSIGN(const auto name, read_file(folder / "comm", max_status_bytes));
    thread.name = trim(name);
    NOVALET_ASSIGN(const auto status, read_file(folder / "status", max_status_bytes));
    const auto allowed = line_value(status, "Cpus_allowed_list:");
    if (!allowed)
        return fail(Code::DataLoss, cat((folder / "status").string(), " has no Cpus_allowed_list"));
    NOVALET_ASSIGN(thread.allowed, CpuSet::parse(*allowed));
    return thread;
}

/// One line: address, policy, then words like N0=512 and kernelpagesize_kB=2048.
void add_mapping(const std::string& line, MemoryOfGuest& out) {
    const auto words = split(line, ' ');
    if (words.size() < 2)
        return;
    std::uint64_t size = 4;
    std::map<int, std::int64_t> pages;
    for (const std::string& word : words) {
        const auto equals = word.find('=');
        if (equals == std::string::npos)
            continue;
        const std::string_view value = std::string_view(word).substr(equals + 1);
        if (word.starts_with("kernelpagesize_kB="))
            size = to_number<std::uint64_t>(value).value_or(size);
        else if (word.front() == 'N')
            if (const auto cell = to_number<int>(std::string_view(word).substr(1, equals - 1)))
                pages[*cell] += to_number<std::int64_t>(value).value_or(0);
    }
    for (const auto& [cell, count] : pages) {
        out.all[cell][size] += count;
        if (words[1].starts_with("bind"))
            out.bound[cell][size] += count;
    }
}

/// vCPU → CPUs its thread may run on.
std::map<unsigned, CpuSet> granted_cpus(const Granted& granted) {
    std::map<unsigned, CpuSet> out;
    for (const GuestCell& cell : granted.guest.cells) {
        const model::HostCell* host = granted.host.cell(cell.id);
        cell.cpuset.for_each([&](unsigned vcpu) {
            if (host != nullptr)
                out[vcpu] = host->cpuset;
        });
        if (cell.pins)
            for (const model::CpuPin& pin : *cell.pins)
                out[pin.vcpu] = {pin.cpu};
    }
    return out;
}

CpuSet emulator_cpus(const Granted& granted, const std::map<unsigned, CpuSet>& vcpus) {
    CpuSet reserved;
    for (const GuestCell& cell : granted.guest.cells)
        if (cell.reserved)
            reserved |= *cell.reserved;
    if (!reserved.empty())
        return reserved;
    if (!granted.emulator.empty())
        return granted.emulator;
    CpuSet all;
    for (const auto& [vcpu, cpus] : vcpus)
        all |= cpus;
    return all;
}

void check_threads(const Granted& granted,
                   const std::vector<ThreadOfGuest>& threads,
                   pid_t process,
                   std::vector<std::string>& out) {
    auto vcpus = granted_cpus(granted);
    const CpuSet emulator = emulator_cpus(granted, vcpus);
    for (const ThreadOfGuest& thread : threads) {
        const auto vcpu = thread.vcpu();
        if (vcpu) {
            const auto wanted = vcpus.find(*vcpu);
            if (wanted == vcpus.end())
                continue;
            if (thread.allowed != wanted->second)
                out.push_back(cat("vCPU ",
                                  *vcpu,
                                  " may run on CPUs ",
                                  thread.allowed.str(),
                                  ", granted are ",
                                  wanted->second.str()));
            vcpus.erase(wanted);
        } else if (thread.id == process && thread.allowed != emulator) {
            out.push_back(cat("the emulator may run on CPUs ",
                              thread.allowed.str(),
                              ", granted are ",
                              emulator.str()));
        }
    }
    for (const auto& [vcpu, cpus] : vcpus)
        out.push_back(cat("vCPU ", vcpu, " has no thread"));
}

/// Pages of that size on the cell; 0 when none.
std::int64_t count(const std::map<int, std::map<std::uint64_t, std::int64_t>>& pages,
                   int cell,
                   std::uint64_t size) {
    const auto sizes = pages.find(cell);
    if (sizes == pages.end())
        return 0;
    const auto found = sizes->second.find(size);
    return found == sizes->second.end() ? 0 : found->second;
}

/// The smallest page of the cell is no huge page and is mapped when it is touched, not before.
bool is_huge(const Granted& granted, const GuestCell& cell) {
    const model::HostCell* host = granted.host.cell(cell.id);
    return cell.page_size_kib > 0 && host != nullptr && !host->mempages.empty() &&
           static_cast<std::uint64_t>(cell.page_size_kib) != host->mempages.front().size_kib;
}

void check_memory(const Granted& granted,
                  const MemoryOfGuest& memory,
                  std::vector<std::string>& out) {
    std::map<int, std::map<std::uint64_t, std::int64_t>> wanted;
    for (const GuestCell& cell : granted.guest.cells)
        if (is_huge(granted, cell))
            wanted[cell.id][static_cast<std::uint64_t>(cell.page_size_kib)] +=
                cell.memory_mib * 1024 / cell.page_size_kib;
    for (const auto& [id, sizes] : wanted)
        for (const auto& [size, pages] : sizes)
            if (const std::int64_t there = count(memory.all, id, size); there < pages)
                out.push_back(cat("host cell ",
                                  id,
                                  " gave ",
                                  there,
                                  " of ",
                                  pages,
                                  " pages of ",
                                  model::page_size_text(static_cast<std::int64_t>(size))));
    for (const auto& [id, sizes] : memory.bound) {
        const bool ours = std::any_of(granted.guest.cells.begin(),
                                      granted.guest.cells.end(),
                                      [&, cell = id](const GuestCell& c) { return c.id == cell; });
        for (const auto& [size, pages] : sizes)
            if (!ours && pages > 0)
                out.push_back(cat(pages,
                                  " pages of ",
                                  model::page_size_text(static_cast<std::int64_t>(size)),
                                  " of its memory are on host cell ",
                                  id,
                                  ", which was not granted"));
    }
}

} // namespace

std::optional<unsigned> ThreadOfGuest::vcpu() const {
    // "CPU 3/KVM", "CPU 3/TCG"
    if (!name.starts_with("CPU "))
        return std::nullopt;
    const std::string_view rest = std::string_view(name).substr(4);
    return to_number<unsigned>(rest.substr(0, rest.find('/')));
}

Result<std::vector<ThreadOfGuest>> threads_of(pid_t process, const fs::path& root) {
    const fs::path folder = root / "proc" / cat(process) / "task";
    std::error_code error;
    std::vector<ThreadOfGuest> out;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
        const auto id = to_number<pid_t>(at->path().filename().string());
        if (!id)
            continue;
        auto thread = read_thread(at->path(), *id);
        if (thread)
            out.push_back(std::move(*thread));
        else if (thread.error().code != Code::NotFound)
            return Failure(thread.error());
    }
    if (out.empty())
        return fail(Code::NotFound,
                    cat("no process ", process, ": ", folder.string(), " is empty"));
    std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
    return out;
}

MemoryOfGuest read_numa_maps(const std::string& text) {
    MemoryOfGuest out;
    for (const std::string& line : split(text, '\n'))
        add_mapping(line, out);
    return out;
}

Result<MemoryOfGuest> memory_of(pid_t process, const fs::path& root) {
    NOVALET_ASSIGN(const auto text,
                   read_file(root / "proc" / cat(process) / "numa_maps", max_maps_bytes));
    return read_numa_maps(text);
}

std::vector<std::string> differences(const Granted& granted,
                                     const std::vector<ThreadOfGuest>& threads,
                                     const MemoryOfGuest& memory,
                                     pid_t process) {
    std::vector<std::string> out;
    check_threads(granted, threads, process, out);
    check_memory(granted, memory, out);
    return out;
}

Result<std::vector<std::string>>
check_placement(const Granted& granted, pid_t process, const fs::path& root) {
    NOVALET_ASSIGN(const auto threads, threads_of(process, root));
    NOVALET_ASSIGN(const auto memory, memory_of(process, root));
    auto found = differences(granted, threads, memory, process);
    metrics::counter("novalet_guest_placement_checks_total",
                     "Started guests whose CPUs and memory were compared with what was granted",
                     {{"result", found.empty() ? "granted" : "different"}})
        .add();
    return found;
}

} // namespace novalet::hypervisor::topology
