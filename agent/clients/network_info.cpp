// The NetworkInfo document of an instance: every key as nova-api expects it (reference 06 §1.7).
#include "agent/clients/neutron.hpp"

#include "agent/core/text.hpp"

#include <algorithm>

namespace novalet::clients {
namespace {

constexpr std::size_t device_name_length = 14;
constexpr std::string_view bridge_prefix = "brq";

Json ip(const std::string& address, const char* type) {
    Json out = Json::object();
    out.set("address", address);
    out.set("type", type);
    out.set("version", address.find(':') == std::string::npos ? 4 : 6);
    out.set("meta", Json::object());
    return out;
}

Json route(const Json& source) {
    Json out = Json::object();
    out.set("cidr", source["destination"]);
    out.set("gateway", ip(source["nexthop"].as_string(), "gateway"));
    out.set("interface", nullptr);
    out.set("meta", Json::object());
    return out;
}

Json subnet_of(const Json& source, const std::string& dhcp_server) {
    Json out = Json::object();
    out.set("cidr", source["cidr"]);
    Json dns = Json::array();
    for (const auto& server : source["dns_nameservers"].items())
        dns.push_back(ip(server.as_string(), "dns"));
    out.set("dns", std::move(dns));
    const auto& gateway = source["gateway_ip"].as_string();
    Json gateway_ip = ip(gateway, "gateway");
    if (gateway.empty())
        gateway_ip.set("address", nullptr).set("version", nullptr);
    out.set("gateway", std::move(gateway_ip));
    out.set("ips", Json::array());
    Json routes = Json::array();
    for (const auto& one : source["host_routes"].items())
        routes.push_back(route(one));
    out.set("routes", std::move(routes));
    out.set("version", source["ip_version"]);
    Json meta = Json::object();
    if (!dhcp_server.empty())
        meta.set("dhcp_server", dhcp_server);
    if (source["ipv6_address_mode"].is_string())
        meta.set("ipv6_address_mode", source["ipv6_address_mode"]);
    out.set("meta", std::move(meta));
    return out;
}

const Json* find_by_id(const Json& list, const std::string& id) {
    for (const auto& item : list.items())
        if (item["id"].as_string() == id)
            return &item;
    return nullptr;
}

bool tunneled(const std::string& type) {
    return type == "vxlan" || type == "gre" || type == "geneve";
}

} // namespace

/// Subnets of the port, each with its addresses, DHCP server and floating addresses.
Result<Json> Neutron::subnets_of(const rpc::Context& context, const Json& port) {
    std::string query;
    for (const auto& fixed : port["fixed_ips"].items()) {
        const std::string part = "id=" + fixed["subnet_id"].as_string();
        if (query.find(part) == std::string::npos)
            query += (query.empty() ? "" : "&") + part;
    }
    Json subnets = Json::array();
    if (query.empty())
        return subnets;
    NOVALET_ASSIGN(const Json body, get(context, "/subnets?" + query));
    NOVALET_ASSIGN(const Json dhcp,
                   get(context,
                       cat("/ports?network_id=",
                           port["network_id"].as_string(),
                           "&device_owner=network%3Adhcp")));
    for (const auto& source : body["subnets"].items()) {
        std::string dhcp_server;
        for (const auto& dhcp_port : dhcp["ports"].items())
            for (const auto& fixed : dhcp_port["fixed_ips"].items())
                if (fixed["subnet_id"] == source["id"])
                    dhcp_server = fixed["ip_address"].as_string();
        Json subnet = subnet_of(source, dhcp_server);
        for (const auto& fixed : port["fixed_ips"].items()) {
            if (fixed["subnet_id"] != source["id"])
                continue;
            const auto& address = fixed["ip_address"].as_string();
            Json entry = ip(address, "fixed");
            Json floating = Json::array();
            const auto found = get(context,
                                   cat("/floatingips?fixed_ip_address=",
                                       percent_encode(address),
                                       "&port_id=",
                                       port["id"].as_string()));
            if (!found && found.error().code != Code::NotFound &&
                found.error().code != Code::Unauthorized)
                return Failure(found.error());
            if (found)
                for (const auto& one : (*found)["floatingips"].items())
                    floating.push_back(ip(one["floating_ip_address"].as_string(), "floating"));
            entry.set("floating_ips", std::move(floating));
            subnet.member("ips").push_back(std::move(entry));
        }
        subnets.push_back(std::move(subnet));
    }
    return subnets;
}

Result<Json> Neutron::network_of(const rpc::Context& context, const Json& port) {
    const auto& id = port["network_id"].as_string();
    NOVALET_ASSIGN(const Json body, get(context, "/networks/" + id));
    const Json& source = body["network"];
    const auto& vif_type = port["binding:vif_type"].as_string();
    const auto& details = port["binding:vif_details"];

    Json bridge;
    if (vif_type == "ovs")
        bridge = details["bridge_name"].as_string(options_.ovs_bridge);
    else if (vif_type == "bridge")
        bridge = details["bridge_name"].as_string(cat(bridge_prefix, id));
    if (bridge.is_string())
        bridge = bridge.as_string().substr(0, device_name_length);

    Json meta = Json::object();
    meta.set("injected", options_.flat_injected);
    meta.set("tenant_id", source["tenant_id"]);
    meta.set("mtu", source["mtu"]);
    Json physical = source["provider:physical_network"];
    std::string type = source["provider:network_type"].as_string();
    if (!source["segments"].items().empty()) {
        physical = source["segments"].at(0)["provider:physical_network"];
        type = source["segments"].at(0)["provider:network_type"].as_string();
    }
    meta.set("physical_network", physical);
    meta.set("tunneled", tunneled(type));
    if (vif_type == "bridge")
        meta.set("should_create_bridge", true);

    Json network = Json::object();
    network.set("id", id);
    network.set("bridge", std::move(bridge));
    network.set("label", source["name"]);
    NOVALET_ASSIGN(Json subnets, subnets_of(context, port));
    network.set("subnets", std::move(subnets));
    network.set("meta", std::move(meta));
    return network;
}

Result<Json>
Neutron::vif_of(const rpc::Context& context, const Json& port, bool preserve_on_delete) {
    const auto& id = port["id"].as_string();
    const auto& vif_type = port["binding:vif_type"].as_string();
    const auto& details = port["binding:vif_details"];
    const bool ovs =
        vif_type == "ovs" || (vif_type == "vhostuser" && details["vhostuser_ovs_plug"].as_bool());
    Json vif = Json::object();
    vif.set("id", id);
    vif.set("address", port["mac_address"]);
    NOVALET_ASSIGN(Json network, network_of(context, port));
    vif.set("network", std::move(network));
    vif.set("type", vif_type);
    vif.set("details", details.is_object() ? details : Json::object());
    vif.set("devname", ("tap" + id).substr(0, device_name_length));
    vif.set("ovs_interfaceid", ovs ? Json(id) : Json());
    vif.set("qbh_params", nullptr);
    vif.set("qbg_params", nullptr);
    vif.set("active",
            port["status"].as_string() == "ACTIVE" || !port["admin_state_up"].as_bool(true));
    vif.set("vnic_type", port["binding:vnic_type"].as_string("normal"));
    vif.set("profile",
            port["binding:profile"].is_object() ? port["binding:profile"] : Json::object());
    vif.set("preserve_on_delete", preserve_on_delete);
    vif.set("delegate_create", true);
    vif.set("meta", Json::object());
    return vif;
}

Result<Json> Neutron::network_info(const rpc::Context& context,
                                   const NetworkOwner& owner,
                                   const Json& cached,
                                   bool adopt_unknown) {
    NOVALET_ASSIGN(const Json ports, ports_of(context, owner));
    Json info = Json::array();
    for (const auto& entry : cached.items()) {
        // A port that vanished from Neutron drops out of the list.
        if (const auto* port = find_by_id(ports, entry["id"].as_string())) {
            NOVALET_ASSIGN(Json vif, vif_of(context, *port, entry["preserve_on_delete"].as_bool()));
            info.push_back(std::move(vif));
        }
    }
    if (adopt_unknown)
        for (const auto& port : ports.items())
            if (find_by_id(cached, port["id"].as_string()) == nullptr) {
                NOVALET_ASSIGN(Json vif, vif_of(context, port, false));
                info.push_back(std::move(vif));
            }
    return info;
}

} // namespace novalet::clients
