#pragma once
// Release profiles: what differs between control-plane releases, as data (reference 10 §2, §3, §5).
// Nothing else in the agent asks which release it is: a new difference is a new member here.
#include "agent/core/result.hpp"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace novalet::objects {

/// One control-plane release. Immutable value, passed in, never global.
struct Release {
    std::string name;            ///< "zed"
    std::string package_version; ///< of Nova, for sysinfo and metadata: "26.2.2"
    int service_version = 0;     ///< what Service.version reports
    int rules_from = 0;          ///< lowest service version that these rules serve
    int oldest_compute = 0;      ///< lowest version this control plane accepts at its start
    int rpc_minor = 0;           ///< compute RPC 6.<minor>
    bool second_server = false;  ///< compute-alt is consumed (71 and later)

    // --- records of the host
    bool identity_file = false;   ///< node uuid from the compute_id file is checked (65 and later)
    bool node_ids = false;        ///< ComputeNode.service_id, Instance.compute_id,
                                  ///< Migration.dest_compute_id are filled
    bool placement_first = false; ///< audit: Placement before ComputeNode.save
    bool refuses_unknown_node = false;  ///< a claim for an unknown node fails; else it is empty
    bool pools_with_providers = false;  ///< pci_device_pools refreshed after Placement
    int heal_network_info_seconds = 60; ///< default interval; -1 = off
    double initial_cpu_ratio = 4.0;
    double initial_ram_ratio = 1.0;
    double initial_disk_ratio = 1.0;
    int graceful_shutdown_seconds = 60;

    // --- traits and inventory
    bool arch_traits = false;  ///< HW_ARCH_*, packed virtqueue, address space, TPM models
    bool sound_traits = false; ///< 69 and later
    bool usb_traits = false;   ///< 70 and later
    bool memory_encryption_model_traits = false;
    bool memory_encryption_children = false; ///< its inventory on child providers
    bool owner_trait = false;                ///< OWNER_NOVA must be set (73 and later)

    // --- operations
    bool rebuild_target_state = false;       ///< 66 and later
    bool delete_attachment_argument = false; ///< remove_volume_connection; 67 and later
    bool shares = false;                     ///< Manila; 68 and later
    bool shares_in_cold_migration = false;   ///< 74 and later
    bool mdev_live_migration = false;
    bool vtpm_live_migration = false; ///< 72 and later
    bool live_migration_awaits_all_ports = false;
    bool wraps_source_check_errors = false; ///< into MigrationPreCheckError
    bool compares_hypervisor_cpu = false;   ///< compareHypervisorCPU instead of compareCPU
    bool cpu_power_management = false;
    bool cleans_dangling_attachments = false; ///< at reboot
    bool shelve_offload_unbinds_ports = false;
    bool linux_bridge_interfaces = true;          ///< vif_type bridge may be plugged
    bool network_has_should_create_bridge = true; ///< key of a bridge network in network_info

    std::string image_meta_props; ///< version of ImageMetaProps: the fingerprint (§4.2)
    /// Versions that differ from the common table; "" = class unknown in this release.
    std::map<std::string, std::string, std::less<>> versions;

    /// Version to stamp on objects of this class and to put into manifests; empty when unknown.
    [[nodiscard]] std::string version_of(std::string_view object) const;
    /// {class: version} for a class action on `root`, with every class that it can contain
    /// (reference 02 §2.1). Classes that this release does not know are left out.
    [[nodiscard]] std::map<std::string, std::string> manifest(std::string_view root) const;
    /// "6.4"
    [[nodiscard]] std::string rpc_version() const { return "6." + std::to_string(rpc_minor); }
};

/// All known profiles, oldest first.
[[nodiscard]] const std::vector<Release>& releases();
/// By name ("zed"); NotFound lists the known ones.
[[nodiscard]] Result<Release> release_by_name(std::string_view name);
/// The rules for a reported SERVICE_VERSION: the newest profile that is not newer, reporting that
/// number itself and keeping what the number promises (reference 10 §4.4). Above the highest known
/// one: the highest profile as it is, since a number whose promise is not known cannot be kept.
/// Below the lowest supported (61): Unsupported.
[[nodiscard]] Result<Release> release_by_service_version(int version);
/// By the ImageMetaProps version that a conductor says it knows ("1.42").
[[nodiscard]] Result<Release> release_by_fingerprint(std::string_view image_meta_props);

} // namespace novalet::objects
