#pragma once
// Host side of virtual interfaces: what os-vif's plug-ins linux_bridge and ovs, and Nova itself for
// taps, do for nova-compute (reference 06, 07 §2.2).
#include "agent/core/process.hpp"
#include "hypervisor/guest_spec.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace novalet::hypervisor::network {

/// Thread safe. Both verbs are idempotent. Names come from Neutron and are checked before they
/// reach a program. Supported are vif_type
/// - bridge: the bridge of the network is there (not when meta should_create_bridge is false);
/// - ovs: the bridge of the network is there, and the port when the VIF says delegate_create
///   (libvirt makes it otherwise); with ovs_hybrid_plug a bridge qbr… of its own and a veth pair
///   qvb…/qvo… lead to the port;
/// - tap: the tap device, for networks that wire it themselves;
/// - vhostuser: the OVS port when the details say vhostuser_ovs_plug, else nothing.
class Plugger {
  public:
    explicit Plugger(ProcessRunner& processes) : processes_(processes) {}
    /// Before the domain starts. `multiqueue`: a tap gets several queues.
    /// VirtualInterfacePlugException when it cannot be done.
    [[nodiscard]] Result<void>
    plug(const InterfaceSpec& interface, const InstanceUuid& instance, bool multiqueue = false);
    /// After the domain ended; missing parts are no error, nor are VIF types of others.
    [[nodiscard]] Result<void> unplug(const InterfaceSpec& interface);
    /// A device of port_devices() that no port claims any more, with its port on an OVS bridge.
    [[nodiscard]] Result<void> remove_stray(const std::string& device);

  private:
    struct OvsPort;
    [[nodiscard]] Result<void> plug_bridge(const InterfaceSpec& interface);
    [[nodiscard]] Result<void> plug_ovs(const InterfaceSpec& interface,
                                        const InstanceUuid& instance);
    [[nodiscard]] Result<void> plug_hybrid(const InterfaceSpec& interface,
                                           const InstanceUuid& instance);
    [[nodiscard]] Result<void> plug_tap(const InterfaceSpec& interface, bool multiqueue);
    [[nodiscard]] Result<void> plug_vhostuser(const InterfaceSpec& interface,
                                              const InstanceUuid& instance);
    [[nodiscard]] Result<void> unplug_ovs(const InterfaceSpec& interface);
    [[nodiscard]] Result<void> ensure_bridge(const std::string& bridge, bool own_of_port);
    [[nodiscard]] Result<void> ensure_veth(const std::string& inner, const std::string& outer);
    [[nodiscard]] Result<void> ensure_ovs(const OvsPort& port);
    [[nodiscard]] Result<void> remove_ovs_port(const InterfaceSpec& interface,
                                               const std::string& name);
    [[nodiscard]] Result<void> remove_device(const std::string& name);
    [[nodiscard]] Result<void> run(std::vector<std::string> argv);

    ProcessRunner& processes_;
};

/// Devices in this thread's network namespace that Nova names after ports: taps, and the veth ends
/// and bridges (qvb, qvo, qbr) of the hybrid way. A veth end called tap… is an L2 or DHCP agent's.
/// `devices`: a folder like the kernel's.
[[nodiscard]] std::vector<std::string>
port_devices(const std::filesystem::path& devices = "/sys/class/net");
/// The part of a port's id in such a name: "aabbccdd-00" of "tapaabbccdd-00"; empty for others.
[[nodiscard]] std::string port_part(const std::string& device);

} // namespace novalet::hypervisor::network
