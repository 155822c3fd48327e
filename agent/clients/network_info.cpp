// The NetworkInfo document of an instance: every key as nova-api expects it.
#include "agent/clients/neutron.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"

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
    meta.set("enable_dhcp", source["enable_dhcp"].as_bool());
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

std::vector<std::string> ids_of(const Json& list) {
    std::vector<std::string> ids;
    for (const auto& item : list.items())
        ids.push_back(item["id"].as_string());
    return ids;
}

void tell_who_left(const Json& cached, const Json& ports, const std::string& instance) {
    for (const auto& id : ids_of(cached))
        if (find_by_id(ports, id) == nullptr)
            log::info("a port is no longer the instance's and leaves its network info",
                      {{"port", id}, {"instance", instance}});
}

/// Nova supports no such change, and neither does the guest that has the old kind of card.
void tell_if_kind_changed(const Json& before, const Json& now) {
    if (before["vnic_type"].is_string() && before["vnic_type"] != now["vnic_type"])
        log::error("the vnic_type of a bound port was changed, which is not supported; detach the "
                   "port, change it and attach it again",
                   {{"port", now["id"].as_string()},
                    {"was", before["vnic_type"].as_string()},
                    {"is", now["vnic_type"].as_string()}});
}

bool tunneled(const std::string& type) {
    return type == "vxlan" || type == "gre" || type == "geneve";
}

/// Bridge of the port, null for types without one; and whether Open vSwitch plugs it.
std::pair<Json, bool> bridge_of(const Json& port, const std::string& ovs_bridge) {
    const auto& type = port["binding:vif_type"].as_string();
    const auto& details = port["binding:vif_details"];
    const bool vhostuser = type == "vhostuser";
    const bool ovs = type == "ovs" || type == "agilio_ovs" ||
                     (vhostuser && details["vhostuser_ovs_plug"].as_bool());
    const bool linux_bridge =
        type == "bridge" || (vhostuser && details["vhostuser_fp_plug"].as_bool());
    if (!ovs && !linux_bridge)
        return {Json(), false};
    const std::string fallback =
        ovs ? ovs_bridge : cat(bridge_prefix, port["network_id"].as_string());
    return {details["bridge_name"].as_string(fallback).substr(0, device_name_length), ovs};
}

} // namespace

Result<Json> Neutron::ports_of(const rpc::Context& context, const NetworkOwner& owner) {
    if (!is_uuid(owner.instance_uuid)) // an empty id would mean all ports that nobody uses
        return fail(Code::Internal, cat("'", owner.instance_uuid, "' is no uuid of an instance"));
    NOVALET_ASSIGN(Json body,
                   get(context,
                       As::Agent,
                       "/ports" + query({{"tenant_id", owner.project_id},
                                         {"device_id", owner.instance_uuid}})));
    return std::move(body.member("ports"));
}

Result<Json>
Neutron::fixed_ip(const rpc::Context& context, const Json& port, const std::string& address) {
    Json floating = Json::array();
    const auto found = get(context,
                           As::Agent,
                           "/floatingips" + query({{"fixed_ip_address", address},
                                                   {"port_id", port["id"].as_string()}}));
    // A Neutron without routers has no floating addresses.
    if (!found && found.error().code != Code::NotFound && found.error().exception != "Forbidden")
        return Failure(found.error());
    if (found)
        for (const auto& one : (*found)["floatingips"].items())
            floating.push_back(ip(one["floating_ip_address"].as_string(), "floating"));
    Json out = ip(address, "fixed");
    out.set("floating_ips", std::move(floating));
    return out;
}

