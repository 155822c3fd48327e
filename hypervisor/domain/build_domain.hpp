#pragma once
// From a GuestSpec to the domain that Nova's libvirt driver would define (reference 07 §2.2, 08
// §7).
#include "agent/core/clock.hpp"
#include "agent/core/result.hpp"
#include "hypervisor/domain/domain.hpp"
#include "hypervisor/domain/firmware.hpp"
#include "hypervisor/domain/release_style.hpp"
#include "hypervisor/guest_spec.hpp"
#include "scheduler_hooks/model/host_topology.hpp"

#include <map>
#include <string>
#include <vector>

namespace novalet::hypervisor::domain {

/// What configuration and host add to every guest. Plain value; the defaults are Nova's.
struct DomainOptions {
    ReleaseStyle style = style_of("zed");

    std::string virt_type = "kvm"; ///< kvm, qemu
    /// host-model, host-passthrough, custom, none; empty = by architecture
    std::string cpu_mode;
    std::vector<std::string> cpu_models;      ///< custom: in order of preference
    std::vector<std::string> cpu_extra_flags; ///< "+flag", "-flag", "flag"
    /// Feature names of each of cpu_models (baselines), for flavors that require CPU traits.
    std::map<std::string, std::vector<std::string>> cpu_model_features;
    std::map<std::string, std::string> machine_types; ///< architecture → machine type
    std::string machine_type = "pc";                  ///< x86 when machine_types names none
    std::string arch = "x86_64";                      ///< of the host
    std::string disk_cache = "none"; ///< of files; writeback where O_DIRECT is not possible
    std::string disk_discard;        ///< hw_disk_discard
    std::string instances_path = "/var/lib/nova/instances";
    /// unique = the guest's uuid, none; os, hardware and auto = host_serial.
    std::string sysinfo_serial = "unique";
    std::string rng_device = "/dev/urandom";
    unsigned balloon_period = 10; ///< seconds; 0 = no balloon device, as in Nova
    bool vnc = true;
    std::string vnc_listen = "127.0.0.1";
    bool spice = false;
    bool spice_agent = true;
    std::string spice_listen = "127.0.0.1";
    bool pointer_tablet = true; ///< pointer_model = usbtablet
    std::string video_model;    ///< of guests whose image names none; empty = by architecture
    unsigned realtime_priority = 1;
    unsigned pcie_ports = 0;
    unsigned rx_queue_size = 0; ///< 0 = not said
    unsigned tx_queue_size = 0;
    unsigned max_queues = 0; ///< of a tap; 0 = as many as vCPUs

    /// CPUs of shared guests: cpu_shared_set as text; empty = not configured.
    std::string shared_cpus;
    // Facts of the host.
    std::string online_cpus;                   ///< empty = not known
    bool cpu_control = true;                   ///< a cgroup controller for CPU time is there
    bool intel_virtualization = false;         ///< the host CPU has VMX
    scheduler_hooks::model::HostTopology host; ///< cells, for the pins of floating vCPUs
    std::string host_serial;                   ///< what os, hardware or auto come to on this host
    std::vector<FirmwareDescriptor> firmware;  ///< what QEMU's descriptors offer
    std::vector<std::string> video_models;     ///< of the domain capabilities; empty = unknown
    std::vector<std::string> machines;         ///< known machine types; empty = unknown
    std::map<std::string, std::string> canonical_machines; ///< pc → pc-i440fx-7.2
};

/// Architecture of the guest: as its image says, else the host's.
[[nodiscard]] std::string architecture_of(const GuestSpec& guest, const DomainOptions& options);

/// The machine type a guest gets: image property, configuration, default of the architecture.
[[nodiscard]] std::string machine_type_of(const GuestSpec& guest, const DomainOptions& options);

/// A wish that cannot be met is an error under Nova's exception name, with the property and its
/// value in the text (UEFINotSupported, InvalidVideoMode, NUMATopologyUnsupported …).
[[nodiscard]] Result<Domain> build_domain(const GuestSpec& guest,
                                          const DomainOptions& options,
                                          const Clock& clock = system_clock());

} // namespace novalet::hypervisor::domain
