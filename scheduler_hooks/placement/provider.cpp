#include "scheduler_hooks/placement/provider.hpp"

#include "scheduler_hooks/placement/trait_rules.hpp"

#include <algorithm>

namespace novalet::scheduler_hooks::placement {
namespace {

using model::Inventories;
using model::Inventory;
using model::Traits;

std::optional<double> set_ratio(const std::optional<double>& ratio) {
    return ratio && *ratio != 0.0 ? ratio : std::nullopt;
}

/// The operator's value, else what Placement has (set through its API), else the initial one.
double ratio_of(const std::optional<double>& configured,
                const Inventories& existing,
                const char* resource_class,
                double initial) {
    if (const auto ratio = set_ratio(configured))
        return *ratio;
    const auto at = existing.find(resource_class);
    return at == existing.end() ? initial : at->second.allocation_ratio;
}

Inventory amount(std::int64_t total, std::int64_t reserved, double ratio) {
    return {total, reserved, 1, total, 1, ratio};
}

} // namespace

InitialRatios initial_ratios(unsigned service_version) {
    if (service_version < epoxy_service)
        return {16.0, 1.5, 1.0};
    return {};
}

Inventories inventories(const HostDescription& host,
                        const InventoryOptions& options,
                        const Inventories& existing,
                        unsigned service_version) {
    const InitialRatios by_release = initial_ratios(service_version);
    const auto initial = [](const std::optional<double>& configured, double release) {
        return set_ratio(configured).value_or(release);
    };
    Inventories out;
    out["MEMORY_MB"] =
        amount(host.memory_mib,
               options.reserved_host_memory_mib,
               ratio_of(options.ram_allocation_ratio,
                        existing,
                        "MEMORY_MB",
                        initial(options.initial_ram_allocation_ratio, by_release.ram)));
    if (host.shared_cpus > 0)
        out["VCPU"] =
            amount(host.shared_cpus,
                   options.reserved_host_cpus,
                   ratio_of(options.cpu_allocation_ratio,
                            existing,
                            "VCPU",
                            initial(options.initial_cpu_allocation_ratio, by_release.cpu)));
    if (host.dedicated_cpus > 0)
        out["PCPU"] = amount(host.dedicated_cpus, 0, 1.0);
    if (host.disk_gib > 0)
        out["DISK_GB"] =
            amount(host.disk_gib,
                   (options.reserved_host_disk_mib + 1023) / 1024,
                   ratio_of(options.disk_allocation_ratio,
                            existing,
                            "DISK_GB",
                            initial(options.initial_disk_allocation_ratio, by_release.disk)));
    // From Gazpacho on these live on child providers.
    if (host.memory_encryption_contexts > 0 && service_version < gazpacho_service)
        out["MEM_ENCRYPTION_CONTEXT"] = {host.memory_encryption_contexts, 0, 1, 1, 1, 1.0};
    return out;
}

TraitReport reported_traits(const HostDescription& host, unsigned service_version) {
    TraitReport report;
    report_cpu_features(host, service_version, report);
    report_devices(host, service_version, report);
    report_capabilities(host, service_version, report);
    return report;
}

Traits traits(const HostDescription& host,
              const Traits& existing,
              std::optional<bool> service_disabled,
              unsigned service_version) {
    const TraitReport report = reported_traits(host, service_version);
    Traits out = existing;
    for (const std::string& trait : report.absent)
        out.erase(trait);
    out.insert(report.present.begin(), report.present.end());
    if (service_disabled) {
        if (*service_disabled)
            out.insert("COMPUTE_STATUS_DISABLED");
        else
            out.erase("COMPUTE_STATUS_DISABLED");
    }
    return out;
}

KnownTraits only_known(const Traits& wanted, const Traits& known) {
    KnownTraits out;
    for (const std::string& trait : wanted) {
        const bool custom = trait.rfind("CUSTOM_", 0) == 0;
        (custom || known.count(trait) != 0 ? out.kept : out.dropped).insert(trait);
    }
    return out;
}

ProviderChange difference(const Inventories& wanted_inventories,
                          const Traits& wanted_traits,
                          const Inventories& cached_inventories,
                          const Traits& cached_traits) {
    return {wanted_inventories != cached_inventories, wanted_traits != cached_traits};
}

Json inventories_body(const Inventories& wanted, std::int64_t generation) {
    Json body = Json::object();
    body.set("resource_provider_generation", generation);
    body.set("inventories", model::to_json(wanted));
    return body;
}

Json traits_body(const Traits& wanted, std::int64_t generation) {
    Json body = Json::object();
    body.set("resource_provider_generation", generation);
    body.set("traits", model::traits_to_json(wanted));
    return body;
}

} // namespace novalet::scheduler_hooks::placement
