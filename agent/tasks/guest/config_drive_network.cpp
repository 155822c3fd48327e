#include "agent/tasks/guest/config_drive_network.hpp"

#include "agent/core/text.hpp"
#include "agent/tasks/guest/ip_network.hpp"

#include <algorithm>
#include <array>

namespace novalet::tasks {
namespace {

/// VIF types that guests see in network_data.json for the sake of old guests; all others are "phy".
constexpr std::array exposed_types{
    "bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif"};

const Json& first_subnet(const Json& vif, int version) {
    static const Json none;
    for (const auto& subnet : vif["network"]["subnets"].items())
        if (subnet["version"].as_int() == version)
            return subnet;
    return none;
}

bool has_text(const Json& value) {
    return !value.as_string().empty();
}

/// A guest that asks a DHCP server learns the MTU there.
Json mtu_of(const Json& vif) {
    for (const auto& subnet : vif["network"]["subnets"].items())
        if (has_text(subnet["meta"]["dhcp_server"]))
            return nullptr;
    return vif["network"]["meta"]["mtu"];
}

Json link_of(const Json& vif, std::size_t number) {
    const auto& type = vif["type"].as_string();
    const bool exposed =
        std::find(exposed_types.begin(), exposed_types.end(), type) != exposed_types.end();
    Json link = Json::object();
    link.set("id",
             has_text(vif["devname"]) ? vif["devname"].as_string() : cat("interface", number));
    link.set("vif_id", vif["id"]);
    link.set("type", exposed ? type : "phy");
    link.set("mtu", mtu_of(vif));
    link.set("ethernet_mac_address", vif["address"]);
    return link;
}

Json dns_services(const Json& subnet) {
    Json services = Json::array();
    for (const auto& server : subnet["dns"].items()) {
        Json service = Json::object();
        service.set("type", "dns");
        service.set("address", server["address"]);
        services.push_back(std::move(service));
    }
    return services;
}

Json route_to(const std::string& network, const std::string& netmask, const Json& gateway) {
    Json route = Json::object();
    route.set("network", network);
    route.set("netmask", netmask);
    route.set("gateway", gateway);
    return route;
}

Result<Json> routes_of(const Json& subnet, bool v6) {
    Json routes = Json::array();
    if (const auto& gateway = subnet["gateway"]["address"]; has_text(gateway)) {
        const char* all = v6 ? "::" : "0.0.0.0";
        routes.push_back(route_to(all, all, gateway));
    }
    for (const auto& route : subnet["routes"].items()) {
        NOVALET_ASSIGN(const auto target, IpNetwork::parse(route["cidr"].as_string()));
        routes.push_back(route_to(target.network(), target.netmask(), route["gateway"]["address"]));
    }
    return routes;
}

/// A network that the guest configures by itself has no address here, except under an IPv6 address
/// mode, where the address is told and the type says the mode.
Result<Json> network_of(const Json& vif, const Json& subnet, std::size_t number, const Json& link) {
    const bool v6 = subnet["version"].as_int() == 6;
    const auto& meta = subnet["meta"];
    const auto& mode = meta["ipv6_address_mode"];
    std::string type = v6 ? "ipv6" : "ipv4";
    Json network = Json::object();
    network.set("id", cat("network", number));
    network.set("link", link["id"]);
    network.set("network_id", vif["network"]["id"]);
    if (mode.is_null() && (!meta["dhcp_server"].is_null() || meta["enable_dhcp"].as_bool())) {
        network.set("type", type + "_dhcp");
        return network;
    }
    if (!mode.is_null())
        type += "_" + mode.as_string();
    NOVALET_ASSIGN(const auto range, IpNetwork::parse(subnet["cidr"].as_string()));
    NOVALET_ASSIGN(auto routes, routes_of(subnet, v6));
    network.set("type", type);
    network.set("ip_address", subnet["ips"].at(0)["address"]);
    network.set("netmask", range.netmask());
    network.set("routes", std::move(routes));
    network.set("services", dns_services(subnet));
    return network;
}

void add_new(Json& services, const Json& more) {
    const auto known = services.items(); // what one subnet names twice stays twice
    for (const auto& service : more.items())
        if (std::find(known.begin(), known.end(), service) == known.end())
            services.push_back(service);
}

std::string joined_dns(const Json& subnet) {
    std::vector<std::string> servers;
    for (const auto& server : subnet["dns"].items())
        servers.push_back(server["address"].as_string());
    return join(servers, " ");
}

Result<std::string> static_stanza(const Json& vif, const Json& subnet, const std::string& name) {
    NOVALET_ASSIGN(const auto range, IpNetwork::parse(subnet["cidr"].as_string()));
    std::string out = cat("iface ", name, range.v6() ? " inet6 static\n" : " inet static\n");
    out += cat("    hwaddress ether ", vif["address"].as_string(), '\n');
    out += cat("    address ", subnet["ips"].at(0)["address"].as_string(), '\n');
    out += cat("    netmask ", range.v6() ? std::to_string(range.bits()) : range.netmask(), '\n');
    if (const auto broadcast = range.broadcast())
        out += cat("    broadcast ", *broadcast, '\n');
    if (const auto& gateway = subnet["gateway"]["address"]; has_text(gateway))
        out += cat("    gateway ", gateway.as_string(), '\n');
    if (const auto servers = joined_dns(subnet); !servers.empty())
        out += cat("    dns-nameservers ", servers, '\n');
    return out;
}

bool told_by_dhcp(const Json& subnet) {
    return !subnet["meta"]["dhcp_server"].is_null();
}

} // namespace

Result<Json> network_data(const Json& network_info) {
    if (network_info.empty())
        return Json::object();
    Json links = Json::array();
    Json networks = Json::array();
    Json services = Json::array();
    std::size_t number = 0;
    for (const auto& vif : network_info.items()) {
        if (vif["network"]["subnets"].empty())
            continue;
        const Json link = link_of(vif, number++);
        bool told = false;
        for (const int version : {4, 6}) {
            const Json& subnet = first_subnet(vif, version);
            told = told || !subnet.is_null();
            if (subnet["ips"].empty())
                continue;
            NOVALET_ASSIGN(auto network, network_of(vif, subnet, networks.size(), link));
            networks.push_back(std::move(network));
            add_new(services, dns_services(subnet));
        }
        if (told)
            links.push_back(link);
    }
    Json out = Json::object();
    out.set("links", std::move(links));
    out.set("networks", std::move(networks));
    out.set("services", std::move(services));
    return out;
}

Result<std::optional<std::string>> injected_interfaces(const Json& network_info) {
    std::string stanzas;
    std::size_t number = 0;
    for (const auto& vif : network_info.items()) {
        if (vif["network"]["subnets"].empty())
            continue;
        const std::string name = cat("eth", number++);
        const Json& v4 = first_subnet(vif, 4);
        const Json& v6 = first_subnet(vif, 6);
        if (!vif["network"]["meta"]["injected"].as_bool() || told_by_dhcp(v4) || told_by_dhcp(v6))
            continue;
        stanzas += cat("\nauto ", name, '\n');
        for (const Json* subnet : {&v4, &v6}) {
            if ((*subnet)["ips"].empty())
                continue;
            NOVALET_ASSIGN(const auto stanza, static_stanza(vif, *subnet, name));
            stanzas += stanza;
        }
    }
    if (stanzas.empty())
        return std::nullopt;
    return cat("# interfaces(5): networks without DHCP, as the cloud configured them\n"
               "auto lo\niface lo inet loopback\n",
               stanzas);
}

Ec2Addresses ec2_addresses(const Json& network_info) {
    Ec2Addresses out;
    for (const auto& vif : network_info.items())
        for (const auto& subnet : vif["network"]["subnets"].items())
            for (const auto& ip : subnet["ips"].items()) {
                if (ip["version"].as_int() == 4)
                    out.fixed.push_back(ip["address"].as_string());
                for (const auto& floating : ip["floating_ips"].items())
                    out.floating.push_back(floating["address"].as_string());
            }
    return out;
}

} // namespace novalet::tasks
