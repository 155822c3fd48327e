#include "agent/clients/placement.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

namespace novalet::clients {

using scheduler_hooks::model::Inventories;
using scheduler_hooks::model::Traits;

namespace {

constexpr unsigned attempts = 4; // nova/scheduler/client/report.py retries conflicts as often

std::string joined(const Traits& traits) {
    return join({traits.begin(), traits.end()}, ",");
}

bool has_code(const HttpResponse& response, const char* code) {
    return response.body.find(code) != std::string::npos;
}

} // namespace

Placement::Placement(ServiceClient service) : service_(std::move(service)) {}

Result<HttpResponse> Placement::send(const rpc::Context& context,
                                     const char* microversion,
                                     const std::string& method,
                                     const std::string& path,
                                     Json body) {
    ServiceClient::Call call;
    call.method = method;
    call.path = path;
    call.body = std::move(body);
    call.headers["OpenStack-API-Version"] = cat("placement ", microversion);
    return service_.as_agent(context, std::move(call));
}

Result<Placement::Provider> Placement::provider(const rpc::Context& context,
                                                const std::string& uuid) {
    NOVALET_ASSIGN(const Json body,
                   json_of("resource provider",
                           send(context, "1.14", "GET", "/resource_providers?in_tree=" + uuid)));
    for (const auto& item : body["resource_providers"].items())
        if (item["uuid"].as_string() == uuid)
            return Provider{uuid, item["name"].as_string(), item["generation"].as_int()};
    return fail(Code::NotFound, cat("Placement has no resource provider ", uuid));
}

Result<Placement::Provider> Placement::ensure_provider(const rpc::Context& context,
                                                       const std::string& uuid,
                                                       const std::string& name) {
    auto found = provider(context, uuid);
    if (found || found.error().code != Code::NotFound)
        return found;
    Json body = Json::object();
    body.set("uuid", uuid);
    body.set("name", name);
    NOVALET_ASSIGN(const auto response,
                   send(context, "1.20", "POST", "/resource_providers", std::move(body)));
    if (response.status == 409 && has_code(response, "Conflicting resource provider name"))
        return fail_as("ResourceProviderCreationFailed",
                       Code::AlreadyExists,
                       cat("Placement has another resource provider named '",
                           name,
                           "' (an earlier installation of this host?); delete it with `openstack "
                           "resource provider delete`, its inventory is not ours"));
    if (response.status == 409)
        return provider(context, uuid);
    NOVALET_ASSIGN(const Json made, json_of("create resource provider", response));
    log::info("resource provider created", {{"provider", uuid}, {"name", name}});
    return Provider{uuid, name, made["generation"].as_int()};
}

Result<Placement::Versioned<Inventories>> Placement::inventories(const rpc::Context& context,
                                                                 const std::string& uuid) {
    NOVALET_ASSIGN(
        const Json body,
        json_of("inventories",
                send(context, "1.0", "GET", cat("/resource_providers/", uuid, "/inventories"))));
    NOVALET_ASSIGN(auto value, scheduler_hooks::model::inventories_from_json(body["inventories"]));
    return Versioned<Inventories>{std::move(value), body["resource_provider_generation"].as_int()};
}

Result<Placement::Versioned<Traits>> Placement::traits(const rpc::Context& context,
                                                       const std::string& uuid) {
    NOVALET_ASSIGN(
        const Json body,
        json_of("traits",
                send(context, "1.6", "GET", cat("/resource_providers/", uuid, "/traits"))));
    NOVALET_ASSIGN(auto value, scheduler_hooks::model::traits_from_json(body["traits"]));
    return Versioned<Traits>{std::move(value), body["resource_provider_generation"].as_int()};
}

Result<Traits> Placement::known_traits(const rpc::Context& context, const Traits& names) {
    NOVALET_ASSIGN(
        const Json body,
        json_of("known traits", send(context, "1.6", "GET", "/traits?name=in:" + joined(names))));
    return scheduler_hooks::model::traits_from_json(body["traits"]);
}

Result<std::int64_t> Placement::put_inventories(const rpc::Context& context,
                                                const std::string& uuid,
                                                const Inventories& inventories,
                                                std::int64_t generation) {
    Json body = Json::object();
    body.set("resource_provider_generation", generation);
    body.set("inventories", scheduler_hooks::model::to_json(inventories));
    NOVALET_ASSIGN(const Json answer,
                   json_of("put inventories",
                           send(context,
                                "1.26",
                                "PUT",
                                cat("/resource_providers/", uuid, "/inventories"),
                                std::move(body))));
    return answer["resource_provider_generation"].as_int();
}

Result<std::int64_t> Placement::put_traits(const rpc::Context& context,
                                           const std::string& uuid,
                                           const Traits& traits,
                                           std::int64_t generation) {
    Json body = Json::object();
    body.set("resource_provider_generation", generation);
    body.set("traits", scheduler_hooks::model::traits_to_json(traits));
    NOVALET_ASSIGN(const Json answer,
                   json_of("put traits",
                           send(context,
                                "1.6",
                                "PUT",
                                cat("/resource_providers/", uuid, "/traits"),
                                std::move(body))));
    return answer["resource_provider_generation"].as_int();
}

Result<std::vector<std::string>> Placement::consumers(const rpc::Context& context,
                                                      const std::string& provider) {
    NOVALET_ASSIGN(
        const Json body,
        json_of(
            "allocations of the provider",
            send(context, "1.0", "GET", cat("/resource_providers/", provider, "/allocations"))));
    std::vector<std::string> out;
    for (const auto& [consumer, allocation] : body["allocations"].members())
        out.push_back(consumer);
    return out;
}

Result<void> Placement::delete_allocation(const rpc::Context& context,
                                          const std::string& consumer) {
    NOVALET_ASSIGN(const auto response, send(context, "1.0", "DELETE", "/allocations/" + consumer));
    if (response.ok() || response.status == 404)
        return {};
    return Failure(unexpected_status("delete allocation of " + consumer, response));
}

ProviderSync::ProviderSync(Placement& placement,
                           std::string uuid,
                           std::string name,
                           Seconds refresh_after)
    : placement_(placement), uuid_(std::move(uuid)), name_(std::move(name)),
      refresh_after_(refresh_after) {}

void ProviderSync::forget() {
    const std::lock_guard lock(mutex_);
    known_.reset();
}

Result<ProviderSync::Known> ProviderSync::read(const rpc::Context& context) {
    NOVALET_TRY(placement_.ensure_provider(context, uuid_, name_));
    NOVALET_ASSIGN(auto inventories, placement_.inventories(context, uuid_));
    NOVALET_ASSIGN(auto traits, placement_.traits(context, uuid_));
    return Known{std::max(inventories.generation, traits.generation),
                 std::move(inventories.value),
                 std::move(traits.value),
                 system_clock().monotonic()};
}

Result<void> ProviderSync::attempt(const rpc::Context& context, const Wish& wish) {
    const auto now = system_clock().monotonic();
    if (!known_ || (refresh_after_ > Seconds(0) && known_->at + refresh_after_ <= now)) {
        NOVALET_ASSIGN(known_, read(context));
    }
    const ProviderWish wanted = wish(known_->inventories, known_->traits);
    if (wanted.inventories != known_->inventories) {
        NOVALET_ASSIGN(
            known_->generation,
            placement_.put_inventories(context, uuid_, wanted.inventories, known_->generation));
        known_->inventories = wanted.inventories;
        log::info("inventory written to Placement", {{"provider", uuid_}});
    }
    if (wanted.traits == known_->traits)
        return {};
    // Only traits that this Placement knows can be set; what it lacks is left out.
    NOVALET_ASSIGN(const auto allowed, placement_.known_traits(context, wanted.traits));
    if (allowed != known_->traits) {
        NOVALET_ASSIGN(known_->generation,
                       placement_.put_traits(context, uuid_, allowed, known_->generation));
        log::info("traits written to Placement", {{"provider", uuid_}, {"traits", allowed.size()}});
    }
    known_->traits = wanted.traits;
    return {};
}

Result<void> ProviderSync::sync(const rpc::Context& context, const Wish& wish) {
    const std::lock_guard lock(mutex_);
    Result<void> done;
    for (unsigned i = 0; i < attempts; ++i) {
        done = attempt(context, wish);
        if (done)
            return done;
        known_.reset();
        if (done.error().code != Code::Conflict)
            return done;
    }
    return done;
}

} // namespace novalet::clients
