#include "hypervisor/network/plugger.hpp"

#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

#include <cctype>
#include <filesystem>
#include <fstream>

namespace novalet::hypervisor::network {
namespace {

constexpr std::size_t device_length = 14;

std::string device(const char* prefix, const PortId& port) {
    return (prefix + port.str()).substr(0, device_length);
}

bool exists(const std::string& name) {
    std::error_code error;
    return std::filesystem::exists("/sys/class/net/" + name, error);
}

/// Names come from Neutron; nothing but a device name may reach a path or an argument.
bool is_device_name(const std::string& name) {
    if (name.empty() || name.size() > 15 || name.front() == '-' || name.front() == '.')
        return false;
    for (const char c : name)
        if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-' && c != '_' && c != '.')
            return false;
    return true;
}

/// A kernel switch that may be missing (IPv6 compiled out): then there is nothing to switch.
void set_switch(const std::string& path, const char* value) {
    std::ofstream file(path);
    file << value;
}

Failure unknown(const InterfaceSpec& interface) {
    return fail_as("VirtualInterfacePlugException",
                   Code::Unsupported,
                   cat("Virtual interface plugin failed: port ",
                       interface.port.str(),
                       " has vif_type '",
                       interface.vif_type,
                       "'; supported are bridge, ovs, tap and vhostuser"));
}

} // namespace

Result<void> Plugger::run(std::vector<std::string> argv) {
    ProcessRequest request;
    request.argv = std::move(argv);
    request.timeout = Milliseconds(120000);
    NOVALET_TRY(processes_.check(request));
    return {};
}

/// The bridge of a network, as os-vif's linux_bridge plug-in makes it. The L2 agent may make it at
/// the same time: whoever comes second finds it there.
Result<void> Plugger::ensure_bridge(const std::string& bridge, unsigned mtu) {
    if (!is_device_name(bridge))
        return fail_as("VirtualInterfacePlugException",
                       Code::InvalidArgument,
                       cat("'", bridge, "' is no name of a bridge"));
    if (!exists(bridge)) {
        auto made = run({"ip",
                         "link",
                         "add",
                         "name",
                         bridge,
                         "type",
                         "bridge",
                         "stp_state",
                         "0",
                         "forward_delay",
                         "0",
                         "mcast_snooping",
                         "0"});
        if (!made && !exists(bridge))
            return made;
        set_switch(cat("/proc/sys/net/ipv6/conf/", bridge, "/accept_ra"), "0");
        set_switch(cat("/proc/sys/net/ipv6/conf/", bridge, "/disable_ipv6"), "1");
    }
    std::vector<std::string> up{"ip", "link", "set", "dev", bridge};
    if (mtu > 0) {
        up.emplace_back("mtu");
        up.push_back(std::to_string(mtu));
    }
    up.emplace_back("up");
    return run(std::move(up));
}

Result<void> Plugger::ovs_port(const InterfaceSpec& interface,
                               const std::string& name,
                               const InstanceUuid& instance) {
    const std::string bridge = interface.bridge.empty() ? "br-int" : interface.bridge;
    if (!is_device_name(name) || !is_device_name(bridge))
        return fail(Code::InvalidArgument, cat("'", name, "' or '", bridge, "' is no device name"));
    std::vector<std::string> argv{"ovs-vsctl",
                                  "--timeout=120",
                                  "--",
                                  "--may-exist",
                                  "add-port",
                                  bridge,
                                  name,
                                  "--",
                                  "set",
                                  "Interface",
                                  name,
                                  "external_ids:iface-id=" + interface.port.str(),
                                  "external_ids:iface-status=active",
                                  cat("external_ids:attached-mac=\"", interface.mac, '"'),
                                  "external_ids:vm-uuid=" + instance.str()};
    if (interface.mtu > 0)
        argv.push_back(cat("mtu_request=", interface.mtu));
    return run(std::move(argv));
}

Result<void> Plugger::plug_ovs(const InterfaceSpec& interface, const InstanceUuid& instance) {
    // The tap is libvirt's; the port waits for it under its name.
    return ovs_port(interface, interface.device, instance);
}

Result<void> Plugger::plug_hybrid(const InterfaceSpec& interface, const InstanceUuid& instance) {
    const auto bridge = device("qbr", interface.port);
    const auto inner = device("qvb", interface.port);
    const auto outer = device("qvo", interface.port);
    NOVALET_TRY(ensure_bridge(bridge, interface.mtu));
    if (!exists(inner))
        NOVALET_TRY(run({"ip", "link", "add", inner, "type", "veth", "peer", "name", outer}));
    for (const auto& end : {inner, outer})
        NOVALET_TRY(run({"ip", "link", "set", "dev", end, "promisc", "on", "up"}));
    NOVALET_TRY(run({"ip", "link", "set", "dev", inner, "master", bridge}));
    return ovs_port(interface, outer, instance);
}

Result<void> Plugger::plug(const InterfaceSpec& interface, const InstanceUuid& instance) {
    const bool hybrid = interface.vif["details"]["ovs_hybrid_plug"].as_bool();
    Result<void> plugged = [&]() -> Result<void> {
        if (interface.vif_type == "bridge")
            return ensure_bridge(interface.bridge, interface.mtu);
        if (interface.vif_type == "ovs")
            return hybrid ? plug_hybrid(interface, instance) : plug_ovs(interface, instance);
        if (interface.vif_type == "tap" || interface.vif_type == "vhostuser")
            return {}; // made by the agent of the network or by QEMU itself
        return unknown(interface);
    }();
    if (plugged)
        return {};
    Error error = std::move(plugged).error();
    if (error.exception.empty()) {
        error.exception = "VirtualInterfacePlugException";
        error.module = "nova.exception";
        error.text =
            cat("Virtual interface plugin failed: port ", interface.port.str(), ": ", error.text);
    }
    return Failure(std::move(error));
}

Result<void> Plugger::unplug(const InterfaceSpec& interface) {
    if (interface.vif_type != "ovs")
        return {}; // the tap goes with the domain; the bridge is shared by the network
    const std::string bridge = interface.bridge.empty() ? "br-int" : interface.bridge;
    if (!interface.vif["details"]["ovs_hybrid_plug"].as_bool())
        return run({"ovs-vsctl",
                    "--timeout=120",
                    "--",
                    "--if-exists",
                    "del-port",
                    bridge,
                    interface.device});
    NOVALET_TRY(run({"ovs-vsctl",
                     "--timeout=120",
                     "--",
                     "--if-exists",
                     "del-port",
                     bridge,
                     device("qvo", interface.port)}));
    for (const auto& name : {device("qvb", interface.port), device("qbr", interface.port)})
        if (exists(name))
            NOVALET_TRY(run({"ip", "link", "delete", "dev", name}));
    return {};
}

} // namespace novalet::hypervisor::network
