#pragma once
// Host side of virtual interfaces: what os-vif does for nova-compute (reference 06, 07 §2.2).
#include "agent/core/process.hpp"
#include "hypervisor/guest_spec.hpp"

namespace novalet::hypervisor::network {

/// Thread safe. Both verbs are idempotent. Plugging something unknown:
/// VirtualInterfacePlugException.
class Plugger {
  public:
    explicit Plugger(ProcessRunner& processes) : processes_(processes) {}
    /// Before the domain starts: bridge, OVS port or tap are there.
    [[nodiscard]] Result<void> plug(const InterfaceSpec& interface, const InstanceUuid& instance);
    /// After the domain ended; missing parts are no error.
    [[nodiscard]] Result<void> unplug(const InterfaceSpec& interface);

  private:
    [[nodiscard]] Result<void> ensure_bridge(const std::string& bridge, unsigned mtu);
    [[nodiscard]] Result<void> plug_ovs(const InterfaceSpec& interface,
                                        const InstanceUuid& instance);
    [[nodiscard]] Result<void> plug_hybrid(const InterfaceSpec& interface,
                                           const InstanceUuid& instance);
    [[nodiscard]] Result<void> ovs_port(const InterfaceSpec& interface,
                                        const std::string& device,
                                        const InstanceUuid& instance);
    [[nodiscard]] Result<void> run(std::vector<std::string> argv);

    ProcessRunner& processes_;
};

} // namespace novalet::hypervisor::network
