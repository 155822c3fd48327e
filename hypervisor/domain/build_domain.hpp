#pragma once
// From a GuestSpec to the domain Nova's libvirt driver would define (reference 07 §2.2).
#include "agent/core/result.hpp"
#include "hypervisor/domain/domain.hpp"
#include "hypervisor/guest_spec.hpp"
#include "scheduler_hooks/model/host_topology.hpp"

#include <string>
#include <vector>

namespace novalet::hypervisor::domain {

/// What configuration and host add to every guest.
struct DomainOptions {
    std::string virt_type = "kvm";            ///< kvm, qemu
    std::string cpu_mode = "host-model";      ///< host-model, host-passthrough, custom, none
    std::vector<std::string> cpu_models;      ///< custom: the first is used
    std::vector<std::string> cpu_extra_flags; ///< "+flag", "-flag", "flag"
    std::string machine_type = "pc";
    std::string arch = "x86_64";
    std::string disk_cache = "none"; ///< writeback where the file system lacks O_DIRECT
    std::string disk_discard;        ///< hw_disk_discard
    std::string instances_path = "/var/lib/nova/instances";
    std::string sysinfo_serial = "unique"; ///< unique, none
    std::string rng_device = "/dev/urandom";
    unsigned balloon_period = 10;
    bool vnc = true;
    std::string vnc_listen = "127.0.0.1";
    bool pointer_tablet = true;
    unsigned realtime_priority = 1;
    std::string shared_cpus;                   ///< cpu_shared_set as text; empty = not configured
    scheduler_hooks::model::HostTopology host; ///< cells, for the pins of floating vCPUs
    std::string loader, nvram_template;        ///< UEFI without secure boot
    std::string secure_loader, secure_nvram_template;
    std::string disk_format = "qcow2"; ///< of the instance's local disks
};

/// BuildAbort-like errors (InvalidInput, Unsupported…) name the property and its value.
[[nodiscard]] Result<Domain> build_domain(const GuestSpec& guest, const DomainOptions& options);

} // namespace novalet::hypervisor::domain
