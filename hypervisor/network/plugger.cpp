#include "hypervisor/network/plugger.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <fcntl.h>
#include <net/if.h>
#include <string_view>
#include <unistd.h>

namespace novalet::hypervisor::network {
namespace {

constexpr std::size_t device_length = 14;    // nova.network.model NIC_NAME_LEN
constexpr unsigned usual_mtu = 1500;         // os-vif network_device_mtu
constexpr const char* trunk_prefix = "tbr-"; // Neutron's bridge of one trunk port
constexpr Milliseconds patience{120000};     // os-vif ovs_vsctl_timeout

std::string device(const char* prefix, const PortId& port) {
    return (prefix + port.str()).substr(0, device_length);
}

/// In the network namespace of this thread.
bool exists(const std::string& name) {
    return if_nametoindex(name.c_str()) != 0;
}

/// Names come from Neutron; nothing but a device name may reach a path or an argument.
bool is_device_name(const std::string& name) {
    if (name.empty() || name.size() >= IFNAMSIZ || name.front() == '-' || name.front() == '.')
        return false;
    return std::all_of(name.begin(), name.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
    });
}

bool is_mac(const std::string& mac) {
    if (mac.size() != 17)
        return false;
    for (std::size_t i = 0; i < mac.size(); ++i)
        if (i % 3 == 2 ? mac[i] != ':' : std::isxdigit(static_cast<unsigned char>(mac[i])) == 0)
            return false;
    return true;
}

Result<void> check_device(const char* what, const std::string& name) {
    if (is_device_name(name))
        return {};
    return fail(Code::InvalidArgument, cat("'", cut_utf8(name, 64), "' is no name of a ", what));
}

Result<void> check_mac(const std::string& mac) {
    if (is_mac(mac))
        return {};
    return fail(Code::InvalidArgument, cat("'", cut_utf8(mac, 64), "' is no MAC address"));
}

/// A kernel switch that may be missing (IPv6 compiled out): then there is nothing to switch.
Result<void> set_switch(const std::string& path, std::string_view value) {
    const Fd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file && errno == ENOENT)
        return {};
    if (!file || write(file.get(), value.data(), value.size()) < 0)
        return fail(Code::Unavailable, cat(path, " cannot be set: ", errno_text(errno)));
    return {};
}

/// The host itself has no business on a guest's bridge: no IPv6 address of its own there, no answer
/// to ARP requests for addresses of its other interfaces.
Result<void> keep_host_off(const std::string& bridge) {
    NOVALET_TRY(set_switch(cat("/proc/sys/net/ipv6/conf/", bridge, "/disable_ipv6"), "1"));
    NOVALET_TRY(set_switch(cat("/proc/sys/net/ipv4/conf/", bridge, "/arp_ignore"), "1"));
    return set_switch(cat("/proc/sys/net/ipv4/conf/", bridge, "/arp_announce"), "2");
}

std::string ovs_bridge(const InterfaceSpec& interface) {
    return interface.bridge.empty() ? "br-int" : interface.bridge;
}

bool is_hybrid(const InterfaceSpec& interface) {
    return interface.vif["details"]["ovs_hybrid_plug"].as_bool();
}

bool is_vhostuser_on_ovs(const InterfaceSpec& interface) {
    return interface.vif_type == "vhostuser" &&
           interface.vif["details"]["vhostuser_ovs_plug"].as_bool();
}

Failure unknown(const InterfaceSpec& interface) {
    return fail(Code::Unsupported,
                cat("vif_type '",
                    interface.vif_type,
                    "' is not supported; supported are bridge, ovs, tap and vhostuser"));
}

/// A quoted value of an OVSDB column.
std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            out += '\\';
        out += c;
    }
    return out + '"';
}

} // namespace

/// A port of an OVS bridge and how its interface is described.
struct Plugger::OvsPort {
    std::string bridge;
    std::string datapath;             ///< type of the bridge
    std::string name;                 ///< empty = the bridge alone
    std::vector<std::string> columns; ///< of the Interface record

