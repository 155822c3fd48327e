#pragma once
// What the libvirt hypervisor needs of the configuration; plain values with Nova's defaults.
#include "agent/core/clock.hpp"
#include "hypervisor/domain/build_domain.hpp"
#include "hypervisor/storage/instance_files.hpp"
#include "hypervisor/topology/host_topology.hpp"

#include <cstdint>
#include <string>

namespace novalet::hypervisor::libvirt {

struct Options {
    std::string uri = "qemu:///system";
    /// Everything configured about guests. What it says of the host (architecture, machine types,
    /// firmware, video models, cells, O_DIRECT …) is found out at start and put in.
    domain::DomainOptions domain;
    storage::CacheOptions cache;
    storage::InstanceFilesOptions files;
    topology::TopologyOptions topology; ///< CPU sets, reserved pages, networks on cells
    /// Versions below which the release refuses to start (reference 07 §1).
    std::int64_t minimum_libvirt = 6000000;
    std::int64_t minimum_qemu = 4002000;
    std::string vnc_proxyclient_address = "127.0.0.1";
    Seconds soft_reboot_timeout{120};
    /// A running guest is asked so often to let go of a device, and given so long each time.
    unsigned device_detach_attempts = 8;
    Seconds device_detach_timeout{20};
    /// A STOPPED event waits so long for a STARTED one of the same guest (a reboot) before it is
    /// told.
    Seconds stop_event_delay{15};
};

} // namespace novalet::hypervisor::libvirt
