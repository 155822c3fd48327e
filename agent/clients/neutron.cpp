// Ports: made, taken, bound, removed. The NetworkInfo document is built in network_info.cpp.
#include "agent/clients/neutron.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"

#include <array>

namespace novalet::clients {
namespace {

constexpr Seconds extension_lifetime{600};

/// Keys of binding:profile that a host left there (reference 06 §1.3).
constexpr std::array host_profile_keys{"pci_vendor_info",
                                       "pci_slot",
                                       "allocation",
                                       "arq_uuid",
                                       "physical_network",
                                       "card_serial_number",
                                       "vf_num",
                                       "pf_mac_address",
                                       "device_mac_address"};

Json port_body(Json port) {
    Json body = Json::object();
    body.set("port", std::move(port));
    return body;
}

/// Neutron's error type ("IpAddressInUse", "OverQuota", …) of an answer.
std::string neutron_type(const HttpResponse& response) {
    const auto parsed = Json::parse(response.body);
    return parsed ? (*parsed)["NeutronError"]["type"].as_string() : std::string();
}

Error create_error(const HttpResponse& response, const NetworkWish& wish) {
    Error error = unexpected_status("create port on network " + wish.network_id, response);
    error.module = "nova.exception";
    const std::string type = neutron_type(response);
    if (type == "IpAddressInUse")
        error.exception = "FixedIpAlreadyInUse";
    else if (type == "OverQuota")
        error.exception = "PortLimitExceeded";
    else if (type.starts_with("IpAddressGenerationFailure"))
        error.exception = "NoMoreFixedIps";
    else if (type == "InvalidIpForNetwork" || type == "InvalidIpForSubnet")
        error.exception = "InvalidInput";
    return error;
}

} // namespace

Neutron::Neutron(ServiceClient service, NeutronOptions options)
    : service_(std::move(service)), options_(std::move(options)) {}

Result<Json> Neutron::get(const rpc::Context& context, const std::string& path) {
    Call call;
    call.path = "/v2.0" + path;
    return json_of("Neutron " + path.substr(0, path.find('?')),
                   service_.as_agent(context, std::move(call)));
}

Result<bool> Neutron::has_extension(const rpc::Context& context, const std::string& alias) {
    {
        const std::lock_guard lock(mutex_);
        if (extensions_read_ && *extensions_read_ + extension_lifetime > system_clock().monotonic())
            return extensions_.contains(alias);
    }
    NOVALET_ASSIGN(const Json body, get(context, "/extensions"));
    const std::lock_guard lock(mutex_);
    extensions_.clear();
    for (const auto& extension : body["extensions"].items())
        extensions_.insert(extension["alias"].as_string());
    extensions_read_ = system_clock().monotonic();
    return extensions_.contains(alias);
}

Result<Json> Neutron::ports_of(const rpc::Context& context, const NetworkOwner& owner) {
    NOVALET_ASSIGN(Json body, get(context, "/ports?device_id=" + owner.instance_uuid));
    return std::move(body.member("ports"));
}

/// Names → ids; "default" alone leaves the choice to Neutron.
Result<std::vector<std::string>> Neutron::security_group_ids(
    const rpc::Context& context, const NetworkOwner& owner, const std::vector<std::string>& names) {
    std::vector<std::string> ids;
    if (names.empty() || (names.size() == 1 && names.front() == "default"))
        return ids;
    NOVALET_ASSIGN(const Json body, get(context, "/security-groups?tenant_id=" + owner.project_id));
    for (const auto& name : names) {
        std::vector<std::string> matches;
        for (const auto& group : body["security_groups"].items())
            if (group["id"].as_string() == name || group["name"].as_string() == name)
                matches.push_back(group["id"].as_string());
        if (matches.empty())
            return fail_as("SecurityGroupNotFound",
                           Code::NotFound,
                           cat("Security group ", name, " not found."));
        if (matches.size() > 1)
            return fail_as("NoUniqueMatch",
                           Code::Conflict,
                           cat("Multiple security groups found matching '",
                               name,
                               "'. Use an ID to be more specific."));
        ids.push_back(matches.front());
    }
    return ids;
}

/// Without a wish: the project's only network, or none at all.
Result<std::vector<NetworkWish>> Neutron::resolve(const rpc::Context& context,
                                                  const NetworkOwner& owner,
                                                  std::vector<NetworkWish> wishes) {
    if (!wishes.empty())
        return wishes;
    std::set<std::string> ids;
    for (const std::string& query : {cat("/networks?tenant_id=", owner.project_id, "&shared=False"),
                                     std::string("/networks?shared=True")}) {
        NOVALET_ASSIGN(const Json body, get(context, query));
        for (const auto& network : body["networks"].items())
            if (!network["router:external"].as_bool() || network["shared"].as_bool())
                ids.insert(network["id"].as_string());
    }
    if (ids.size() > 1)
        return fail_as("NetworkAmbiguous",
                       Code::Conflict,
                       "Multiple possible networks found, use a Network ID to be more specific.");
    if (ids.size() == 1) {
        NetworkWish wish;
        wish.network_id = *ids.begin();
        wishes.push_back(std::move(wish));
    }
    return wishes;
}

Result<Json>
Neutron::update_port(const rpc::Context& context, const std::string& id, Json changes) {
    Call call;
    call.method = "PUT";
    call.path = "/v2.0/ports/" + id;
    call.body = port_body(std::move(changes));
    NOVALET_ASSIGN(const auto response, service_.as_agent(context, std::move(call)));
    if (!response.ok()) {
        Error error = unexpected_status("update port " + id, response);
        error.module = "nova.exception";
        const std::string type = neutron_type(response);
        if (type == "MacAddressInUse")
            error.exception = "PortInUse";
        else if (type == "HostNotCompatibleWithFixedIps")
            error.exception = "FixedIpInvalidOnHost";
        return Failure(std::move(error));
    }
    NOVALET_ASSIGN(Json body, Json::parse(response.body));
    return std::move(body.member("port"));
}

Result<void> Neutron::delete_port(const rpc::Context& context, const std::string& id) {
    Call call;
    call.method = "DELETE";
    call.path = "/v2.0/ports/" + id;
    NOVALET_ASSIGN(const auto response, service_.as_agent(context, std::move(call)));
    if (response.ok() || response.status == 404)
        return {};
    return Failure(unexpected_status("delete port " + id, response));
}

Result<void> Neutron::unbind(const rpc::Context& context, const Json& port) {
    Json profile = port["binding:profile"];
    for (const char* key : host_profile_keys)
        profile.erase(key);
    Json changes = Json::object();
    changes.set("binding:host_id", nullptr);
    changes.set("device_id", "");
    changes.set("device_owner", "");
    changes.set("binding:profile", profile.is_object() ? profile : Json::object());
    NOVALET_ASSIGN(const bool dns, has_extension(context, "dns-integration"));
    if (dns)
        changes.set("dns_name", "");
    const auto updated = update_port(context, port["id"].as_string(), std::move(changes));
    if (!updated && updated.error().code != Code::NotFound)
        return Failure(updated.error());
    return {};
}

/// A port that the user brought: it must be free and of the same project.
Result<Json> Neutron::take_port(const rpc::Context& context,
                                const NetworkOwner& owner,
                                const NetworkWish& wish) {
    if (!is_uuid(wish.port_id))
        return fail_as(
            "PortNotFound", Code::NotFound, cat("Port id ", wish.port_id, " could not be found."));
    auto body = get(context, "/ports/" + wish.port_id);
    if (!body && body.error().code == Code::NotFound)
        return fail_as(
            "PortNotFound", Code::NotFound, cat("Port id ", wish.port_id, " could not be found."));
    if (!body)
        return Failure(body.error());
    Json port = (*body)["port"];
    if (port["tenant_id"].as_string() != owner.project_id)
        return fail_as(
            "PortNotUsable",
            Code::InvalidArgument,
            cat("Port ", wish.port_id, " not usable for instance ", owner.instance_uuid, "."));
    const auto& user = port["device_id"].as_string();
    if (!user.empty() && user != owner.instance_uuid)
        return fail_as(
            "PortInUse", Code::Conflict, cat("Port ", wish.port_id, " is still in use."));
    if (port["binding:vif_type"].as_string() == "binding_failed")
        return fail_as("PortBindingFailed",
                       Code::Conflict,
                       cat("Binding failed for port ",
                           wish.port_id,
                           ", please check neutron logs for more information."));
    return port;
}

Result<Json> Neutron::make_port(const rpc::Context& context,
                                const NetworkOwner& owner,
                                const NetworkWish& wish,
                                const std::vector<std::string>& security_groups) {
    Json port = Json::object();
    port.set("device_id", owner.instance_uuid);
    port.set("network_id", wish.network_id);
    port.set("admin_state_up", true);
    port.set("tenant_id", owner.project_id);
    if (!wish.fixed_ip.empty()) {
        Json fixed = Json::object();
        fixed.set("ip_address", wish.fixed_ip);
        port.set("fixed_ips", Json::Array{fixed});
    }
    if (!security_groups.empty()) {
        Json groups = Json::array();
        for (const auto& group : security_groups)
            groups.push_back(group);
        port.set("security_groups", std::move(groups));
    }
    Call call;
    call.method = "POST";
    call.path = "/v2.0/ports";
    call.body = port_body(std::move(port));
    NOVALET_ASSIGN(const auto response, service_.as_user(context, std::move(call)));
    if (!response.ok())
        return Failure(create_error(response, wish));
    NOVALET_ASSIGN(Json body, Json::parse(response.body));
    return std::move(body.member("port"));
}

Result<Json> Neutron::allocate(const rpc::Context& context,
                               const NetworkOwner& owner,
                               std::vector<NetworkWish> wishes,
                               const std::vector<std::string>& security_groups,
                               PortRecords& records) {
    NOVALET_ASSIGN(wishes, resolve(context, owner, std::move(wishes)));
    if (wishes.empty())
        return Json::array();
    NOVALET_ASSIGN(const auto groups, security_group_ids(context, owner, security_groups));
    NOVALET_ASSIGN(const bool dns, has_extension(context, "dns-integration"));

    std::vector<std::string> made;
    std::vector<Json> taken;
    Json order = Json::array(); // a "cached" list that carries order and preserve_on_delete
    const auto work = [&]() -> Result<Json> {
        for (const auto& wish : wishes) {
            Json port;
            if (wish.port_id.empty()) {
                NOVALET_ASSIGN(port, make_port(context, owner, wish, groups));
                made.push_back(port["id"].as_string());
            } else {
                NOVALET_ASSIGN(port, take_port(context, owner, wish));
            }
            Json changes = Json::object();
            changes.set("device_id", owner.instance_uuid);
            changes.set("device_owner", "compute:" + owner.availability_zone);
            changes.set("binding:host_id", owner.host);
            if (dns && !owner.hostname.empty())
                changes.set("dns_name", owner.hostname);
            if (!wish.port_id.empty())
                taken.push_back(port);
            NOVALET_ASSIGN(port, update_port(context, port["id"].as_string(), std::move(changes)));
            if (port["binding:vif_type"].as_string() == "binding_failed")
                return fail_as("PortBindingFailed",
                               Code::Conflict,
                               cat("Binding failed for port ",
                                   port["id"].as_string(),
                                   ", please check neutron logs for more information (is an L2 "
                                   "agent alive on host '",
                                   owner.host,
                                   "'?)"));
            NOVALET_TRY(records.port_taken(
                port["id"].as_string(), port["mac_address"].as_string(), wish.tag));
            Json entry = Json::object();
            entry.set("id", port["id"]);
            entry.set("preserve_on_delete", !wish.port_id.empty());
            order.push_back(std::move(entry));
        }
        return network_info(context, owner, order, false);
    };
    auto info = work();
    if (info)
        return info;
    for (const auto& id : made)
        if (const auto deleted = delete_port(context, id); !deleted)
            log::error("a port that was made for a failed build could not be deleted",
                       {{"port", id}, {"error", deleted.error().text}});
    for (const auto& port : taken)
        if (const auto freed = unbind(context, port); !freed)
            log::error("a port could not be unbound after a failed build",
                       {{"port", port["id"].as_string()}, {"error", freed.error().text}});
    return info;
}

Result<void> Neutron::deallocate(const rpc::Context& context,
                                 const NetworkOwner& owner,
                                 const std::set<std::string>& keep) {
    NOVALET_ASSIGN(const Json ports, ports_of(context, owner));
    Result<void> done;
    for (const auto& port : ports.items()) {
        const auto& id = port["id"].as_string();
        auto removed = keep.contains(id) ? unbind(context, port) : delete_port(context, id);
        if (!removed && done) // the others are tried all the same
            done = std::move(removed);
    }
    return done;
}

Result<void> Neutron::bind_to_host(const rpc::Context& context, const NetworkOwner& owner) {
    NOVALET_ASSIGN(const Json ports, ports_of(context, owner));
    for (const auto& port : ports.items()) {
        const auto& vif_type = port["binding:vif_type"].as_string();
        if (port["binding:host_id"].as_string() == owner.host && vif_type != "unbound" &&
            vif_type != "binding_failed")
            continue;
        Json changes = Json::object();
        changes.set("binding:host_id", owner.host);
        changes.set("device_owner", "compute:" + owner.availability_zone);
        NOVALET_TRY(update_port(context, port["id"].as_string(), std::move(changes)));
    }
    return {};
}

} // namespace novalet::clients