/// Subnets of the port, each with its addresses and DHCP server.
Result<Json> Neutron::subnets_of(const rpc::Context& context, const Json& port) {
    std::vector<std::pair<std::string, std::string>> ids;
    std::map<std::string, Json> addresses; // by subnet
    for (const auto& fixed : port["fixed_ips"].items()) {
        const auto& subnet = fixed["subnet_id"].as_string();
        if (!addresses.contains(subnet))
            ids.emplace_back("id", subnet);
        NOVALET_ASSIGN(Json entry, fixed_ip(context, port, fixed["ip_address"].as_string()));
        addresses[subnet].push_back(std::move(entry));
    }
    Json subnets = Json::array();
    if (ids.empty()) // without an id Neutron would list all of them
        return subnets;
    NOVALET_ASSIGN(const Json body, get(context, As::Agent, "/subnets" + query(ids)));
    NOVALET_ASSIGN(const Json dhcp,
                   get(context,
                       As::Agent,
                       "/ports" + query({{"network_id", port["network_id"].as_string()},
                                         {"device_owner", "network:dhcp"}})));
    for (const auto& source : body["subnets"].items()) {
        std::string dhcp_server;
        for (const auto& dhcp_port : dhcp["ports"].items())
            for (const auto& fixed : dhcp_port["fixed_ips"].items())
                if (fixed["subnet_id"] == source["id"])
                    dhcp_server = fixed["ip_address"].as_string();
        Json subnet = subnet_of(source, dhcp_server);
        Json& ips = addresses[source["id"].as_string()];
        subnet.set("ips", ips.is_array() ? std::move(ips) : Json::array());
        subnets.push_back(std::move(subnet));
    }
    return subnets;
}

Result<void>
Neutron::add_provider(const rpc::Context& context, const std::string& network, Json& meta) {
    const std::string path = "/networks/" + percent_encode(network);
    NOVALET_ASSIGN(const bool segmented, has_extension(context, "multi-provider"));
    if (segmented) {
        NOVALET_ASSIGN(const Json body,
                       get(context, As::Agent, path + query({{"fields", "segments"}})));
        const Json& segments = body["network"]["segments"];
        for (const auto& segment : segments.items())
            if (!segment["provider:physical_network"].as_string().empty()) {
                meta.set("physical_network", segment["provider:physical_network"]);
                meta.set("tunneled", false);
                return {};
            }
        if (!segments.empty())
            return fail_as(
                "NovaException",
                Code::InvalidArgument,
                cat("None of the segments of network ", network, " provides a physical_network"));
    }
    NOVALET_ASSIGN(const Json body,
                   get(context,
                       As::Agent,
                       path + query({{"fields", "provider:physical_network"},
                                     {"fields", "provider:network_type"}})));
    meta.set("physical_network", body["network"]["provider:physical_network"]);
    meta.set("tunneled", tunneled(body["network"]["provider:network_type"].as_string()));
    return {};
}

Result<Json>
Neutron::network_of(const rpc::Context& context, const Json& port, const NetworksById& networks) {
    const auto& id = port["network_id"].as_string();
    const auto found = networks.find(id);
    if (found == networks.end())
        log::warning("the network of a port is not visible; the document goes without its name",
                     {{"network", id}, {"port", port["id"].as_string()}});
    const Json source = found == networks.end() ? Json() : found->second;
    Json meta = Json::object();
    meta.set("injected", options_.flat_injected);
    meta.set("tenant_id", found == networks.end() ? port["tenant_id"] : source["tenant_id"]);
    meta.set("mtu", source["mtu"]);
    NOVALET_ASSIGN(Json subnets, subnets_of(context, port));
    NOVALET_TRY(add_provider(context, id, meta));
    if (port["binding:vif_type"].as_string() == "bridge")
        meta.set("should_create_bridge", true);
    Json network = Json::object();
    network.set("id", id);
    network.set("bridge", bridge_of(port, options_.ovs_bridge).first);
    network.set("label", source["name"]);
    network.set("subnets", std::move(subnets));
    network.set("meta", std::move(meta));
    return network;
}

