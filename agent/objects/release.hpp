#pragma once
// Release profiles: what differs between control-plane releases, as data (reference 10 §2, §3, §5).
#include "agent/core/result.hpp"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace novalet::objects {

/// One control-plane release. Immutable; nothing else in the agent asks which release it is.
struct Release {
    std::string name;             ///< "zed"
    std::string package_version;  ///< of Nova, for sysinfo and metadata: "26.2.2"
    int service_version = 0;      ///< what Service.version reports
    int rules_from = 0;           ///< lowest service version that these rules serve
    int rpc_minor = 0;            ///< compute RPC 6.<minor>
    bool second_server = false;   ///< compute-alt is consumed
    bool identity_file = false;   ///< compute_id file, ids in ComputeNode/Instance/Migration
    bool placement_first = false; ///< audit: Placement before ComputeNode.save
    bool arch_traits = false;     ///< HW_ARCH_*, and what came with it
    bool owner_trait = false;     ///< OWNER_NOVA must be set
    double initial_cpu_ratio = 4.0;
    double initial_ram_ratio = 1.0;
    double initial_disk_ratio = 1.0;
    std::string image_meta_props; ///< version of ImageMetaProps: the fingerprint (§4.2)
    /// Versions that differ from the common table; "" = class unknown in this release.
    std::map<std::string, std::string, std::less<>> versions;

    /// Version to stamp on objects of this class and to put into manifests; empty when unknown.
    [[nodiscard]] std::string version_of(std::string_view object) const;
    /// {class: version} for a class action on `root`, with every class that it can contain.
    [[nodiscard]] std::map<std::string, std::string> manifest(std::string_view root) const;
};

/// All known profiles, oldest first.
[[nodiscard]] const std::vector<Release>& releases();
/// By name ("zed"); NotFound lists the known ones.
[[nodiscard]] Result<Release> release_by_name(std::string_view name);
/// The rules for a reported SERVICE_VERSION: the newest profile that is not newer. Above the
/// highest known: the highest; below the lowest supported (61): Unsupported.
[[nodiscard]] Result<Release> release_by_service_version(int version);
/// By the ImageMetaProps version that a conductor says it knows.
[[nodiscard]] Result<Release> release_by_fingerprint(std::string_view image_meta_props);

} // namespace novalet::objects
