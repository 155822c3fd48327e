// What all of Neutron's verbs stand on, and ports let go or bound anew. Allocation is in
// neutron_allocation.cpp and neutron_wishes.cpp, the NetworkInfo document in network_info.cpp.
#include "agent/clients/neutron_allocation.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"

#include <array>

namespace novalet::clients {
namespace {

constexpr Seconds extension_lifetime{600};

/// Keys of binding:profile that a host left there.
constexpr std::array host_profile_keys{"pci_vendor_info",
                                       "pci_slot",
                                       "allocation",
                                       "arq_uuid",
                                       "physical_network",
                                       "card_serial_number",
                                       "vf_num",
                                       "pf_mac_address",
                                       "device_mac_address"};

std::string port_path(const std::string& id) {
    return "/ports/" + percent_encode(id);
}

} // namespace

std::string neutron_type(const HttpResponse& response) {
    const auto parsed = Json::parse(response.body);
    return parsed ? (*parsed)["NeutronError"]["type"].as_string() : std::string();
}

Error neutron_error(const std::string& what, const HttpResponse& response, bool as_agent) {
    Error error = unexpected_status(what, response);
    if (response.status == 401 || response.status == 403) {
        error.module = "nova.exception";
        error.exception = response.status == 403 ? "Forbidden"
                          : as_agent             ? "NeutronAdminCredentialConfigurationInvalid"
                                                 : "Unauthorized";
    }
    return error;
}

std::string query(const std::vector<std::pair<std::string, std::string>>& parameters) {
    std::string out;
    for (const auto& [name, value] : parameters)
        out += cat(out.empty() ? '?' : '&', name, '=', percent_encode(value));
    return out;
}

Neutron::Neutron(ServiceClient service, NeutronOptions options)
    : service_(std::move(service)), options_(std::move(options)) {}

Result<HttpResponse> Neutron::send(const rpc::Context& context, As who, Call call) {
    call.path = "/v2.0" + call.path;
    return who == As::Agent ? service_.as_agent(context, std::move(call))
                            : service_.as_user(context, std::move(call));
}

Result<Json> Neutron::get(const rpc::Context& context, As who, const std::string& path) {
    const std::string what = "Neutron GET " + path.substr(0, path.find('?'));
    Call call;
    call.path = path;
    const auto response = send(context, who, std::move(call));
    if (response && !response->ok())
        return Failure(neutron_error(what, *response, who == As::Agent));
    return json_of(what, response);
}

Result<bool> Neutron::has_extension(const rpc::Context& context, const std::string& alias) {
    {
        const std::lock_guard lock(mutex_);
        if (extensions_read_ && *extensions_read_ + extension_lifetime > system_clock().monotonic())
            return extensions_.contains(alias);
    }
    NOVALET_ASSIGN(const Json body, get(context, As::Agent, "/extensions"));
    std::set<std::string> aliases;
    for (const auto& extension : body["extensions"].items())
        aliases.insert(extension["alias"].as_string());
    const bool found = aliases.contains(alias);
    const std::lock_guard lock(mutex_);
    extensions_ = std::move(aliases);
    extensions_read_ = system_clock().monotonic();
    return found;
}

Result<Neutron::NetworksById>
Neutron::networks(const rpc::Context& context, As who, const std::set<std::string>& ids) {
    NetworksById out;
    std::vector<std::pair<std::string, std::string>> wanted;
    for (const auto& id : ids)
        wanted.emplace_back("id", id);
    if (wanted.empty()) // without an id Neutron would list all of them
        return out;
    NOVALET_ASSIGN(const Json body, get(context, who, "/networks" + query(wanted)));
    for (const auto& network : body["networks"].items())
        out[network["id"].as_string()] = network;
    return out;
}

Result<Json>
Neutron::update_port(const rpc::Context& context, As who, const std::string& id, Json changes) {
    const std::string mac = changes["mac_address"].as_string();
    Call call;
    call.method = "PUT";
    call.path = port_path(id);
    call.body.set("port", std::move(changes));
    NOVALET_ASSIGN(const auto response, send(context, who, std::move(call)));
    if (!response.ok()) {
        const std::string type = neutron_type(response);
        if (type == "MacAddressInUse")
            return fail_as(
                "PortInUse", Code::Conflict, cat("Port ", mac, " is still in use (its MAC)."));
        if (type == "HostNotCompatibleWithFixedIps")
            return fail_as(
                "FixedIpInvalidOnHost",
                Code::Conflict,
                cat("The fixed IP associated with port ", id, " is not compatible with the host."));
        return Failure(neutron_error("update of port " + id, response, who == As::Agent));
    }
    NOVALET_ASSIGN(Json body, Json::parse(response.body));
    return std::move(body.member("port"));
}

Result<void> Neutron::delete_port(const rpc::Context& context, const std::string& id) {
    Call call;
    call.method = "DELETE";
    call.path = port_path(id);
    NOVALET_ASSIGN(const auto response, send(context, As::User, std::move(call)));
    if (response.ok() || response.status == 404)
        return {};
    return Failure(neutron_error("deletion of port " + id, response, false));
}

Result<void> Neutron::clear_dns_name(const rpc::Context& context, const std::string& id) {
    Json changes = Json::object();
    changes.set("dns_name", "");
    // With the user's token: the record is in the user's own zone of the external DNS service.
    const auto cleared = update_port(context, As::User, id, std::move(changes));
    if (!cleared && cleared.error().code != Code::NotFound)
        return Failure(cleared.error());
    return {};
}

Result<void> Neutron::unbind(const rpc::Context& context, const std::string& id) {
    // As the agent: other users do not see the profile, and would empty it.
    const auto shown =
        get(context,
            As::Agent,
            port_path(id) + query({{"fields", "binding:profile"}, {"fields", "network_id"}}));
    if (!shown && shown.error().code == Code::NotFound)
        return {};
    if (!shown)
        return Failure(shown.error());
    const Json& port = (*shown)["port"];
    Json profile = port["binding:profile"].is_object() ? port["binding:profile"] : Json::object();
    for (const char* key : host_profile_keys)
        profile.erase(key);
    Json changes = Json::object();
    changes.set("binding:host_id", nullptr);
    changes.set("device_id", "");
    changes.set("device_owner", "");
    changes.set("binding:profile", std::move(profile));
    NOVALET_ASSIGN(const bool dns, has_extension(context, "dns-integration"));
    bool external_dns = false;
    if (dns) {
        const auto network = get(context,
                                 As::Agent,
                                 cat("/networks/",
                                     percent_encode(port["network_id"].as_string()),
                                     query({{"fields", "dns_domain"}})));
        external_dns = network && !(*network)["network"]["dns_domain"].as_string().empty();
        if (!external_dns)
            changes.set("dns_name", "");
    }
    // First: a port that is unbound is not found again by who repeats this.
    Result<void> cleared;
    if (external_dns)
        cleared = clear_dns_name(context, id);
    const auto updated = update_port(context, As::Agent, id, std::move(changes));
    if (!updated && updated.error().code != Code::NotFound)
        return Failure(updated.error());
    return cleared;
}

Result<std::set<std::string>> Neutron::deallocate(const rpc::Context& context,
                                                  const NetworkOwner& owner,
                                                  const std::set<std::string>& keep) {
    if (!is_uuid(owner.instance_uuid)) // an empty id would mean all ports that nobody uses
        return fail(Code::Internal, cat("'", owner.instance_uuid, "' is no uuid of an instance"));
    NOVALET_ASSIGN(const Json body,
                   get(context, As::User, "/ports" + query({{"device_id", owner.instance_uuid}})));
    Result<void> done;
    std::set<std::string> still_bound;
    for (const auto& port : body["ports"].items()) {
        const auto& id = port["id"].as_string();
        if (keep.contains(id)) {
            auto freed = unbind(context, id);
            if (freed)
                continue;
            still_bound.insert(id);
            log::error(
                "a port of the user could not be unbound from its deleted instance",
                {{"port", id}, {"instance", owner.instance_uuid}, {"error", freed.error().text}});
            if (done && effect_unknown(freed.error()))
                done = std::move(freed);
            continue;
        }
        auto removed = delete_port(context, id);
        if (!removed)
            log::warning(
                "a port could not be deleted",
                {{"port", id}, {"instance", owner.instance_uuid}, {"error", removed.error().text}});
        if (!removed && done) // the others are tried all the same
            done = std::move(removed);
    }
    if (!done)
        return Failure(done.error());
    return still_bound;
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
        if (port["binding:profile"].contains("migrating_to")) {
            Json profile = port["binding:profile"];
            profile.erase("migrating_to");
            changes.set("binding:profile", std::move(profile));
        }
        log::info("a port is bound to this host",
                  {{"port", port["id"].as_string()},
                   {"instance", owner.instance_uuid},
                   {"was_on", port["binding:host_id"].as_string()},
                   {"vif_type", vif_type}});
        NOVALET_ASSIGN(const Json bound,
                       update_port(context, As::Agent, port["id"].as_string(), std::move(changes)));
        if (badly_bound(bound))
            log::error("a port cannot be bound to this host; is its L2 agent alive?",
                       {{"port", port["id"].as_string()}, {"instance", owner.instance_uuid}});
    }
    return {};
}

} // namespace novalet::clients