    OvsPort(const InterfaceSpec& interface, const char* usual_datapath)
        : bridge(ovs_bridge(interface)),
          datapath(interface.vif["details"]["datapath_type"].as_string()) {
        if (datapath.empty())
            datapath = usual_datapath;
    }
    /// What Neutron's agent and OVN know the port by.
    void describe(const InterfaceSpec& interface, const InstanceUuid& instance) {
        const auto& id = interface.vif["ovs_interfaceid"].as_string();
        columns = {"external_ids:iface-id=" + quoted(id.empty() ? interface.port.str() : id),
                   "external_ids:iface-status=active",
                   "external_ids:attached-mac=" + quoted(interface.mac),
                   "external_ids:vm-uuid=" + quoted(instance.str())};
    }
};

Result<void> Plugger::run(std::vector<std::string> argv) {
    ProcessRequest request;
    request.argv = std::move(argv);
    request.timeout = patience;
    NOVALET_TRY(processes_.check(request));
    return {};
}

/// The L2 agent may make the bridge at the same time: whoever comes second finds it there. The
/// bridge of one port forgets no address: it would lose packets while the guest moves.
Result<void> Plugger::ensure_bridge(const std::string& bridge, bool own_of_port) {
    NOVALET_TRY(check_device("bridge", bridge));
    const bool was_there = exists(bridge);
    if (!was_there) {
        std::vector<std::string> add{"ip",
                                     "link",
                                     "add",
                                     "name",
                                     bridge,
                                     "type",
                                     "bridge",
                                     "forward_delay",
                                     "0",
                                     "stp_state",
                                     "0",
                                     "mcast_snooping",
                                     "0"};
        if (own_of_port) {
            add.emplace_back("ageing_time");
            add.emplace_back("0");
        }
        auto made = run(std::move(add));
        if (!made && !exists(bridge))
            return made;
    }
    if (was_there && !own_of_port)
        return {}; // the network's bridge is its agent's business
    NOVALET_TRY(keep_host_off(bridge));
    return run({"ip", "link", "set", "dev", bridge, "up"});
}

Result<void> Plugger::plug_bridge(const InterfaceSpec& interface) {
    const auto& meta = interface.vif["network"]["meta"];
    if (meta["multi_host"].as_bool() || !meta["should_create_bridge"].as_bool(true))
        return {};
    // No MTU: a bridge follows its ports, and the tap comes with the network's.
    return ensure_bridge(interface.bridge, false);
}

Result<void> Plugger::ensure_ovs(const OvsPort& port) {
    NOVALET_TRY(check_device("bridge", port.bridge));
    NOVALET_TRY(check_device("datapath", port.datapath));
    std::vector<std::string> argv{"ovs-vsctl",
                                  "--timeout=120",
                                  "--",
                                  "--may-exist",
                                  "add-br",
                                  port.bridge,
                                  "--",
                                  "set",
                                  "Bridge",
                                  port.bridge,
                                  "datapath_type=" + port.datapath};
    if (!port.name.empty()) {
        NOVALET_TRY(check_device("port", port.name));
        for (const char* word : {"--", "--may-exist", "add-port"})
            argv.emplace_back(word);
        argv.push_back(port.bridge);
        argv.push_back(port.name);
        for (const char* word : {"--", "set", "Interface"})
            argv.emplace_back(word);
        argv.push_back(port.name);
        argv.insert(argv.end(), port.columns.begin(), port.columns.end());
    }
    return run(std::move(argv));
}

Result<void> Plugger::plug_ovs(const InterfaceSpec& interface, const InstanceUuid& instance) {
    OvsPort port(interface, "system");
    if (interface.vif["delegate_create"].as_bool()) {
        NOVALET_TRY(check_mac(interface.mac));
        NOVALET_TRY(check_device("device", interface.device));
        port.name = interface.device; // the tap is libvirt's; the port waits for it by its name
        port.describe(interface, instance);
    }
    return ensure_ovs(port);
}

