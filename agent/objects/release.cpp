#include "agent/objects/release.hpp"

#include "agent/core/text.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace novalet::objects {
namespace {

using Versions = std::map<std::string, std::string, std::less<>>;

/// Equal in all known releases (reference 10 §3).
const Versions common_versions{
    {"Aggregate", "1.3"},
    {"AggregateList", "1.3"},
    {"BlockDeviceMapping", "1.21"},
    {"BlockDeviceMappingList", "1.18"},
    {"ComputeNode", "1.19"},
    {"ComputeNodeList", "1.17"},
    {"CpuDiagnostics", "1.0"},
    {"Destination", "1.4"},
    {"DeviceBus", "1.0"},
    {"DeviceMetadata", "1.0"},
    {"Diagnostics", "1.0"},
    {"DiskDiagnostics", "1.0"},
    {"DiskMetadata", "1.0"},
    {"EC2Ids", "1.0"},
    {"Flavor", "1.2"},
    {"FlavorList", "1.1"},
    {"HVSpec", "1.2"},
    {"IDEDeviceBus", "1.0"},
    {"ImageMeta", "1.8"},
    {"InstanceAction", "1.2"},
    {"InstanceActionEvent", "1.4"},
    {"InstanceActionEventList", "1.1"},
    {"InstanceActionList", "1.1"},
    {"InstanceDeviceMetadata", "1.0"},
    {"InstanceExternalEvent", "1.5"},
    {"InstanceFault", "1.2"},
    {"InstanceFaultList", "1.2"},
    {"InstanceGroup", "1.11"},
    {"InstanceGroupList", "1.8"},
    {"InstanceInfoCache", "1.5"},
    {"InstanceList", "2.6"},
    {"InstanceMapping", "1.2"},
    {"InstanceNUMACell", "1.6"},
    {"InstanceNUMATopology", "1.3"},
    {"InstancePCIRequest", "1.4"},
    {"InstancePCIRequests", "1.1"},
    {"KeyPair", "1.4"},
    {"KeyPairList", "1.3"},
    {"LibvirtLiveMigrateBDMInfo", "1.1"},
    {"LibvirtLiveMigrateNUMAInfo", "1.0"},
    {"LibvirtVPMEMDevice", "1.0"},
    {"MemoryDiagnostics", "1.0"},
    {"MigrationContext", "1.2"},
    {"MigrationList", "1.5"},
    {"MonitorMetric", "1.1"},
    {"MonitorMetricList", "1.1"},
    {"NUMACell", "1.5"},
    {"NUMAPagesTopology", "1.1"},
    {"NUMATopology", "1.2"},
    {"NUMATopologyLimits", "1.1"},
    {"NetworkInterfaceMetadata", "1.2"},
    {"NetworkMetadata", "1.0"},
    {"NetworkRequest", "1.3"},
    {"NetworkRequestList", "1.1"},
    {"NicDiagnostics", "1.0"},
    {"PCIDeviceBus", "1.0"},
    {"PciDevice", "1.7"},
    {"PciDeviceList", "1.3"},
    {"PciDevicePool", "1.1"},
    {"PciDevicePoolList", "1.1"},
    {"Quotas", "1.3"},
    {"RequestGroup", "1.3"},
    {"RequestLevelParams", "1.1"},
    {"Resource", "1.0"},
    {"ResourceList", "1.0"},
    {"ResourceMetadata", "1.0"},
    {"SCSIDeviceBus", "1.0"},
    {"SchedulerLimits", "1.0"},
    {"SchedulerRetries", "1.1"},
    {"SecurityGroup", "1.2"},
    {"SecurityGroupList", "1.1"},
    {"Selection", "1.1"},
    {"Service", "1.22"},
    {"ServiceList", "1.19"},
    {"Tag", "1.1"},
    {"TagList", "1.1"},
    {"TaskLog", "1.0"},
    {"TaskLogList", "1.0"},
    {"TrustedCerts", "1.0"},
    {"USBDeviceBus", "1.0"},
    {"VIFMigrateData", "1.0"},
    {"VirtCPUFeature", "1.0"},
    {"VirtCPUModel", "1.0"},
    {"VirtCPUTopology", "1.0"},
    {"VirtualInterface", "1.3"},
    {"VirtualInterfaceList", "1.0"},
    {"VolumeUsage", "1.0"},
    {"XenDeviceBus", "1.0"},
};

const std::vector<std::string> instance_children{"ComputeNode",
                                                 "DeviceBus",
                                                 "DeviceMetadata",
                                                 "EC2Ids",
                                                 "Flavor",
                                                 "HVSpec",
                                                 "Instance",
                                                 "InstanceDeviceMetadata",
                                                 "InstanceFault",
                                                 "InstanceInfoCache",
                                                 "InstanceNUMACell",
                                                 "InstanceNUMATopology",
                                                 "InstancePCIRequest",
                                                 "InstancePCIRequests",
                                                 "KeyPair",
                                                 "KeyPairList",
                                                 "MigrationContext",
                                                 "PciDevice",
                                                 "PciDeviceList",
                                                 "PciDevicePool",
                                                 "PciDevicePoolList",
                                                 "Resource",
                                                 "ResourceList",
                                                 "ResourceMetadata",
                                                 "SecurityGroup",
                                                 "SecurityGroupList",
                                                 "Service",
                                                 "ServiceList",
                                                 "Tag",
                                                 "TagList",
                                                 "TrustedCerts",
                                                 "VirtCPUFeature",
                                                 "VirtCPUModel",
                                                 "VirtCPUTopology"};
const std::vector<std::string> node_children{
    "ComputeNode", "HVSpec", "PciDevicePool", "PciDevicePoolList"};

std::vector<std::string> with(std::vector<std::string> children, const char* one_more) {
    children.emplace_back(one_more);
    return children;
}

/// Classes reachable from a root (reference 02 §2.1); the root itself is added by the caller.
const std::map<std::string, std::vector<std::string>, std::less<>> children{
    {"Instance", instance_children},
    {"InstanceList", instance_children},
    {"BlockDeviceMapping", instance_children},
    {"BlockDeviceMappingList", with(instance_children, "BlockDeviceMapping")},
    {"ComputeNode", node_children},
    {"ComputeNodeList", node_children},
    {"Service", node_children},
    {"ServiceList", {"Service", "ComputeNode", "HVSpec", "PciDevicePool", "PciDevicePoolList"}},
    {"MigrationList", {"Migration"}},
    {"PciDeviceList", {"PciDevice"}},
    {"InstancePCIRequests", {"InstancePCIRequest"}},
    {"InstanceNUMATopology", {"InstanceNUMACell", "VirtCPUTopology"}},
    {"VirtualInterfaceList", {"VirtualInterface"}},
    {"KeyPairList", {"KeyPair"}},
    {"MigrationContext",
     {"InstanceNUMACell",
      "InstanceNUMATopology",
      "InstancePCIRequest",
      "InstancePCIRequests",
      "PciDevice",
      "PciDeviceList",
      "Resource",
      "ResourceList",
      "ResourceMetadata",
      "VirtCPUTopology"}},
    {"ResourceList", {"Resource", "ResourceMetadata"}},
    {"ShareMappingList", {"ShareMapping"}},
    {"VirtCPUModel", {"VirtCPUFeature", "VirtCPUTopology"}},
};

Release zed() {
    Release r;
    r.name = "zed";
    r.package_version = "26.2.2";
    r.service_version = 64;
    r.rules_from = 61;
    r.oldest_compute = 61;
    r.rpc_minor = 1;
    r.initial_cpu_ratio = 16.0;
    r.initial_ram_ratio = 1.5;
    r.image_meta_props = "1.34";
    r.versions = {{"Instance", "2.7"},
                  {"Migration", "1.7"},
                  {"RequestSpec", "1.14"},
                  {"ImageMetaProps", "1.34"},
                  {"LibvirtLiveMigrateData", "1.10"},
                  {"ConsoleAuthToken", "1.1"}};
    return r;
}

Release epoxy() {
    Release r;
    r.name = "epoxy";
    r.package_version = "31.0.0";
    r.service_version = 68;
    r.rules_from = 68;
    r.oldest_compute = 66;
    r.rpc_minor = 4;
    r.identity_file = true;
    r.node_ids = true;
    r.placement_first = true;
    r.refuses_unknown_node = true;
    r.pools_with_providers = true;
    r.heal_network_info_seconds = -1;
    r.arch_traits = true;
    r.rebuild_target_state = true;
    r.delete_attachment_argument = true;
    r.shares = true;
    r.mdev_live_migration = true;
    r.compares_hypervisor_cpu = true;
    r.cpu_power_management = true;
    r.cleans_dangling_attachments = true;
    r.shelve_offload_unbinds_ports = true;
    r.image_meta_props = "1.39";
    r.versions = {{"Instance", "2.8"},
                  {"Migration", "1.8"},
                  {"RequestSpec", "1.15"},
                  {"ImageMetaProps", "1.39"},
                  {"LibvirtLiveMigrateData", "1.13"},
                  {"ConsoleAuthToken", "1.3"},
                  {"ShareMapping", "1.2"},
                  {"ShareMappingList", "1.0"},
                  {"ShareMetadata", "1.0"}};
    return r;
}

Release gazpacho() {
    Release r = epoxy();
    r.name = "gazpacho";
    r.package_version = "33.0.2";
    r.service_version = 72;
    r.rules_from = 71;
    r.oldest_compute = 68;
    r.rpc_minor = 5;
    r.second_server = true;
    r.graceful_shutdown_seconds = 180;
    r.sound_traits = true;
    r.usb_traits = true;
    r.memory_encryption_model_traits = true;
    r.memory_encryption_children = true;
    r.vtpm_live_migration = true;
    r.live_migration_awaits_all_ports = true;
    r.wraps_source_check_errors = true;
    r.image_meta_props = "1.42";
    r.versions["ImageMetaProps"] = "1.42";
    r.versions["LibvirtLiveMigrateData"] = "1.14";
    return r;
}

Release hibiscus() {
    Release r = gazpacho();
    r.name = "hibiscus";
    r.package_version = "34.0.0";
    r.service_version = 74;
    r.rules_from = 73;
    r.oldest_compute = 72;
    r.owner_trait = true;
    r.shares_in_cold_migration = true;
    r.linux_bridge_interfaces = false;
    r.network_has_should_create_bridge = false;
    r.image_meta_props = "1.44";
    r.versions["ImageMetaProps"] = "1.44";
    r.versions["ShareMappingList"] = "1.1";
    return r;
}

/// Yoga, the oldest compute that a Zed control plane accepts.
constexpr int oldest_service_version = 61;

/// Service version → minor of compute RPC 6 (reference 10 §2).
int rpc_minor_of(int service_version) {
    constexpr std::array<std::pair<int, int>, 6> steps{
        {{71, 5}, {68, 4}, {67, 3}, {66, 2}, {64, 1}, {0, 0}}};
    for (const auto& [from, minor] : steps)
        if (service_version >= from)
            return minor;
    return 0;
}

/// A number is a promise (reference 10 §4.4): what callers expect of it is switched on here for the
/// releases between two known ones, whatever rules serve them.
void promise(Release& release, int service_version) {
    release.service_version = service_version;
    release.rpc_minor = rpc_minor_of(service_version);
    release.identity_file = service_version >= 65;
    release.rebuild_target_state = service_version >= 66;
    release.delete_attachment_argument = service_version >= 67;
    release.shares = service_version >= 68;
    release.sound_traits = service_version >= 69;
    release.usb_traits = service_version >= 70;
    release.second_server = service_version >= 71;
    release.vtpm_live_migration = service_version >= 72;
    release.owner_trait = service_version >= 73;
    release.shares_in_cold_migration = service_version >= 74;
}

/// ImageMetaProps 1.<minor> → lowest service version of the releases that have it. 1.35 to 1.38
/// are 2023.2 to 2024.2, 1.40 and 1.41 are 2025.2 (reference 10 §4.2).
constexpr std::array<std::pair<int, int>, 6> fingerprints{
    {{34, 64}, {35, 66}, {39, 68}, {40, 70}, {42, 72}, {44, 74}}};

} // namespace

