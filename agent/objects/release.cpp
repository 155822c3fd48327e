#include "agent/objects/release.hpp"

#include "agent/core/text.hpp"

#include <algorithm>

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
    {"Destination", "1.4"},
    {"DeviceBus", "1.0"},
    {"DeviceMetadata", "1.0"},
    {"EC2Ids", "1.0"},
    {"Flavor", "1.2"},
    {"HVSpec", "1.2"},
    {"ImageMeta", "1.8"},
    {"InstanceAction", "1.2"},
    {"InstanceActionEvent", "1.4"},
    {"InstanceDeviceMetadata", "1.0"},
    {"InstanceExternalEvent", "1.5"},
    {"InstanceFault", "1.2"},
    {"InstanceGroup", "1.11"},
    {"InstanceInfoCache", "1.5"},
    {"InstanceList", "2.6"},
    {"InstanceNUMACell", "1.6"},
    {"InstanceNUMATopology", "1.3"},
    {"InstancePCIRequest", "1.4"},
    {"InstancePCIRequests", "1.1"},
    {"KeyPair", "1.4"},
    {"KeyPairList", "1.3"},
    {"MigrationContext", "1.2"},
    {"MigrationList", "1.5"},
    {"NUMACell", "1.5"},
    {"NUMAPagesTopology", "1.1"},
    {"NUMATopology", "1.2"},
    {"NUMATopologyLimits", "1.1"},
    {"NetworkMetadata", "1.0"},
    {"NetworkRequest", "1.3"},
    {"NetworkRequestList", "1.1"},
    {"PciDevice", "1.7"},
    {"PciDeviceList", "1.3"},
    {"PciDevicePool", "1.1"},
    {"PciDevicePoolList", "1.1"},
    {"Resource", "1.0"},
    {"ResourceList", "1.0"},
    {"ResourceMetadata", "1.0"},
    {"SchedulerLimits", "1.0"},
    {"SecurityGroup", "1.2"},
    {"SecurityGroupList", "1.1"},
    {"Selection", "1.1"},
    {"Service", "1.22"},
    {"ServiceList", "1.19"},
    {"Tag", "1.1"},
    {"TagList", "1.1"},
    {"TrustedCerts", "1.0"},
    {"VirtCPUFeature", "1.0"},
    {"VirtCPUModel", "1.0"},
    {"VirtCPUTopology", "1.0"},
    {"VirtualInterface", "1.3"},
    {"VirtualInterfaceList", "1.0"},
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

/// Classes reachable from a root (reference 02 §2.1); the root itself is added by the caller.
const std::map<std::string, std::vector<std::string>, std::less<>> children{
    {"Instance", instance_children},
    {"InstanceList", instance_children},
    {"BlockDeviceMapping", instance_children},
    {"BlockDeviceMappingList", instance_children},
    {"ComputeNode", node_children},
    {"ComputeNodeList", node_children},
    {"Service", node_children},
    {"ServiceList", {"Service", "ComputeNode", "HVSpec", "PciDevicePool", "PciDevicePoolList"}},
    {"MigrationList", {"Migration"}},
    {"PciDeviceList", {"PciDevice"}},
    {"InstancePCIRequests", {"InstancePCIRequest"}},
    {"InstanceNUMATopology", {"InstanceNUMACell", "VirtCPUTopology"}},
    {"VirtualInterfaceList", {"VirtualInterface"}},
};

Release zed() {
    Release r;
    r.name = "zed";
    r.package_version = "26.2.2";
    r.service_version = 64;
    r.rules_from = 61;
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
    r.rpc_minor = 4;
    r.identity_file = true;
    r.placement_first = true;
    r.arch_traits = true;
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
    r.rpc_minor = 5;
    r.second_server = true;
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
    r.owner_trait = true;
    r.image_meta_props = "1.44";
    r.versions["ImageMetaProps"] = "1.44";
    r.versions["ShareMappingList"] = "1.1";
    return r;
}

/// Yoga, the oldest compute that a Zed control plane accepts.
constexpr int oldest_service_version = 61;

int minor_of(std::string_view version) {
    const auto dot = version.find('.');
    if (dot == std::string_view::npos)
        return -1;
    return to_number<int>(version.substr(dot + 1)).value_or(-1);
}

} // namespace

std::string Release::version_of(std::string_view object) const {
    if (const auto own = versions.find(object); own != versions.end())
        return own->second;
    const auto found = common_versions.find(object);
    return found == common_versions.end() ? std::string() : found->second;
}

std::map<std::string, std::string> Release::manifest(std::string_view root) const {
    std::map<std::string, std::string> out;
    out[std::string(root)] = version_of(root);
    if (const auto found = children.find(root); found != children.end())
        for (const auto& child : found->second)
            out[child] = version_of(child);
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
                        oldest_service_version));
    const Release* best = &releases().front();
    for (const auto& release : releases())
        if (release.rules_from <= version)
            best = &release;
    Release out = *best;
    // Between two known releases the number in force is the control plane's own.
    if (version > releases().front().service_version && version < releases().back().service_version)
        out.service_version = version;
    return out;
}

Result<Release> release_by_fingerprint(std::string_view image_meta_props) {
    const int minor = minor_of(image_meta_props);
    const Release* best = nullptr;
    for (const auto& release : releases())
        if (minor_of(release.image_meta_props) <= minor)
            best = &release;
    if (best == nullptr)
        return fail(Code::Unsupported,
                    cat("ImageMetaProps ", image_meta_props, " belongs to no supported release"));
    return *best;
}

} // namespace novalet::objects