Result<void> Plugger::ensure_veth(const std::string& inner, const std::string& outer) {
    if (exists(inner) && exists(outer))
        return {};
    // One end alone is of another pair, or of an attempt that ended in the middle.
    NOVALET_TRY(remove_device(inner));
    NOVALET_TRY(remove_device(outer));
    return run({"ip", "link", "add", "name", inner, "type", "veth", "peer", "name", outer});
}

Result<void> Plugger::plug_hybrid(const InterfaceSpec& interface, const InstanceUuid& instance) {
    const auto bridge = device("qbr", interface.port);
    const auto inner = device("qvb", interface.port);
    NOVALET_TRY(check_mac(interface.mac));
    OvsPort port(interface, "system");
    port.name = device("qvo", interface.port);
    port.describe(interface, instance);
    NOVALET_TRY(ensure_bridge(bridge, true));
    NOVALET_TRY(ensure_veth(inner, port.name));
    const auto mtu = std::to_string(interface.mtu > 0 ? interface.mtu : usual_mtu);
    for (const auto& end : {inner, port.name})
        NOVALET_TRY(run({"ip", "link", "set", "dev", end, "mtu", mtu, "promisc", "on", "up"}));
    NOVALET_TRY(run({"ip", "link", "set", "dev", inner, "master", bridge}));
    return ensure_ovs(port);
}

Result<void> Plugger::plug_tap(const InterfaceSpec& interface, bool multiqueue) {
    const auto& name = interface.device;
    NOVALET_TRY(check_device("device", name));
    if (!exists(name)) {
        std::vector<std::string> add{"ip", "tuntap", "add", "dev", name, "mode", "tap"};
        if (multiqueue)
            add.emplace_back("multi_queue");
        NOVALET_TRY(run(std::move(add)));
        // The host's end; the guest's own address is in the domain.
        const auto& mac = interface.vif["details"]["mac_address"].as_string();
        if (!mac.empty()) {
            NOVALET_TRY(check_mac(mac));
            NOVALET_TRY(run({"ip", "link", "set", "dev", name, "address", mac}));
        }
        NOVALET_TRY(run({"ip", "link", "set", "dev", name, "up"}));
    }
    if (interface.mtu == 0)
        return {};
    return run({"ip", "link", "set", "dev", name, "mtu", std::to_string(interface.mtu)});
}

Result<void> Plugger::plug_vhostuser(const InterfaceSpec& interface, const InstanceUuid& instance) {
    if (!is_vhostuser_on_ovs(interface))
        return {}; // QEMU and the network's own switch find each other at the socket
    const auto& details = interface.vif["details"];
    const auto& socket = details["vhostuser_socket"].as_string();
    if (socket.empty())
        return fail(Code::InvalidArgument, "the port's details have no vhostuser_socket");
    NOVALET_TRY(check_mac(interface.mac));
    OvsPort port(interface, "netdev");
    port.name = device("vhu", interface.port);
    port.describe(interface, instance);
    // QEMU is the client or the server of the socket; OVS is the other.
    if (details["vhostuser_mode"].as_string("server") == "client") {
        port.columns.emplace_back("type=dpdkvhostuser");
    } else {
        port.columns.emplace_back("type=dpdkvhostuserclient");
        port.columns.push_back("options:vhost-server-path=" + quoted(socket));
    }
    port.columns.push_back(cat("mtu_request=", interface.mtu > 0 ? interface.mtu : usual_mtu));
    return ensure_ovs(port);
}

Result<void>
Plugger::plug(const InterfaceSpec& interface, const InstanceUuid& instance, bool multiqueue) {
    Result<void> plugged = [&]() -> Result<void> {
        if (interface.vif_type == "bridge")
            return plug_bridge(interface);
        if (interface.vif_type == "ovs")
            return is_hybrid(interface) ? plug_hybrid(interface, instance)
                                        : plug_ovs(interface, instance);
        if (interface.vif_type == "tap")
            return plug_tap(interface, multiqueue);
        if (interface.vif_type == "vhostuser")
            return plug_vhostuser(interface, instance);
        return unknown(interface);
    }();
    if (plugged)
        return {};
    Error error = std::move(plugged).error();
    error.exception = "VirtualInterfacePlugException";
    error.module = "nova.exception";
    error.text =
        cat("Virtual interface plugin failed: port ", interface.port.str(), ": ", error.text);
    return Failure(std::move(error));
}

