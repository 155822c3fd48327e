#include "hypervisor/topology/sysfs.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"

#include <algorithm>
#include <optional>

namespace novalet::hypervisor::topology {
namespace {

namespace fs = std::filesystem;
namespace model = scheduler_hooks::model;

constexpr std::size_t max_bytes = 64U << 10U;

Result<model::CpuSet> read_cpus(const fs::path& file) {
    NOVALET_ASSIGN(const auto text, read_file(file, max_bytes));
    const auto list = trim(text);
    if (list.empty())
        return model::CpuSet();
    auto cpus = model::CpuSet::parse(list);
    if (!cpus)
        return fail(Code::DataLoss, cat(file.string(), ": ", cpus.error().text));
    return cpus;
}

/// A list that older kernels do not have.
Result<model::CpuSet> read_cpus_if_there(const fs::path& file) {
    auto cpus = read_cpus(file);
    if (!cpus && cpus.error().code == Code::NotFound)
        return model::CpuSet();
    return cpus;
}

template <class T> Result<T> read_number(const fs::path& file) {
    NOVALET_ASSIGN(const auto text, read_file(file, max_bytes));
    const auto value = to_number<T>(trim(text));
    if (!value)
        return fail(Code::DataLoss, cat(file.string(), " holds '", trim(text), "', no number"));
    return *value;
}

/// The number between a prefix and a suffix of a name; empty when the name has another form.
std::optional<std::uint64_t>
number_in(const std::string& name, std::string_view prefix, std::string_view suffix) {
    if (!name.starts_with(prefix) || !name.ends_with(suffix) ||
        name.size() < prefix.size() + suffix.size())
        return std::nullopt;
    return to_number<std::uint64_t>(
        std::string_view(name).substr(prefix.size(), name.size() - prefix.size() - suffix.size()));
}

/// "Node 0 MemTotal:  9005268 kB"
Result<std::uint64_t> node_total(const fs::path& file) {
    NOVALET_ASSIGN(const auto text, read_file(file, max_bytes));
    for (const auto& line : split(text, '\n')) {
        const auto at = line.find("MemTotal:");
        if (at == std::string::npos)
            continue;
        std::string_view rest = trim(std::string_view(line).substr(at + 9));
        rest = trim(rest.substr(0, rest.find(' ')));
        if (const auto value = to_number<std::uint64_t>(rest))
            return *value;
    }
    return fail(Code::DataLoss, cat(file.string(), " has no readable MemTotal"));
}

Result<NodeMemory> read_node(const fs::path& node) {
    NodeMemory out;
    NOVALET_ASSIGN(out.total_kib, node_total(node / "meminfo"));
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(node / "hugepages", error)) {
        const auto size = number_in(entry.path().filename().string(), "hugepages-", "kB");
        if (!size)
            continue;
        HugePagePool pool;
        pool.size_kib = *size;
        NOVALET_ASSIGN(pool.total, read_number<std::int64_t>(entry.path() / "nr_hugepages"));
        NOVALET_ASSIGN(pool.free, read_number<std::int64_t>(entry.path() / "free_hugepages"));
        out.pools.push_back(pool);
    }
    std::sort(out.pools.begin(), out.pools.end(), [](const auto& a, const auto& b) {
        return a.size_kib < b.size_kib;
    });
    return out;
}

} // namespace

Result<KernelState> read_kernel_state(const fs::path& root) {
    KernelState out;
    const auto cpus = root / "sys/devices/system/cpu";
    NOVALET_ASSIGN(out.online, read_cpus(cpus / "online"));
    NOVALET_ASSIGN(out.offline, read_cpus_if_there(cpus / "offline"));
    NOVALET_ASSIGN(out.isolated, read_cpus_if_there(cpus / "isolated"));
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(root / "sys/devices/system/node", error)) {
        const auto number = number_in(entry.path().filename().string(), "node", "");
        if (!number)
            continue;
        NOVALET_ASSIGN(auto memory, read_node(entry.path()));
        out.nodes.emplace(static_cast<int>(*number), std::move(memory));
    }
    return out;
}

} // namespace novalet::hypervisor::topology
