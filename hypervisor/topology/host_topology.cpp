#include "hypervisor/topology/host_topology.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

#include <algorithm>

namespace novalet::hypervisor::topology {
namespace {

namespace model = scheduler_hooks::model;

Failure invalid(std::string text) {
    return fail_as("InvalidConfiguration", Code::InvalidArgument, std::move(text));
}

Result<model::CpuSet>
configured(const std::string& text, const char* key, const model::CpuSet& online) {
    if (text.empty())
        return model::CpuSet();
    auto cpus = model::CpuSet::parse(text);
    if (!cpus)
        return invalid(cat("compute.", key, " is '", text, "': ", cpus.error().text));
    if (cpus->empty())
        return invalid(cat("No CPUs available after parsing compute.", key, ", '", text, "'"));
    if (!cpus->is_subset_of(online))
        return invalid(cat("compute.",
                           key,
                           " names CPUs ",
                           (*cpus - online).str(),
                           ", which are not online or do not exist; online are ",
                           online.str()));
    return cpus;
}

/// Memory and pages as they are now; what libvirt said stays where the kernel says nothing.
void refresh_memory(model::HostCell& cell, const KernelState& kernel) {
    const auto found = kernel.nodes.find(cell.id);
    if (found == kernel.nodes.end() || cell.mempages.empty())
        return;
    const auto& node = found->second;
    cell.memory_mib = static_cast<std::int64_t>(node.total_kib >> 10U);
    std::uint64_t in_pools = 0;
    for (const auto& pool : node.pools) {
        in_pools +=
            pool.size_kib * static_cast<std::uint64_t>(std::max<std::int64_t>(pool.total, 0));
        const auto same =
            std::find_if(cell.mempages.begin(), cell.mempages.end(), [&](const auto& own) {
                return own.size_kib == pool.size_kib;
            });
        if (same != cell.mempages.end())
            same->total = pool.total;
    }
    auto& smallest = cell.mempages.front();
    smallest.total = static_cast<std::int64_t>(
        (node.total_kib > in_pools ? node.total_kib - in_pools : 0) / smallest.size_kib);
}

void reserve_pages(model::HostCell& cell, const TopologyOptions& options) {
    const auto node = options.reserved_pages.find(cell.id);
    if (node == options.reserved_pages.end())
        return;
    for (auto& pool : cell.mempages)
        if (const auto pages = node->second.find(pool.size_kib); pages != node->second.end())
            pool.reserved = pages->second;
}

Result<void> add_networks(model::HostTopology& host, const TopologyOptions& options) {
    const auto check = [&](int node, const std::string& network) -> Result<void> {
        if (host.cell(node) != nullptr)
            return {};
        return fail_as("InvalidNetworkNUMAAffinity",
                       Code::InvalidArgument,
                       cat("Invalid NUMA network affinity configured: node ",
                           node,
                           " for ",
                           network,
                           " is not present on this host"));
    };
    for (const auto& [name, nodes] : options.physnets) {
        if (nodes.empty())
            return fail_as("InvalidNetworkNUMAAffinity",
                           Code::InvalidArgument,
                           cat("Invalid NUMA network affinity configured: physnet ",
                               name,
                               " has no numa_nodes"));
        for (const int node : nodes) {
            NOVALET_TRY(check(node, "physnet " + name));
            host.cell(node)->network.physnets.insert(name);
        }
    }
    for (const int node : options.tunnel_nodes) {
        NOVALET_TRY(check(node, "tunneled networks"));
        host.cell(node)->network.tunneled = true;
    }
    return {};
}

bool has_numa_guests(const std::string& arch) {
    return arch == "x86_64" || arch == "i686" || arch == "aarch64" || arch.starts_with("ppc64");
}

} // namespace

Result<GuestCpus> guest_cpus(const TopologyOptions& options, const model::CpuSet& online) {
    GuestCpus out;
    if (options.shared_cpus.empty() && options.dedicated_cpus.empty()) {
        out.shared = online;
        out.dedicated = online;
        out.everything = true;
        return out;
    }
    NOVALET_ASSIGN(out.shared, configured(options.shared_cpus, "cpu_shared_set", online));
    NOVALET_ASSIGN(out.dedicated, configured(options.dedicated_cpus, "cpu_dedicated_set", online));
    if (out.shared.intersects(out.dedicated))
        return invalid(cat("compute.cpu_shared_set and compute.cpu_dedicated_set share CPUs ",
                           (out.shared & out.dedicated).str(),
                           "; a CPU belongs to one of them"));
    return out;
}

Result<model::HostTopology> host_topology(const domain::HostCapabilities& capabilities,
                                          const KernelState& kernel,
                                          const TopologyOptions& options) {
    NOVALET_ASSIGN(const auto cpus, guest_cpus(options, kernel.online));
    if (!has_numa_guests(capabilities.arch))
        return model::HostTopology();
    model::HostTopology host = capabilities.topology;
    const auto ours = cpus.shared | cpus.dedicated;
    for (auto& cell : host.cells) {
        const model::CpuSet all = cell.cpuset;
        cell.cpuset = all & cpus.shared;
        cell.pcpuset = all & cpus.dedicated;
        for (auto& siblings : cell.siblings)
            siblings &= ours;
        std::erase_if(cell.siblings, [](const auto& siblings) { return siblings.empty(); });
        std::sort(cell.siblings.begin(), cell.siblings.end(), [](const auto& a, const auto& b) {
            return a.front() < b.front();
        });
        refresh_memory(cell, kernel);
        reserve_pages(cell, options);
    }
    NOVALET_TRY(add_networks(host, options));
    return host;
}

} // namespace novalet::hypervisor::topology
