#pragma once
// What the agent asks of a hypervisor when a guest is to exist: one plain value, made from the
// Instance, its flavor, image and network info (reference 03 §2.1, 07). No libvirt words in here.
#include "agent/core/json.hpp"
#include "agent/core/uuid.hpp"
#include "scheduler_hooks/model/guest_topology.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace novalet::hypervisor {

/// Flavor as it stands in the instance record.
struct FlavorSpec {
    std::string id; ///< flavorid, only for metadata of newer releases
    std::string name;
    std::uint64_t memory_mib = 0;
    unsigned vcpus = 0;
    std::uint64_t root_gib = 0; ///< 0 = as large as the image
    std::uint64_t ephemeral_gib = 0;
    std::uint64_t swap_mib = 0;
    std::map<std::string, std::string> extra_specs;
};

/// Image as the instance remembers it (system_metadata image_*, reference 06 §2).
struct ImageSpec {
    std::string id;          ///< Glance id; empty for volume-backed servers
    std::string disk_format; ///< as Glance claims it: qcow2, raw, …
    std::string container_format;
    std::uint64_t min_disk_gib = 0;
    std::uint64_t min_ram_mib = 0;
    std::map<std::string, std::string> properties; ///< hw_*, os_*, img_* as text
};

/// One virtual interface; `vif` is the VIF document of the info cache (reference 06 §1.7).
struct InterfaceSpec {
    PortId port;
    std::string mac;
    std::string vif_type; ///< "bridge", "ovs", …
    std::string vnic_type = "normal";
    std::string device;  ///< host side: ("tap" + port id)[:14]
    std::string bridge;  ///< brq… or br-int
    unsigned mtu = 0;    ///< bytes; 0 = not given
    bool active = false; ///< Neutron already says ACTIVE: no plug event will come
    Json vif;
};

enum class DiskSource { Image, Blank, Swap };

/// One local disk of the guest.
struct DiskSpec {
    DiskSource source = DiskSource::Image;
    std::string file_name;        ///< "disk", "disk.local", "disk.eph0", "disk.swap"
    std::uint64_t size_bytes = 0; ///< 0 = as large as the source
    std::string device_name;      ///< "vda"; empty = next free one of its bus
    std::string bus;              ///< empty = by image property and virt_type
    std::string filesystem;       ///< of blank ephemeral disks: ext4, vfat, ntfs; empty = default
    /// "raw" or "qcow2", as the disk was made. The hypervisor puts it in: only the host knows.
    std::string format;
    std::optional<int> boot_index;
};

/// Files of a config drive, by path below its root (reference 07 §4).
struct ConfigDrive {
    std::map<std::string, std::string> files; ///< empty: the drive that is there is used
    bool vfat = false; ///< iso9660 otherwise; of a drive that is there the hypervisor looks itself
    std::string device_name; ///< "hda"; empty = next free one of its bus
    std::string bus;         ///< empty = by image property and kind
};

struct GuestSpec {
    InstanceUuid uuid;
    std::string name; ///< domain name, from instance_name_template
    std::string display_name;
    std::string project_id;
    std::string user_id;
    std::string project_name; ///< "N/A" when unknown
    std::string user_name;
    std::string os_type; ///< "linux", "windows" or empty
    FlavorSpec flavor;
    ImageSpec image;
    std::string kernel_id; ///< Glance ids of AKI/ARI images; empty = none
    std::string ramdisk_id;
    std::string root_device_name; ///< "/dev/vda"
    std::vector<DiskSpec> disks;
    std::vector<InterfaceSpec> interfaces;
    std::optional<ConfigDrive> config_drive;
    std::optional<scheduler_hooks::model::GuestTopology> numa; ///< after the fit
    std::string nova_package_version; ///< written into sysinfo and metadata, by release
};

} // namespace novalet::hypervisor
