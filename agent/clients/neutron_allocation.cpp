// The ports of a server: made, taken, bound, or all undone
// (nova.network.neutron.API.allocate_for_instance).
#include "agent/clients/neutron_allocation.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"

#include <algorithm>

namespace novalet::clients {
namespace {

constexpr Seconds longest_pause{30};

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

/// The message bus or the conductor did not answer: the work is started over when they do.
bool records_unreachable(const Error& error) {
    return error.exception == "MessagingTimeout" || error.exception == "MessageDeliveryFailure";
}

/// Whether the same call may go well later.
bool may_pass(const Error& error) {
    if (records_unreachable(error))
        return false;
    return error.code == Code::Unavailable || error.code == Code::Timeout ||
           error.code == Code::Conflict || error.code == Code::ResourceExhausted ||
           error.code == Code::Remote;
}

} // namespace

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

bool effect_unknown(const Error& error) {
    return error.code == Code::Timeout || error.code == Code::Unavailable;
}

/// A port that Nova made for this server, and that none of the steps has: it gives its ports no
/// name, and no owner before they are bound.
bool Neutron::Allocation::is_left_over(const Json& port) const {
    const auto& id = port["id"].as_string();
    const auto& used_by = port["device_owner"].as_string();
    if (port["device_id"].as_string() != owner_.instance_uuid ||
        !port["name"].as_string().empty() || (!used_by.empty() && !used_by.starts_with("compute:")))
        return false;
    return std::none_of(steps_.begin(), steps_.end(), [&](const Step& step) {
        return step.id() == id || step.wish.port_id == id;
    });
}

/// Whether the port is what this step would make.
bool Neutron::Allocation::fits(const Step& step, const Json& port) const {
    if (port["network_id"].as_string() != step.wish.network_id || !is_left_over(port))
        return false;
    const auto& addresses = port["fixed_ips"].items();
    return step.wish.fixed_ip.empty() ||
           std::any_of(addresses.begin(), addresses.end(), [&](const Json& one) {
               return one["ip_address"].as_string() == step.wish.fixed_ip;
           });
}

Result<void> Neutron::Allocation::take_what_is_there() {
    const bool makes =
        std::any_of(steps_.begin(), steps_.end(), [](const Step& step) { return step.ours(); });
    bool began =
        std::any_of(steps_.begin(), steps_.end(), [](const Step& step) { return step.touched; });
    Json ports = Json::array();
    if (makes) {
        NOVALET_ASSIGN(ports, neutron_.ports_of(context_, owner_));
        for (const auto& port : ports.items())
            began = began || is_left_over(port);
    }
    if (!began)
        return {};
    log::info("an allocation of ports that ended early is carried on with",
              {{"instance", owner_.instance_uuid}});
    NOVALET_ASSIGN(const auto recorded, records_.taken());
    const auto take = [&](bool with_address, bool with_record) {
        for (auto& step : steps_) {
            if (!step.ours() || !step.port.is_null() || step.wish.fixed_ip.empty() == with_address)
                continue;
            for (const auto& port : ports.items()) {
                const auto record = recorded.find(port["id"].as_string());
                if ((record != recorded.end()) != with_record || !fits(step, port) ||
                    (with_record && !(record->second == step.wish.tag)))
                    continue;
                step.port = port;
                step.touched = true;
                break;
            }
        }
    };
    // The particular first: an address that was asked for, a tag that is recorded.
    for (const bool with_address : {true, false})
        for (const bool with_record : {true, false})
            take(with_address, with_record);
    for (auto& step : steps_)
        step.recorded = !step.port.is_null() && recorded.contains(step.id());
    return {};
}

Result<void> Neutron::Allocation::create(Step& step, const std::vector<std::string>& groups) {
    const Json& network = networks_[step.wish.network_id];
    if (network["port_security_enabled"].as_bool(true) ? network["subnets"].empty()
                                                       : !groups.empty())
        return cannot_apply_groups(network);
    if (!step.ours() || !step.port.is_null())
        return {};
    NOVALET_TRY(post(step, groups)); // from here on undo() deletes it
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

Result<void> Neutron::Allocation::post(Step& step, const std::vector<std::string>& groups) {
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
    const auto response = neutron_.send(context_, As::User, std::move(call));
    if (response && response->ok()) {
        NOVALET_ASSIGN(Json body, Json::parse(response->body));
        step.port = std::move(body.member("port"));
        return {};
    }
    Error error = response ? create_error(*response, step.wish) : response.error();
    if (effect_unknown(error))
        if (const auto made = made_without_an_answer(step); made && *made)
            return {};
    return Failure(std::move(error));
}

/// The port may be there although nobody said so.
Result<bool> Neutron::Allocation::made_without_an_answer(Step& step) {
    unanswered_ = true;
    NOVALET_ASSIGN(const Json ports, neutron_.ports_of(context_, owner_));
    for (const auto& port : ports.items())
        if (fits(step, port)) {
            log::info("Neutron made a port without an answer; it is taken",
                      {{"port", port["id"].as_string()}, {"instance", owner_.instance_uuid}});
            step.port = port;
            return true;
        }
    return false;
}

/// What one that was bound by an attempt that ended abruptly needs no more.
bool Neutron::Allocation::is_bound_here(const Step& step) const {
    const auto& type = step.port["binding:vif_type"].as_string();
    return step.port["device_id"].as_string() == owner_.instance_uuid &&
           step.port["device_owner"].as_string() == "compute:" + owner_.availability_zone &&
           step.port["binding:host_id"].as_string() == owner_.host && !type.empty() &&
           type != "unbound" && !badly_bound(step.port) && step.port["resource_request"].empty();
}

Result<Json> Neutron::Allocation::binding_of(const Step& step) {
    Json changes = Json::object();
    changes.set("device_id", owner_.instance_uuid);
    changes.set("device_owner", "compute:" + owner_.availability_zone);
    changes.set("binding:host_id", owner_.host);
    if (step.ours())
        return changes;
    Json profile = step.port["binding:profile"];
    NOVALET_ASSIGN(const bool bandwidth, wants_bandwidth(step.port));
    if (bandwidth) {
        NOVALET_ASSIGN(Json allocation, providers_of(step.port));
        profile.set("allocation", std::move(allocation));
    }
    if (!profile.empty())
        changes.set("binding:profile", std::move(profile));
    return changes;
}

Result<void> Neutron::Allocation::bind(Step& step) {
    NOVALET_ASSIGN(const bool dns, neutron_.has_extension(context_, "dns-integration"));
    const bool external_dns =
        dns && !networks_[step.wish.network_id]["dns_domain"].as_string().empty();
    if (!is_bound_here(step)) {
        NOVALET_ASSIGN(Json changes, binding_of(step));
        if (dns && !external_dns)
            changes.set("dns_name", owner_.hostname);
        step.touched = true;
        NOVALET_ASSIGN(Json bound,
                       neutron_.update_port(context_, As::Agent, step.id(), std::move(changes)));
        if (badly_bound(bound))
            return binding_failed(step.id(), owner_.host);
        step.port = std::move(bound);
    }
    if (!step.recorded)
        NOVALET_TRY(
            records_.port_taken(step.id(), step.port["mac_address"].as_string(), step.wish.tag));
    step.recorded = true;
    if (external_dns && step.port["dns_name"].as_string() != owner_.hostname)
        return name_in_external_dns(step);
    return {};
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
    NOVALET_TRY(take_what_is_there());
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
    remove_left_over(ports);
    return neutron_.info_of(context_, handled, networks_);
}

/// Ports that an earlier attempt made and that nobody needs; the next heal would give the guest a
/// card for each of them.
void Neutron::Allocation::remove_left_over(const Json& ports) {
    for (const auto& port : ports.items()) {
        const bool asked = std::any_of(steps_.begin(), steps_.end(), [&](const Step& step) {
            return step.ours() && step.wish.network_id == port["network_id"].as_string();
        });
        if (!asked || !is_left_over(port))
            continue;
        const auto& id = port["id"].as_string();
        log::warning("a port that an earlier attempt made is not needed and is removed",
                     {{"port", id}, {"instance", owner_.instance_uuid}});
        auto gone = neutron_.delete_port(context_, id);
        if (gone)
            gone = records_.port_given_back(id);
        if (!gone)
            log::error(
                "left over from an earlier network allocation",
                {{"port", id}, {"instance", owner_.instance_uuid}, {"error", gone.error().text}});
    }
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
    if (!unanswered_)
        return;
    const auto ports = neutron_.ports_of(context_, owner_);
    if (ports)
        return remove_left_over(*ports);
    log::error("whether a failed network allocation left a port cannot be told",
               {{"instance", owner_.instance_uuid}, {"error", ports.error().text}});
}

Result<Json> Neutron::Allocation::run(std::vector<NetworkWish> wishes,
                                      const std::vector<std::string>& groups) {
    auto info = attempt(std::move(wishes), groups);
    if (!info && !records_unreachable(info.error()))
        undo();
    return info;
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
