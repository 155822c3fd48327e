#pragma once
// Typed model of a libvirt domain: what novalet defines and no more. Plain values, any thread.
// Sizes are KiB or bytes as named; CPU and node sets are libvirt's text ("0-3,6").
#include "agent/core/result.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace novalet::hypervisor::domain {

using NamedNumbers = std::vector<std::pair<std::string, std::uint64_t>>;

struct Disk {
    std::string device = "disk"; ///< disk, cdrom
    std::string format = "qcow2";
    std::string cache = "none";
    std::string discard; ///< empty = not said
    std::string file;
    std::string target;                ///< vda
    std::string bus;                   ///< virtio, scsi, ide, sata, usb, fdc
    std::optional<unsigned> scsi_unit; ///< place on controller 0 (virtio-scsi only)
    NamedNumbers iotune;               ///< read_bytes_sec …
};

struct Interface {
    std::string type; ///< ethernet, bridge, vhostuser
    std::string mac;
    std::string model = "virtio";
    std::string driver;         ///< "qemu", "vhost" or empty
    unsigned queues = 0;        ///< 0 = not said
    unsigned rx_queue_size = 0; ///< 0 = not said
    unsigned tx_queue_size = 0;
    bool packed = false;
    std::string target;            ///< tap…
    bool unmanaged_target = false; ///< the tap exists already; libvirt must not make it
    std::string bridge;            ///< source of type bridge
    std::string socket_path;       ///< vhostuser
    std::string socket_mode;
    std::string ovs_interface_id; ///< virtualport parameter
    unsigned mtu = 0;             ///< 0 = not said
    NamedNumbers inbound;         ///< average, peak, burst
    NamedNumbers outbound;
};

struct Pin {
    unsigned vcpu = 0;
    std::string cpuset;
};
struct NumaCell {
    unsigned id = 0;
    std::string cpus;
    std::uint64_t memory_kib = 0;
    bool shared_access = false;
};
struct MemoryNode {
    unsigned cell = 0; ///< of the guest
    std::string nodeset;
};
struct HugePage {
    std::uint64_t size_kib = 0;
    unsigned cell = 0; ///< of the guest
};

struct Cpu {
    std::string mode; ///< host-model, host-passthrough, custom; empty = only the topology
    std::string match = "exact";
    std::string model;                                         ///< custom
    std::vector<std::pair<std::string, std::string>> features; ///< name, policy
    std::string max_address_mode; ///< passthrough, emulate; empty = not said
    unsigned max_address_bits = 0;
    unsigned sockets = 1;
    unsigned cores = 1;
    unsigned threads = 1;
    std::vector<NumaCell> cells;
};

struct Tune {
    NamedNumbers quotas; ///< shares, quota, period
    std::string emulator_pin;
    std::string iothread_pin; ///< of I/O thread 1
    std::vector<Pin> pins;    ///< ascending by vCPU
    std::string realtime_vcpus;
    unsigned realtime_priority = 1;
};

/// For the nova:instance metadata (read by other tools, never by us).
struct Metadata {
    std::string package_version;
    std::string name;
    std::string creation_time;
    std::string flavor_id; ///< empty = not written, nor the extra specs
    std::string flavor_name;
    std::map<std::string, std::string> extra_specs;
    std::uint64_t memory_mib = 0;
    std::uint64_t disk_gib = 0;
    std::uint64_t swap_mib = 0;
    std::uint64_t ephemeral_gib = 0;
    unsigned vcpus = 0;
    std::string user_name, user_id, project_name, project_id;
    std::string root_type; ///< image, volume
    std::string root_id;
    struct Image {
        std::string id, container_format, disk_format;
        std::uint64_t min_disk_gib = 0;
        std::uint64_t min_ram_mib = 0;
        std::map<std::string, std::string> properties;
    };
    std::optional<Image> image;
    struct Ip {
        std::string type, address;
        int version = 4;
    };
    struct Port {
        std::string id;
        std::vector<Ip> ips;
    };
    std::vector<Port> ports;
};

struct Firmware {
    bool chosen_by_libvirt = false; ///< firmware="efi"; loader and template stay empty
    std::string loader;
    std::string nvram_template;
    bool secure_boot = false;
    bool stateless = false;
};

struct Timer {
    std::string name;
    std::string tick_policy;     ///< empty = not said
    std::optional<bool> present; ///< empty = not said
};

