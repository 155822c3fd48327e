// The ports of a server or of one attached interface: looked at, made, bound, or all undone
// (reference 06 §1.2, nova.network.neutron.API.allocate_for_instance).
#include "agent/clients/neutron.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"

#include <algorithm>

namespace novalet::clients {
namespace {

constexpr Seconds longest_pause{30};

Failure port_not_found(const std::string& id) {
    return fail_as("PortNotFound", Code::NotFound, cat("Port id ", id, " could not be found."));
}

Failure binding_failed(const std::string& id, const std::string& host) {
    return fail_as("PortBindingFailed",
                   Code::Conflict,
                   cat("Binding failed for port ",
                       id,
                       ", please check neutron logs for more information (is an L2 agent alive on "
                       "host '",
                       host,
                       "'?)."));
}

bool badly_bound(const Json& port) {
    return port["binding:vif_type"].as_string() == "binding_failed";
}

Failure cannot_apply_groups(const Json& network) {
    return fail_as("SecurityGroupCannotBeApplied",
                   Code::InvalidArgument,
                   cat("Network requires port_security_enabled and subnet associated in order to "
                       "apply security groups (network ",
                       network["id"].as_string(),
                       ")."));
}

Error create_error(const HttpResponse& response, const NetworkWish& wish) {
    const std::string type = neutron_type(response);
    const auto named = [](const char* name, Code code, std::string text) {
        return fail_as(name, code, std::move(text)).value();
    };
    if (type == "IpAddressInUse" || type == "IpAddressAlreadyAllocated")
        return named("FixedIpAlreadyInUse",
                     Code::Conflict,
                     cat("Fixed IP ", wish.fixed_ip, " is already in use."));
    if (type == "OverQuota")
        return named("PortLimitExceeded",
                     Code::ResourceExhausted,
                     cat("Maximum number of ports exceeded: ", cut_utf8(response.body, 200)));
    if (type.starts_with("IpAddressGenerationFailure"))
        return named("NoMoreFixedIps",
                     Code::ResourceExhausted,
                     cat("No fixed IP addresses available for network: ", wish.network_id));
    if (type == "InvalidIpForNetwork" || type == "InvalidIpForSubnet")
        return named("InvalidInput",
                     Code::InvalidArgument,
                     cat("Invalid input received: Fixed IP ",
                         wish.fixed_ip,
                         " is not a valid ip address for network ",
                         wish.network_id,
                         "."));
    return neutron_error("new port on network " + wish.network_id, response, false);
}

/// Whether the same call may go well later.
bool may_pass(const Error& error) {
    return error.code == Code::Unavailable || error.code == Code::Timeout ||
           error.code == Code::Conflict || error.code == Code::ResourceExhausted ||
           error.code == Code::Remote;
}

} // namespace

/// One attempt.
class Neutron::Allocation {
  public:
    Allocation(Neutron& neutron,
               const rpc::Context& context,
               const NetworkOwner& owner,
               PortRecords& records)
        : neutron_(neutron), context_(context), owner_(owner), records_(records) {}

    Result<Json> run(std::vector<NetworkWish> wishes, const std::vector<std::string>& groups) {
        auto info = attempt(std::move(wishes), groups);
        if (!info)
            undo();
        return info;
    }

  private:
    /// One port on its way.
    struct Step {
        NetworkWish wish;
        Json port;             ///< as Neutron told last
        bool touched = false;  ///< bound, or tried
        bool recorded = false; ///< has a VirtualInterface
        [[nodiscard]] bool ours() const { return wish.port_id.empty(); }
        [[nodiscard]] const std::string& id() const { return port["id"].as_string(); }
    };