Result<void> Plugger::remove_device(const std::string& name) {
    if (!exists(name))
        return {};
    auto removed = run({"ip", "link", "delete", "dev", name});
    if (!removed && exists(name))
        return removed;
    return {};
}

/// The bridge is not named: a port that is on another one must go as well, and a bridge that is
/// gone took its ports along.
Result<void> Plugger::remove_ovs_port(const InterfaceSpec& interface, const std::string& name) {
    NOVALET_TRY(check_device("port", name));
    std::vector<std::string> argv{
        "ovs-vsctl", "--timeout=120", "--", "--if-exists", "del-port", name};
    if (const auto bridge = ovs_bridge(interface); bridge.starts_with(trunk_prefix)) {
        NOVALET_TRY(check_device("bridge", bridge));
        for (const char* word : {"--", "--if-exists", "del-br"})
            argv.emplace_back(word);
        argv.push_back(bridge);
    }
    return run(std::move(argv));
}

/// What is there decides, not what the record says: a port may have changed from the hybrid way.
Result<void> Plugger::unplug_ovs(const InterfaceSpec& interface) {
    const auto bridge = device("qbr", interface.port);
    if (!exists(bridge) && !is_hybrid(interface)) {
        NOVALET_TRY(remove_ovs_port(interface, interface.device));
        return remove_device(interface.device);
    }
    const auto outer = device("qvo", interface.port);
    NOVALET_TRY(remove_device(bridge));
    NOVALET_TRY(remove_ovs_port(interface, outer));
    NOVALET_TRY(remove_device(outer)); // its other end goes along
    return remove_device(device("qvb", interface.port));
}

Result<void> Plugger::unplug(const InterfaceSpec& interface) {
    if (interface.vif_type == "ovs")
        return unplug_ovs(interface);
    if (interface.vif_type == "tap") {
        NOVALET_TRY(check_device("device", interface.device));
        return remove_device(interface.device);
    }
    if (is_vhostuser_on_ovs(interface))
        return remove_ovs_port(interface, device("vhu", interface.port));
    return {}; // a tap on the network's bridge goes with the domain
}

/// Without Open vSwitch on this host there is no port to remove.
Result<void> Plugger::remove_stray(const std::string& name) {
    if (port_part(name).empty())
        return fail(Code::InvalidArgument,
                    cat("'", cut_utf8(name, 64), "' is not named after a port"));
    auto gone = run({"ovs-vsctl", "--timeout=120", "--", "--if-exists", "del-port", name});
    if (!gone && gone.error().code != Code::NotFound)
        return gone;
    return remove_device(name);
}

std::string port_part(const std::string& device) {
    constexpr std::size_t mark = 3; // "tap"
    constexpr std::size_t dash = 8; // within a uuid
    if (device.size() != device_length)
        return {};
    const std::string part = device.substr(mark);
    for (std::size_t i = 0; i < part.size(); ++i)
        if (i == dash ? part[i] != '-' : std::isxdigit(static_cast<unsigned char>(part[i])) == 0)
            return {};
    for (const char* prefix : {"tap", "qvb", "qvo", "qbr"})
        if (device.starts_with(prefix))
            return part;
    return {};
}

std::vector<std::string> port_devices(const std::filesystem::path& devices) {
    std::vector<std::string> out;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(devices, error)) {
        auto name = entry.path().filename().string();
        std::error_code none;
        if (port_part(name).empty() ||
            (name.starts_with("tap") && !std::filesystem::exists(entry.path() / "tun_flags", none)))
            continue;
        out.push_back(std::move(name));
    }
    std::sort(out.begin(), out.end());
    return out;
}

} // namespace novalet::hypervisor::network
