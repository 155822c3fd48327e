#include "agent/app/host_state.hpp"

#include "agent/app/options.hpp"
#include "agent/core/clock.hpp"
#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/books/host_books.hpp"
#include "hypervisor/topology/sysfs_cells.hpp"

#include <chrono>
#include <sys/utsname.h>

namespace novalet::app {
namespace {

namespace topology = hypervisor::topology;

Json ratios(double cpu, double ram) {
    Json out = Json::object();
    out.set("cpu_allocation_ratio", cpu);
    out.set("ram_allocation_ratio", ram);
    return out;
}

Json free_pages(const topology::KernelState& kernel) {
    Json out = Json::array();
    for (const auto& [id, node] : kernel.nodes)
        for (const topology::HugePagePool& pool : node.pools) {
            Json pages = Json::object();
            pages.set("cell", id);
            pages.set("size_kb", pool.size_kib);
            pages.set("free", pool.free);
            out.push_back(std::move(pages));
        }
    return out;
}

Result<HostState> from_books(const std::filesystem::path& file) {
    NOVALET_ASSIGN(const tasks::HostBooks books, tasks::read_host_books(file));
    HostState out;
    out.numa_topology = books.numa_topology;
    out.limits = ratios(books.cpu_allocation_ratio, books.ram_allocation_ratio);
    const auto now =
        std::chrono::duration_cast<std::chrono::seconds>(system_clock().wall().time_since_epoch())
            .count();
    out.source =
        cat("the agent's books in ", file.string(), ", ", now - books.written_at, " s old");
    out.usage_known = true;
    return out;
}

Result<HostState> from_kernel(const config::Config& config,
                              const topology::KernelState& kernel,
                              const std::filesystem::path& root) {
    hypervisor::domain::HostCapabilities capabilities;
    utsname system{};
    if (uname(&system) == 0)
        capabilities.arch = system.machine;
    NOVALET_ASSIGN(capabilities.topology,
                   topology::cells_from_sysfs(root, topology::small_page_kib()));
    NOVALET_ASSIGN(
        const auto host,
        topology::host_topology(capabilities, kernel, libvirt_options(config, "").topology));
    HostState out;
    out.numa_topology = scheduler_hooks::model::to_json(host);
    if (config.compute.cpu_allocation_ratio && config.compute.ram_allocation_ratio)
        out.limits =
            ratios(*config.compute.cpu_allocation_ratio, *config.compute.ram_allocation_ratio);
    out.source = "this host as its kernel shows it; no guests are counted, the agent has left no "
                 "books";
    return out;
}

} // namespace

Result<HostState> host_state(const config::Config& config, const std::filesystem::path& root) {
    NOVALET_ASSIGN(const topology::KernelState kernel, topology::read_kernel_state(root));
    auto state = from_books(tasks::host_books_path(config.state_path));
    if (!state && state.error().code == Code::NotFound)
        state = from_kernel(config, kernel, root);
    if (state)
        state->kernel_pages = free_pages(kernel);
    return state;
}

Result<topology::HostFindings> check_configured_host(const config::Config& config,
                                                     const std::filesystem::path& root) {
    if (config.hypervisor.kind == config::HypervisorKind::Simulated)
        return topology::HostFindings();
    NOVALET_ASSIGN(const topology::KernelState kernel, topology::read_kernel_state(root));
    topology::HostWish wish;
    wish.cpus_and_pages = libvirt_options(config, "").topology;
    wish.reserved_cpus = config.compute.reserved_host_cpus;
    wish.reserved_memory_mib = config.compute.reserved_host_memory;
    return topology::check_host(wish, kernel);
}

std::string text_of(const topology::HostFindings& findings) {
    std::string text;
    for (const auto& finding : findings.errors)
        text += cat("error: ", finding.option, ' ', finding.text, '\n');
    for (const auto& finding : findings.warnings)
        text += cat("warning: ", finding.option, ' ', finding.text, '\n');
    return text;
}

} // namespace novalet::app