    Result<Json> attempt(std::vector<NetworkWish> wishes, const std::vector<std::string>& groups);
    Result<Json> requested_port(const std::string& id);
    Result<void> look_at_ports(std::vector<NetworkWish> wishes);
    Result<void> look_at_networks(bool nothing_asked, bool automatic);
    Result<void> choose_network(bool nothing_asked, bool automatic);
    Result<Json> automatic_network();
    Result<void> check_external() const;
    Result<std::vector<std::string>> group_ids(const std::vector<std::string>& names);
    Result<void> create(Step& step, const std::vector<std::string>& groups);
    Result<void> bind(Step& step);
    Result<bool> wants_bandwidth(const Json& port);
    Result<Json> providers_of(const Json& port);
    Result<void> name_in_external_dns(const Step& step);
    void undo();

    Neutron& neutron_;
    const rpc::Context& context_;
    const NetworkOwner& owner_;
    PortRecords& records_;
    std::vector<Step> steps_;
    NetworksById networks_;
};

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
    if (badly_bound(port))
        return binding_failed(id, port["binding:host_id"].as_string());
    return port;
}

Result<void> Neutron::Allocation::look_at_ports(std::vector<NetworkWish> wishes) {
    for (auto& wish : wishes) {
        Step step{std::move(wish), {}};
        if (!step.ours()) {
            NOVALET_ASSIGN(step.port, requested_port(step.wish.port_id));
            step.wish.network_id = step.port["network_id"].as_string();
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

Result<void> Neutron::Allocation::create(Step& step, const std::vector<std::string>& groups) {
    const Json& network = networks_[step.wish.network_id];
    if (network["port_security_enabled"].as_bool(true) ? network["subnets"].empty()
                                                       : !groups.empty())
        return cannot_apply_groups(network);
    if (!step.ours())
        return {};
    Json port = Json::object();
    port.set("device_id", owner_.instance_uuid);
    port.set("network_id", step.wish.network_id);
    port.set("admin_state_up", true);
    port.set("tenant_id", owner_.project_id);
    if (!step.wish.fixed_ip.empty()) {
        Json fixed = Json::object();
        fixed.set("ip_address", step.wish.fixed_ip);
        port.set("fixed_ips", Json::Array{std::move(fixed)});
    }
    for (const auto& group : groups)
        port.member("security_groups").push_back(group);
    Call call;
    call.method = "POST";
    call.path = "/ports";
    call.body.set("port", std::move(port));
    NOVALET_ASSIGN(const auto response, neutron_.send(context_, As::User, std::move(call)));
    if (!response.ok())
        return Failure(create_error(response, step.wish));
    NOVALET_ASSIGN(Json body, Json::parse(response.body));
    step.port = std::move(body.member("port")); // from here on undo() deletes it
    NOVALET_ASSIGN(const bool bandwidth, wants_bandwidth(step.port));
    if (bandwidth)
        return fail_as("NetworksWithQoSPolicyNotSupported",
                       Code::Unsupported,
                       cat("Using networks with QoS policy is not supported for instance ",
                           owner_.instance_uuid,
                           ". (Network ID is ",
                           step.wish.network_id,
                           ")"));
    if (badly_bound(step.port))
        return binding_failed(step.id(), owner_.host);
    return {};
}

Result<void> Neutron::Allocation::bind(Step& step) {
    Json changes = Json::object();
    changes.set("device_id", owner_.instance_uuid);
    changes.set("device_owner", "compute:" + owner_.availability_zone);
    changes.set("binding:host_id", owner_.host);
    if (!step.ours()) {
        Json profile = step.port["binding:profile"];
        NOVALET_ASSIGN(const bool bandwidth, wants_bandwidth(step.port));
        if (bandwidth) {
            NOVALET_ASSIGN(Json allocation, providers_of(step.port));
            profile.set("allocation", std::move(allocation));
        }
        if (!profile.empty())
            changes.set("binding:profile", std::move(profile));
    }
    NOVALET_ASSIGN(const bool dns, neutron_.has_extension(context_, "dns-integration"));
    const bool external_dns =
        dns && !networks_[step.wish.network_id]["dns_domain"].as_string().empty();
    if (dns && !external_dns)
        changes.set("dns_name", owner_.hostname);
    step.touched = true;
    NOVALET_ASSIGN(Json bound,
                   neutron_.update_port(context_, As::Agent, step.id(), std::move(changes)));
    if (badly_bound(bound))
        return binding_failed(step.id(), owner_.host);
    step.port = std::move(bound);
    NOVALET_TRY(
        records_.port_taken(step.id(), step.port["mac_address"].as_string(), step.wish.tag));
    step.recorded = true;
    return external_dns ? name_in_external_dns(step) : Result<void>();
}

/// The record is in the user's own zone, so the user's token sets the name, in a step of its own.
Result<void> Neutron::Allocation::name_in_external_dns(const Step& step) {
    Json changes = Json::object();
    changes.set("dns_name", owner_.hostname);
    const auto named = neutron_.update_port(context_, As::User, step.id(), std::move(changes));
    if (!named && named.error().code == Code::InvalidArgument)
        return fail_as("InvalidInput",
                       Code::InvalidArgument,
                       cat("Invalid input received: Instance hostname ",
                           owner_.hostname,
                           " is not a valid DNS name"));
    if (!named)
        return Failure(named.error());
    return {};
}

Result<Json> Neutron::Allocation::attempt(std::vector<NetworkWish> wishes,
                                          const std::vector<std::string>& groups) {
    const bool nothing_asked = wishes.empty();
    const bool automatic = wishes.size() == 1 && wishes.front().network_id == "auto";
    const bool unspecified =
        wishes.size() == 1 && wishes.front().network_id.empty() && wishes.front().port_id.empty();
    if (automatic || unspecified)
        wishes.clear();
    NOVALET_TRY(look_at_ports(std::move(wishes)));
    NOVALET_TRY(look_at_networks(nothing_asked, automatic));
    if (steps_.empty())
        return Json::array();
    NOVALET_ASSIGN(const auto ids, group_ids(groups));
    for (auto& step : steps_)
        NOVALET_TRY(create(step, ids));
    for (auto& step : steps_)
        NOVALET_TRY(bind(step));
    // As Neutron has them now: other ports' addresses and states may have come meanwhile.
    NOVALET_ASSIGN(const Json ports, neutron_.ports_of(context_, owner_));
    std::vector<std::pair<Json, bool>> handled;
    for (const auto& step : steps_)
        for (const auto& port : ports.items())
            if (port["id"].as_string() == step.id())
                handled.emplace_back(port, !step.ours());
    return neutron_.info_of(context_, handled, networks_);
}

void Neutron::Allocation::undo() {
    const auto note = [&](const Step& step, const char* what, const Result<void>& done) {
        if (!done)
            log::error("left over from a failed network allocation",
                       {{"what", what},
                        {"port", step.id()},
                        {"instance", owner_.instance_uuid},
                        {"error", done.error().text}});
    };
    for (const auto& step : steps_) {
        if (step.recorded)
            note(step, "VirtualInterface", records_.port_given_back(step.id()));
        if (step.ours() && !step.id().empty())
            note(step, "port", neutron_.delete_port(context_, step.id()));
        if (!step.ours() && step.touched)
            note(step, "binding", neutron_.unbind(context_, step.id()));
    }
}

Result<Json> Neutron::allocate(const rpc::Context& context,
                               const NetworkOwner& owner,
                               const std::vector<NetworkWish>& wishes,
                               const std::vector<std::string>& security_groups,
                               PortRecords& records) {
    if (!is_uuid(owner.instance_uuid) || owner.project_id.empty())
        return fail_as(
            "InvalidInput",
            Code::InvalidArgument,
            cat("Invalid input received: empty project id for instance ", owner.instance_uuid));
    Seconds wait{1};
    for (unsigned attempt = 0;; ++attempt) {
        auto info = Allocation(*this, context, owner, records).run(wishes, security_groups);
        if (info || attempt >= options_.allocate_retries || !may_pass(info.error()))
            return info;
        log::warning("network allocation failed and is tried again",
                     {{"instance", owner.instance_uuid},
                      {"attempt", attempt + 1},
                      {"error", info.error().text}});
        if (!service_.pause(wait))
            return info;
        wait = std::min(2 * wait, longest_pause);
    }
}

} // namespace novalet::clients
