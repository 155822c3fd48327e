#pragma once
// Typed model of a libvirt domain: what novalet defines and no more. Sizes in KiB or bytes as
// named.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace novalet::hypervisor::domain {

struct Disk {
    std::string device = "disk"; ///< disk, cdrom
    std::string format = "qcow2";
    std::string cache = "none";
    std::string discard; ///< empty = not said
    std::string file;
    std::string target; ///< vda
    std::string bus;    ///< virtio
    std::optional<unsigned> scsi_unit;
    std::vector<std::pair<std::string, std::uint64_t>> iotune; ///< read_bytes_sec …
};

struct Interface {
    std::string type; ///< ethernet, bridge, vhostuser …
    std::string mac;
    std::string model = "virtio";
    std::string driver;      ///< "qemu", "vhost" or empty
    unsigned queues = 0;     ///< 0 = not said
    std::string target;      ///< tap…
    std::string bridge;      ///< source of type bridge
    std::string socket_path; ///< vhostuser
    std::string socket_mode;
    std::string ovs_interface_id; ///< virtualport parameter
    unsigned mtu = 0;
    std::vector<std::pair<std::string, std::uint64_t>> inbound; ///< average, peak, burst
    std::vector<std::pair<std::string, std::uint64_t>> outbound;
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
    unsigned cell = 0;
    std::string nodeset;
};
struct HugePage {
    std::uint64_t size_kib = 0;
    unsigned cell = 0;
};

struct Cpu {
    std::string mode; ///< host-model, host-passthrough, custom; empty = only the topology
    std::string match = "exact";
    std::string model;                                         ///< custom
    std::vector<std::pair<std::string, std::string>> features; ///< name, policy
    unsigned sockets = 1;
    unsigned cores = 1;
    unsigned threads = 1;
    std::vector<NumaCell> cells;
};

struct Tune {
    std::vector<std::pair<std::string, std::uint64_t>> quotas; ///< shares, period, quota
    std::string emulator_pin;
    std::vector<Pin> pins;
    std::string realtime_vcpus;
    unsigned realtime_priority = 1;
};

/// For the nova:instance metadata (read by other tools, never by us).
struct Metadata {
    std::string package_version;
    std::string name;
    std::string creation_time;
    std::string flavor_name;
    std::uint64_t memory_mib = 0;
    std::uint64_t disk_gib = 0;
    std::uint64_t swap_mib = 0;
    std::uint64_t ephemeral_gib = 0;
    unsigned vcpus = 0;
    std::string user_name, user_id, project_name, project_id;
    std::string root_type; ///< image, volume
    std::string root_id;
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

struct Domain {
    std::string type = "kvm"; ///< kvm, qemu
    std::string uuid;
    std::string name;
    std::uint64_t memory_kib = 0;
    unsigned vcpus = 1;
    std::string vcpu_cpuset;
    Metadata metadata;
    std::string sysinfo_serial; ///< empty = no serial entry

    std::string arch = "x86_64";
    std::string machine = "pc";
    std::string boot = "hd";
    std::string kernel, ramdisk, cmdline;
    std::string loader, nvram_template;
    bool secure_boot = false;

    bool windows = false; ///< Hyper-V enlightenments, local time
    bool hide_hypervisor = false;
    std::optional<bool> pmu;
    Cpu cpu;
    Tune tune;
    bool locked_memory = false;
    bool no_share_pages = false;
    std::vector<HugePage> huge_pages;
    std::string numa_nodeset; ///< of memory mode strict; empty = none
    std::vector<MemoryNode> memory_nodes;

    std::vector<Disk> disks;
    std::string scsi_model; ///< empty = no SCSI controller
    std::vector<Interface> interfaces;
    std::string console_log;
    bool vnc = true;
    std::string vnc_listen = "127.0.0.1";
    std::string video_model = "virtio";
    bool tablet = true;
    std::string rng_device;       ///< empty = none
    std::string agent_channel;    ///< socket path of the guest agent; empty = none
    std::string watchdog;         ///< action; empty = none
    unsigned balloon_period = 10; ///< seconds; 0 = no statistics
};

/// XML text of the domain. The only place that writes domain XML.
[[nodiscard]] std::string write_domain(const Domain& domain);

/// What the agent reads back from a live domain's XML. Empty / 0 for what is missing.
struct LiveDomain {
    unsigned vnc_port = 0; ///< 0 = none or not yet chosen
    std::vector<std::string> disk_files;
    std::string console_log;
};
[[nodiscard]] LiveDomain read_domain(const std::string& xml);

} // namespace novalet::hypervisor::domain
