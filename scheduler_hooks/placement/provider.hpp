#pragma once
// Inventory and traits of the compute node's root provider, from facts about the host
// (reference 05 §3, §4). Pure, any thread.
#include "scheduler_hooks/model/inventory.hpp"

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace novalet::scheduler_hooks::placement {

/// Service versions at which the rules change (reference 10 §2).
constexpr unsigned zed_service = 64;
constexpr unsigned epoxy_service = 68;
constexpr unsigned gazpacho_service = 72;
constexpr unsigned hibiscus_service = 74;

/// Everything about the host that its provider shows. Texts in libvirt's spelling.
struct HostDescription {
    std::int64_t shared_cpus = 0;    ///< VCPU; 0: no VCPU inventory
    std::int64_t dedicated_cpus = 0; ///< PCPU; 0: no PCPU inventory
    std::int64_t memory_mib = 0;
    std::int64_t disk_gib = 0;                   ///< 0: no DISK_GB inventory
    std::int64_t memory_encryption_contexts = 0; ///< SEV guests; 0: none

    std::string virt_type = "kvm"; ///< kvm, qemu, lxc, parallels
    std::string arch = "x86_64";
    std::vector<std::string> emulated_archs; ///< that can be emulated, without `arch`
    std::vector<std::string> cpu_features;
    bool hyperthreading = false;
    std::vector<std::string> disk_buses;
    std::vector<std::string> video_models;
    std::vector<std::string> tpm_models;   ///< "tpm-tis", "tpm-crb"
    std::vector<std::string> tpm_versions; ///< "1.2", "2.0"
    bool tpm_enabled = false;              ///< swtpm_enabled
    bool secure_boot = false;
    bool amd_sev = false;
    bool amd_sev_es = false;
    bool amd_sev_snp = false;
    bool intel_tdx = false;
    bool stateless_firmware = false;
    bool virtio_fs = false;
    bool mem_backing_file = false;
    bool remote_managed_ports = false;
    std::vector<std::string> sound_models;
    std::vector<std::string> usb_models;
    std::vector<std::string> tpm_secret_security; ///< "user", "host", "deployment"
    std::int64_t libvirt_version = 0;             ///< 9000000
    std::int64_t qemu_version = 0;                ///< 7002000
    bool qcow2_images = true;                   ///< false: raw-only back-ends that must not convert
    std::set<std::string> excluded_image_types; ///< image_type_exclude_list, lower case
};

/// Configured amounts. A ratio of 0 or none means "not set".
struct InventoryOptions {
    std::optional<double> cpu_allocation_ratio;
    std::optional<double> ram_allocation_ratio;
    std::optional<double> disk_allocation_ratio;
    std::optional<double> initial_cpu_allocation_ratio; ///< default by release: 16, then 4
    std::optional<double> initial_ram_allocation_ratio; ///< default by release: 1.5, then 1
    std::optional<double> initial_disk_allocation_ratio;
    std::int64_t reserved_host_cpus = 0;
    std::int64_t reserved_host_memory_mib = 512;
    std::int64_t reserved_host_disk_mib = 0;
};

/// Initial ratios of a release, when the operator configured none.
struct InitialRatios {
    double cpu = 4.0;
    double ram = 1.0;
    double disk = 1.0;
};
[[nodiscard]] InitialRatios initial_ratios(unsigned service_version);

/// The whole inventory of the root; classes it does not name are to be removed, except those of a
/// provider configuration. `existing` gives the ratios that operators set through the API.
[[nodiscard]] model::Inventories inventories(const HostDescription& host,
                                             const InventoryOptions& options,
                                             const model::Inventories& existing,
                                             unsigned service_version);

/// Traits the driver reports as true and as false; a trait in neither set is somebody else's.
struct TraitReport {
    model::Traits present;
    model::Traits absent;
};
[[nodiscard]] TraitReport reported_traits(const HostDescription& host, unsigned service_version);

/// What the provider should have: existing + present − absent. `service_disabled` sets or removes
/// COMPUTE_STATUS_DISABLED; empty leaves it (the service record was not readable).
[[nodiscard]] model::Traits traits(const HostDescription& host,
                                   const model::Traits& existing,
                                   std::optional<bool> service_disabled,
                                   unsigned service_version);

/// Standard traits are limited to those this Placement knows; CUSTOM_ ones stay. `dropped` has the
/// rest, for the log.
struct KnownTraits {
    model::Traits kept;
    model::Traits dropped;
};
[[nodiscard]] KnownTraits only_known(const model::Traits& wanted, const model::Traits& known);

/// What differs from the cached provider and must be PUT.
struct ProviderChange {
    bool inventory = false;
    bool traits = false;
    [[nodiscard]] bool any() const noexcept { return inventory || traits; }
};
[[nodiscard]] ProviderChange difference(const model::Inventories& wanted_inventories,
                                        const model::Traits& wanted_traits,
                                        const model::Inventories& cached_inventories,
                                        const model::Traits& cached_traits);

/// Bodies of the two PUTs.
[[nodiscard]] Json inventories_body(const model::Inventories& wanted, std::int64_t generation);
[[nodiscard]] Json traits_body(const model::Traits& wanted, std::int64_t generation);

} // namespace novalet::scheduler_hooks::placement