Result<Json> Neutron::vif_of(const rpc::Context& context,
                             const Json& port,
                             bool preserve_on_delete,
                             const NetworksById& networks) {
    const auto& id = port["id"].as_string();
    const auto& details = port["binding:vif_details"];
    Json vif = Json::object();
    vif.set("id", id);
    vif.set("address", port["mac_address"]);
    NOVALET_ASSIGN(Json network, network_of(context, port, networks));
    vif.set("network", std::move(network));
    vif.set("type", port["binding:vif_type"]);
    vif.set("details", details.is_object() ? details : Json::object());
    vif.set("devname", ("tap" + id).substr(0, device_name_length));
    vif.set("ovs_interfaceid", bridge_of(port, {}).second ? Json(id) : Json());
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

Result<Json> Neutron::info_of(const rpc::Context& context,
                              const std::vector<std::pair<Json, bool>>& ports,
                              const NetworksById& networks) {
    Json info = Json::array();
    for (const auto& [port, preserve_on_delete] : ports) {
        NOVALET_ASSIGN(Json vif, vif_of(context, port, preserve_on_delete, networks));
        info.push_back(std::move(vif));
    }
    return info;
}

Result<Json> Neutron::info_in_order(const rpc::Context& context,
                                    const Json& ports,
                                    const Json& cached,
                                    const std::vector<std::string>& order) {
    std::vector<std::pair<Json, bool>> listed;
    std::set<std::string> wanted;
    for (const auto& id : order) {
        const Json* port = find_by_id(ports, id);
        if (port == nullptr)
            continue;
        const Json* before = find_by_id(cached, id);
        listed.emplace_back(*port, before != nullptr && (*before)["preserve_on_delete"].as_bool());
        wanted.insert((*port)["network_id"].as_string());
    }
    NOVALET_ASSIGN(const auto known, networks(context, As::Agent, wanted));
    NOVALET_ASSIGN(Json info, info_of(context, listed, known));
    for (const auto& vif : info.items())
        if (const Json* before = find_by_id(cached, vif["id"].as_string()))
            tell_if_kind_changed(*before, vif);
    return info;
}

Result<Json>
Neutron::network_info(const rpc::Context& context, const NetworkOwner& owner, const Json& cached) {
    NOVALET_ASSIGN(const Json ports, ports_of(context, owner));
    tell_who_left(cached, ports, owner.instance_uuid);
    return info_in_order(context, ports, cached, ids_of(cached));
}

Result<Json> Neutron::network_info_with(const rpc::Context& context,
                                        const NetworkOwner& owner,
                                        const Json& cached,
                                        const std::string& port_id) {
    NOVALET_ASSIGN(const Json ports, ports_of(context, owner));
    if (cached.empty())
        return Json::array();
    NOVALET_ASSIGN(Json refreshed, info_in_order(context, ports, cached, {port_id}));
    Json info = Json::array();
    for (const auto& vif : cached.items())
        if (vif["id"].as_string() != port_id)
            info.push_back(vif);
        else if (!refreshed.empty())
            info.push_back(refreshed.items().front());
    if (refreshed.empty())
        log::info("a port is no longer the instance's and leaves its network info",
                  {{"port", port_id}, {"instance", owner.instance_uuid}});
    else if (find_by_id(cached, port_id) == nullptr)
        info.push_back(refreshed.items().front());
    return info;
}

Result<Json> Neutron::whole_network_info(const rpc::Context& context,
                                         const NetworkOwner& owner,
                                         const Json& cached,
                                         const std::vector<std::string>& recorded) {
    NOVALET_ASSIGN(const Json ports, ports_of(context, owner));
    tell_who_left(cached, ports, owner.instance_uuid);
    std::vector<std::string> order;
    for (const auto& ids : {recorded, ids_of(cached), ids_of(ports)})
        for (const auto& id : ids)
            if (std::find(order.begin(), order.end(), id) == order.end())
                order.push_back(id);
    return info_in_order(context, ports, cached, order);
}

} // namespace novalet::clients
