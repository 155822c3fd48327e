// What an allocation is asked for: requested ports, networks, security groups and bandwidth are
// looked at before anything is changed (nova.network.neutron.API.allocate_for_instance and its
// _validate_requested_port_ids, _validate_requested_network_ids, _process_security_groups).
#include "agent/clients/neutron_allocation.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"

#include <algorithm>

namespace novalet::clients {
namespace {

Failure port_not_found(const std::string& id) {
    return fail_as("PortNotFound", Code::NotFound, cat("Port id ", id, " could not be found."));
}

} // namespace

/// A port that the user brought: it must be free and of the same project.
Result<Json> Neutron::Allocation::requested_port(const std::string& id) {
    if (!is_uuid(id))
        return port_not_found(id);
    auto body = neutron_.get(context_, As::Agent, "/ports/" + id);
    if (!body && body.error().code == Code::NotFound)
        return port_not_found(id);
    if (!body)
        return Failure(body.error());
    Json port = std::move(body->member("port"));
    if (port["tenant_id"].as_string() != owner_.project_id)
        return fail_as("PortNotUsable",
                       Code::InvalidArgument,
                       cat("Port ", id, " not usable for instance ", owner_.instance_uuid, "."));
    // A port that is this instance's already was left so by an attempt that ended abruptly.
    const auto& user = port["device_id"].as_string();
    if (!user.empty() && user != owner_.instance_uuid)
        return fail_as("PortInUse", Code::Conflict, cat("Port ", id, " is still in use."));
    const auto& dns_name = port["dns_name"].as_string();
    if (!dns_name.empty() && dns_name != owner_.hostname)
        return fail_as("PortNotUsableDNS",
                       Code::InvalidArgument,
                       cat("Port ",
                           id,
                           " not usable for instance ",
                           owner_.instance_uuid,
                           ". Value ",
                           dns_name,
                           " assigned to dns_name attribute does not match instance's hostname ",
                           owner_.hostname));
    if (badly_bound(port) && user.empty()) // that of an earlier attempt is bound anew
        return binding_failed(id, port["binding:host_id"].as_string());
    return port;
}

Result<void> Neutron::Allocation::look_at_ports(std::vector<NetworkWish> wishes) {
    for (auto& wish : wishes) {
        Step step{std::move(wish), {}};
        if (!step.ours()) {
            NOVALET_ASSIGN(step.port, requested_port(step.wish.port_id));
            step.wish.network_id = step.port["network_id"].as_string();
            step.touched = step.port["device_id"].as_string() == owner_.instance_uuid;
        }
        steps_.push_back(std::move(step));
    }
    return {};
}

/// The project's network, made by Neutron when there is none ("get me a network").
Result<Json> Neutron::Allocation::automatic_network() {
    const auto unable = [&] {
        return fail_as(
            "UnableToAutoAllocateNetwork",
            Code::InvalidArgument,
            cat("Unable to automatically allocate a network for project ", owner_.project_id));
    };
    const auto topology = neutron_.get(
        context_, As::User, "/auto-allocated-topology/" + percent_encode(owner_.project_id));
    if (!topology && topology.error().code == Code::Conflict)
        return unable();
    if (!topology)
        return Failure(topology.error());
    const auto& id = (*topology)["auto_allocated_topology"]["id"].as_string();
    auto body = neutron_.get(context_, As::User, "/networks/" + percent_encode(id));
    if (!body && body.error().code == Code::NotFound)
        return unable();
    if (!body)
        return Failure(body.error());
    return std::move(body->member("network"));
}

/// Without a network asked for: the project's only one.
Result<void> Neutron::Allocation::choose_network(bool nothing_asked, bool automatic) {
    std::vector<std::pair<std::string, std::string>> own{{"tenant_id", owner_.project_id},
                                                         {"shared", "False"}};
    if (automatic) // one that is being made is not up yet
        own.emplace_back("admin_state_up", "True");
    for (const std::string& parameters : {query(own), query({{"shared", "True"}})}) {
        NOVALET_ASSIGN(const Json body, neutron_.get(context_, As::User, "/networks" + parameters));
        for (const auto& network : body["networks"].items())
            networks_[network["id"].as_string()] = network;
    }
    if (networks_.empty() && automatic) {
        NOVALET_ASSIGN(Json made, automatic_network());
        const std::string id = made["id"].as_string();
        networks_[id] = std::move(made);
    }
    if (networks_.empty() && nothing_asked)
        return {};
    if (networks_.empty())
        return fail_as("InterfaceAttachFailedNoNetwork",
                       Code::NotFound,
                       cat("No specific network was requested and none are available for project '",
                           owner_.project_id,
                           "'."));
    if (networks_.size() > 1)
        return fail_as("NetworkAmbiguous",
                       Code::InvalidArgument,
                       "Multiple possible networks found, use a Network ID to be more specific.");
    Step step;
    step.wish.network_id = networks_.begin()->first;
    steps_.push_back(std::move(step));
    return {};
}

Result<void> Neutron::Allocation::look_at_networks(bool nothing_asked, bool automatic) {
    std::set<std::string> asked;
    for (const auto& step : steps_)
        asked.insert(step.wish.network_id);
    if (asked.empty()) {
        NOVALET_TRY(choose_network(nothing_asked, automatic));
        return check_external();
    }
    NOVALET_ASSIGN(networks_, neutron_.networks(context_, As::User, asked));
    NOVALET_TRY(check_external());
    std::set<std::string> unseen; // of ports that somebody else made for the project
    for (const auto& step : steps_) {
        const auto& id = step.wish.network_id;
        if (networks_.contains(id))
            continue;
        if (step.ours())
            return fail_as(
                "NetworkNotFound", Code::NotFound, cat("Network ", id, " could not be found."));
        unseen.insert(id);
    }
    NOVALET_ASSIGN(auto others, neutron_.networks(context_, As::Agent, unseen));
    networks_.merge(others);
    return {};
}

/// Nova's default policy: only an administrator plugs into external networks that are not shared.
Result<void> Neutron::Allocation::check_external() const {
    if (context_.keys()["is_admin"].as_bool())
        return {};
    for (const auto& [id, network] : networks_)
        if (network["router:external"].as_bool() && !network["shared"].as_bool())
            return fail_as(
                "ExternalNetworkAttachForbidden",
                Code::Unauthorized,
                cat("It is not allowed to create an interface on external network ", id));
    return {};
}

/// Names or ids → ids; "default" alone leaves the choice to Neutron.
Result<std::vector<std::string>>
Neutron::Allocation::group_ids(const std::vector<std::string>& names) {
    std::vector<std::string> ids;
    if (names.empty() || (names.size() == 1 && names.front() == "default"))
        return ids;
    std::multimap<std::string, std::string> by_name;
    std::set<std::string> known;
    const auto read = [&](const char* name, const std::string& value) -> Result<void> {
        NOVALET_ASSIGN(
            const Json body,
            neutron_.get(context_,
                         As::User,
                         "/security-groups" +
                             query({{"fields", "id"}, {"fields", "name"}, {name, value}})));
        for (const auto& group : body["security_groups"].items())
            if (known.insert(group["id"].as_string()).second)
                by_name.emplace(group["name"].as_string(), group["id"].as_string());
        return {};
    };
    const auto is_known = [&](const std::string& name) {
        return known.contains(name) || by_name.contains(name);
    };
    NOVALET_TRY(read("tenant_id", owner_.project_id));
    if (!std::all_of(names.begin(), names.end(), is_known)) {
        NOVALET_ASSIGN(const bool shared,
                       neutron_.has_extension(context_, "security-groups-shared-filtering"));
        if (shared)
            NOVALET_TRY(read("shared", "True"));
    }
    for (const auto& name : names) {
        if (known.contains(name)) { // an id is unique, a name need not be
            ids.push_back(name);
            continue;
        }
        const auto found = by_name.equal_range(name);
        if (found.first == found.second)
            return fail_as("SecurityGroupNotFound",
                           Code::NotFound,
                           cat("Security group ", name, " not found."));
        if (std::next(found.first) != found.second)
            return fail_as("NoUniqueMatch",
                           Code::Conflict,
                           cat("Multiple security groups found matching '",
                               name,
                               "'. Use an ID to be more specific."));
        ids.push_back(found.first->second);
    }
    return ids;
}

Result<bool> Neutron::Allocation::wants_bandwidth(const Json& port) {
    const Json& wanted = port["resource_request"];
    if (wanted.empty())
        return false;
    NOVALET_ASSIGN(const bool groups,
                   neutron_.has_extension(context_, "port-resource-request-groups"));
    return !groups || !wanted["request_groups"].empty();
}

/// binding:profile.allocation: who provides the bandwidth that the port asks for.
Result<Json> Neutron::Allocation::providers_of(const Json& port) {
    const auto provider = [&](const std::string& requester) -> Result<std::string> {
        const auto found = owner_.providers.find(requester);
        if (found == owner_.providers.end())
            return fail_as(
                "PortUpdateFailed",
                Code::Unsupported,
                cat("Port update failed for port ",
                    port["id"].as_string(),
                    ": it asks for bandwidth, but the request names no resource provider "
                    "for '",
                    requester,
                    "'"));
        return found->second;
    };
    const auto& groups = port["resource_request"]["request_groups"].items();
    if (groups.empty()) {
        NOVALET_ASSIGN(const auto uuid, provider(port["id"].as_string()));
        return Json(uuid);
    }
    Json out = Json::object();
    for (const auto& group : groups) {
        NOVALET_ASSIGN(const auto uuid, provider(group["id"].as_string()));
        out.set(group["id"].as_string(), uuid);
    }
    return out;
}

} // namespace novalet::clients
