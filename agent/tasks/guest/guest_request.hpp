#pragma once
// From Nova's records to the hypervisor's GuestSpec: pure functions over the documents
// (reference 03 §1.5, 06 §1.7 and §2, 07 §2, §3 and §5).
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"
#include "hypervisor/guest_spec.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace novalet::tasks {

/// What the agent's configuration and release add to a guest.
struct GuestDefaults {
    std::string name_template = "instance-%08x"; ///< instance_name_template
    std::string package_version;                 ///< of the release in force
    bool force_config_drive = false;
    std::string ephemeral_format; ///< default_ephemeral_format; empty = by os_type
};

/// instance_name_template with the fields of the instance: `%08x`, `%d`, `%s` of id, or
/// `%(uuid)s`, `%(id)d`, `%(hostname)s` … Unknown field: InvalidArgument.
[[nodiscard]] Result<std::string> instance_name(const std::string& name_template,
                                                const Json& instance);

/// Flavor / image of the instance record (image from system_metadata image_*).
[[nodiscard]] hypervisor::FlavorSpec flavor_of(const Json& flavor_primitive);
[[nodiscard]] hypervisor::ImageSpec image_of(const Json& instance);

/// Local disks from the block device mappings, with device names given (reference 07 §5).
/// BuildAbortException for a mapping that needs a volume.
struct DiskPlan {
    std::vector<hypervisor::DiskSpec> disks;
    std::string root_device_name;
    /// For each mapping of the input, what has to be saved: device name and bus.
    struct Assigned {
        std::string device_name;
        std::string disk_bus;
    };
    std::vector<Assigned> assigned;
};
[[nodiscard]] Result<DiskPlan> plan_disks(const Json& instance,
                                          const std::vector<Json>& block_device_mappings,
                                          const GuestDefaults& defaults);

/// Interfaces from the NetworkInfo list.
[[nodiscard]] std::vector<hypervisor::InterfaceSpec> interfaces_of(const Json& network_info);

/// instance.config_drive, force_config_drive, or image property img_config_drive=mandatory.
[[nodiscard]] bool needs_config_drive(const Json& instance, const GuestDefaults& defaults);

/// Everything together, without config drive and NUMA topology.
[[nodiscard]] Result<hypervisor::GuestSpec>
guest_spec(const Json& instance,
           const std::vector<Json>& block_device_mappings,
           const Json& network_info,
           const GuestDefaults& defaults);

/// system_metadata keys that Nova writes at the first spawn so that the guest's hardware stays the
/// same over upgrades (reference 04 §2 h): "image_" + what `hardware`, as the hypervisor tells it,
/// names. Only keys that are missing are returned.
[[nodiscard]] Json undefined_hardware(const Json& instance,
                                      const std::map<std::string, std::string>& hardware);

} // namespace novalet::tasks