struct Graphics {
    std::string type; ///< vnc, spice
    std::string listen;
};
struct Video {
    std::string model;
    std::uint64_t vram_kib = 0; ///< 0 = not said
};
struct Input {
    std::string type; ///< tablet, keyboard
    std::string bus;  ///< usb, virtio
};
struct RandomSource {
    std::string device;
    std::uint64_t rate_bytes = 0; ///< 0 = no limit
    std::uint64_t rate_period = 0;
};
struct Balloon {
    unsigned stats_period = 10;    ///< seconds
    bool gives_pages_back = false; ///< autodeflate and free page reporting
};

struct Domain {
    std::string type = "kvm"; ///< kvm, qemu
    std::string uuid;
    std::string name;
    std::uint64_t memory_kib = 0;
    unsigned vcpus = 1;
    std::string vcpu_cpuset;
    unsigned iothreads = 0;
    Metadata metadata;
    bool smbios = true;         ///< sysinfo is shown to the guest (x86)
    std::string sysinfo_serial; ///< empty = no serial entry

    std::string arch = "x86_64";
    std::string machine = "pc";
    std::vector<std::string> boot; ///< hd, cdrom, …; empty with a kernel
    bool boot_menu = false;
    std::string kernel, ramdisk, cmdline;
    std::optional<Firmware> firmware; ///< none = BIOS

    bool apic = true;
    bool smm = false;
    bool vmcoreinfo = true;
    std::vector<std::string> hyperv; ///< switches besides spinlocks; empty = no hyperv element
    std::string hyperv_vendor_id;    ///< empty = the true one
    bool hide_kvm = false;
    std::optional<bool> pmu;
    bool local_time = false;
    std::vector<Timer> timers;
    Cpu cpu;
    Tune tune;
    bool locked_memory = false;
    bool no_share_pages = false;
    std::vector<HugePage> huge_pages;
    std::string numa_nodeset; ///< of memory mode strict; empty = none
    std::vector<MemoryNode> memory_nodes;

    std::vector<Disk> disks;
    std::string scsi_model; ///< empty = no SCSI controller of ours
    std::vector<Interface> interfaces;
    std::string console_log;
    bool spice_channel = false;
    std::vector<Graphics> graphics;
    std::optional<Video> video;
    std::vector<Input> inputs;
    std::string agent_channel; ///< socket path of the guest agent; empty = none
    std::optional<RandomSource> rng;
    unsigned pcie_ports = 0; ///< root ports for hot plug; 0 = as libvirt makes them
    bool usb = true;
    std::string watchdog; ///< action; empty = none
    std::optional<Balloon> balloon;
};

/// XML text of the domain. The only place that writes domain XML.
[[nodiscard]] std::string write_domain(const Domain& domain);

/// What the agent reads back from the XML of a domain, live or not, ours or another agent's.
/// Empty / 0 for what is missing.
struct LiveDomain {
    std::string type; ///< kvm, qemu
    std::string uuid;
    std::string name;
    int id = -1; ///< -1 = not running
    std::uint64_t memory_kib = 0;
    unsigned vcpus = 0;
    std::string machine;
    bool made_by_nova = false; ///< has nova:instance metadata
    std::string metadata_name; ///< nova:name
    std::string metadata_time; ///< nova:creationTime, "2026-11-21 04:28:56" in UTC
    unsigned vnc_port = 0;     ///< 0 = none or not yet chosen
    std::string vnc_listen;
    bool has_graphics = false; ///< a screen of any kind
    std::string video_model;
    bool has_tablet = false;
    struct LiveDisk {
        std::string device, format, source, target, bus, serial;
    };
    std::vector<LiveDisk> disks;
    std::vector<std::string> disk_files; ///< sources of type file
    struct LiveInterface {
        std::string type, mac, target, bridge;
    };
    std::vector<LiveInterface> interfaces;
    std::string console_log;
    std::string loader, nvram;
};
/// DataLoss when the text is no domain XML.
[[nodiscard]] Result<LiveDomain> read_domain(const std::string& xml);
/// The <interface> element with this MAC as it stands in the domain XML; empty when there is none.
[[nodiscard]] Result<std::string> interface_xml(const std::string& domain_xml,
                                                const std::string& mac);

} // namespace novalet::hypervisor::domain