std::string Release::version_of(std::string_view object) const {
    if (const auto own = versions.find(object); own != versions.end())
        return own->second;
    const auto found = common_versions.find(object);
    return found == common_versions.end() ? std::string() : found->second;
}

std::map<std::string, std::string> Release::manifest(std::string_view root) const {
    std::map<std::string, std::string> out;
    const auto add = [&](std::string_view object) {
        if (auto version = version_of(object); !version.empty())
            out.emplace(object, std::move(version));
    };
    add(root);
    if (const auto found = children.find(root); found != children.end())
        for (const auto& child : found->second)
            add(child);
    return out;
}

const std::vector<Release>& releases() {
    static const std::vector<Release> all{zed(), epoxy(), gazpacho(), hibiscus()};
    return all;
}

Result<Release> release_by_name(std::string_view name) {
    std::vector<std::string> known;
    for (const auto& release : releases()) {
        if (release.name == name)
            return release;
        known.push_back(release.name);
    }
    return fail(Code::NotFound,
                cat("release '", name, "' is not known; known are ", join(known, ", ")));
}

Result<Release> release_by_service_version(int version) {
    if (version < oldest_service_version)
        return fail(Code::Unsupported,
                    cat("the control plane reports service version ",
                        version,
                        "; the oldest supported is ",
                        oldest_service_version,
                        " (Yoga)"));
    const Release* best = &releases().front();
    for (const auto& release : releases())
        if (release.rules_from <= version)
            best = &release;
    Release out = *best;
    promise(out, std::min(version, releases().back().service_version));
    return out;
}

Result<Release> release_by_fingerprint(std::string_view image_meta_props) {
    const auto dot = image_meta_props.find('.');
    const auto minor = dot == std::string_view::npos
                           ? std::nullopt
                           : to_number<int>(image_meta_props.substr(dot + 1));
    if (!minor || image_meta_props.substr(0, dot) != "1" || *minor < fingerprints.front().first)
        return fail(Code::Unsupported,
                    cat("ImageMetaProps '",
                        image_meta_props,
                        "' belongs to no supported release; the oldest is 1.",
                        fingerprints.front().first,
                        " (zed)"));
    int version = fingerprints.front().second;
    for (const auto& [from, service_version] : fingerprints)
        if (*minor >= from)
            version = service_version;
    return release_by_service_version(version);
}

} // namespace novalet::objects
