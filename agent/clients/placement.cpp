#include "agent/clients/placement.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

namespace novalet::clients {

using scheduler_hooks::model::Inventories;
using scheduler_hooks::model::Traits;

namespace {

constexpr unsigned attempts = 4; // nova/scheduler/client/report.py retries conflicts as often
constexpr Milliseconds conflict_pause{500};
constexpr Seconds longest_turn{300};

std::string joined(const Traits& traits) {
    std::vector<std::string> names;
    for (const auto& name : traits)
        names.push_back(percent_encode(name));
    return join(names, ",");
}

/// First of the `errors` of an answer: its code ("placement.inventory.inuse"; since version 1.23)
/// and its words.
struct Refusal {
    std::string code;
    std::string detail;
};
Refusal refusal_of(const HttpResponse& response) {
    const auto body = Json::parse(response.body);
    if (!body)
        return {};
    const Json& error = (*body)["errors"].at(0);
    return {error["code"].as_string(), error["detail"].as_string()};
}

bool is_custom(const std::string& name) {
    return name.starts_with("CUSTOM_");
}

std::string provider_path(const std::string& uuid, const char* what) {
    return cat("/resource_providers/", percent_encode(uuid), what);
}

std::string allocation_path(const std::string& consumer) {
    return "/allocations/" + percent_encode(consumer);
}

Json to_json(const Placement::Allocations& allocations) {
    Json out = Json::object();
    out.set("allocations", allocations.by_provider);
    out.set("project_id", allocations.project_id);
    out.set("user_id", allocations.user_id);
    out.set("consumer_generation", allocations.generation ? Json(*allocations.generation) : Json());
    return out;
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
    if (microversion != nullptr)
        call.headers["OpenStack-API-Version"] = cat("placement ", microversion);
    return service_.as_agent(context, std::move(call));
}

Result<Json> Placement::provider_tree(const rpc::Context& context, const std::string& uuid) {
    NOVALET_ASSIGN(
        Json body,
        json_of(
            "resource provider",
            send(context, "1.14", "GET", "/resource_providers?in_tree=" + percent_encode(uuid))));
    return body["resource_providers"];
}

Result<Placement::Provider> Placement::provider(const rpc::Context& context,
                                                const std::string& uuid) {
    NOVALET_ASSIGN(const Json tree, provider_tree(context, uuid));
    for (const auto& item : tree.items())
        if (item["uuid"].as_string() == uuid)
            return Provider{uuid, item["name"].as_string(), item["generation"].as_int(), false};
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
    if (response.status == 409 &&
        response.body.find("Conflicting resource provider name") != std::string::npos)
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
    return Provider{uuid, name, made["generation"].as_int(), true};
}

Result<Placement::Versioned<Inventories>> Placement::inventories(const rpc::Context& context,
                                                                 const std::string& uuid) {
    NOVALET_ASSIGN(
        const Json body,
        json_of("inventories", send(context, nullptr, "GET", provider_path(uuid, "/inventories"))));
    NOVALET_ASSIGN(auto value, scheduler_hooks::model::inventories_from_json(body["inventories"]));
    return Versioned<Inventories>{std::move(value), body["resource_provider_generation"].as_int()};
}

Result<Placement::Versioned<Traits>> Placement::traits(const rpc::Context& context,
                                                       const std::string& uuid) {
    NOVALET_ASSIGN(const Json body,
                   json_of("traits", send(context, "1.6", "GET", provider_path(uuid, "/traits"))));
    NOVALET_ASSIGN(auto value, scheduler_hooks::model::traits_from_json(body["traits"]));
    return Versioned<Traits>{std::move(value), body["resource_provider_generation"].as_int()};
}

Result<Placement::Versioned<std::set<std::string>>>
Placement::aggregates(const rpc::Context& context, const std::string& uuid) {
    NOVALET_ASSIGN(
        const Json body,
        json_of("aggregates", send(context, "1.19", "GET", provider_path(uuid, "/aggregates"))));
    Versioned<std::set<std::string>> out{{}, body["resource_provider_generation"].as_int()};
    for (const auto& aggregate : body["aggregates"].items())
        out.value.insert(aggregate.as_string());
    return out;
}

Result<Traits> Placement::ensure_traits(const rpc::Context& context, const Traits& names) {
    if (names.empty()) // without names Placement would list all traits
        return names;
    NOVALET_ASSIGN(
        const Json body,
        json_of("known traits", send(context, "1.6", "GET", "/traits?name=in:" + joined(names))));
    NOVALET_ASSIGN(auto known, scheduler_hooks::model::traits_from_json(body["traits"]));
    std::vector<std::string> left_out;
    for (const auto& name : names) {
        if (known.contains(name))
            continue;
        if (!is_custom(name)) {
            left_out.push_back(name);
            continue;
        }
        NOVALET_TRY(json_of("new trait " + name,
                            send(context, "1.6", "PUT", "/traits/" + percent_encode(name))));
        known.insert(name);
    }
    if (!left_out.empty())
        log::warning("traits that this Placement does not know are left out",
                     {{"traits", join(left_out, ",")}});
    return known;
}

Result<void> Placement::ensure_classes(const rpc::Context& context,
                                       const Inventories& inventories) {
    for (const auto& [name, inventory] : inventories) {
        if (!is_custom(name))
            continue;
        {
            const std::lock_guard lock(mutex_);
            if (classes_made_.contains(name))
                continue;
        }
        NOVALET_TRY(
            json_of("new resource class " + name,
                    send(context, "1.7", "PUT", "/resource_classes/" + percent_encode(name))));
        const std::lock_guard lock(mutex_);
        classes_made_.insert(name);
    }
    return {};
}

Result<std::int64_t> Placement::put_inventories(const rpc::Context& context,
                                                const std::string& uuid,
                                                const Inventories& inventories,
                                                std::int64_t generation) {
    NOVALET_TRY(ensure_classes(context, inventories));
    Json body = Json::object();
    body.set("resource_provider_generation", generation);
    body.set("inventories", scheduler_hooks::model::to_json(inventories));
    NOVALET_ASSIGN(
        const auto response,
        send(context, "1.26", "PUT", provider_path(uuid, "/inventories"), std::move(body)));
    if (response.status == 409)
        if (const auto refusal = refusal_of(response); refusal.code == "placement.inventory.inuse")
            return fail_as("InventoryInUse", Code::Remote, refusal.detail);
    NOVALET_ASSIGN(const Json answer, json_of("inventory of provider " + uuid, response));
    return answer["resource_provider_generation"].as_int();
}

Result<std::int64_t> Placement::put_traits(const rpc::Context& context,
                                           const std::string& uuid,
                                           const Traits& traits,
                                           std::int64_t generation) {
    Json body = Json::object();
    body.set("resource_provider_generation", generation);
    body.set("traits", scheduler_hooks::model::traits_to_json(traits));
    NOVALET_ASSIGN(
        const Json answer,
        json_of("put traits",
                send(context, "1.6", "PUT", provider_path(uuid, "/traits"), std::move(body))));
    return answer["resource_provider_generation"].as_int();
}

Result<std::vector<std::string>> Placement::consumers(const rpc::Context& context,
                                                      const std::string& provider) {
    NOVALET_ASSIGN(const Json body,
                   json_of("allocations of the provider",
                           send(context, nullptr, "GET", provider_path(provider, "/allocations"))));
    std::vector<std::string> out;
    for (const auto& [consumer, allocation] : body["allocations"].members())
        out.push_back(consumer);
    return out;
}

Result<Placement::Allocations> Placement::allocations(const rpc::Context& context,
                                                      const std::string& consumer) {
    NOVALET_ASSIGN(const Json body,
                   json_of("allocations of " + consumer,
                           send(context, "1.28", "GET", allocation_path(consumer))));
    Allocations out;
    if (body["allocations"].is_object())
        out.by_provider = body["allocations"];
    out.project_id = body["project_id"].as_string();
    out.user_id = body["user_id"].as_string();
    if (body["consumer_generation"].is_integer())
        out.generation = body["consumer_generation"].as_int();
    return out;
}

Result<void> Placement::put_allocations(const rpc::Context& context,
                                        const std::string& consumer,
                                        const Allocations& allocations) {
    NOVALET_TRY(
        json_of("allocations of " + consumer,
                send(context, "1.28", "PUT", allocation_path(consumer), to_json(allocations))));
    return {};
}

Result<HttpResponse> Placement::post_move(const rpc::Context& context,
                                          const std::string& source,
                                          const std::string& target,
                                          bool& done_before) {
    NOVALET_ASSIGN(auto from, allocations(context, source));
    NOVALET_ASSIGN(const auto to, allocations(context, target));
    done_before = from.empty() && !to.empty();
    if (done_before)
        return HttpResponse{204, {}, {}};
    if (from.empty())
        return fail_as("AllocationMoveFailed",
                       Code::NotFound,
                       cat("neither ", source, " nor ", target, " has allocations in Placement"));
    Allocations moved = from;
    moved.generation = to.generation;
    from.by_provider = Json::object();
    Json body = Json::object();
    body.set(source, to_json(from));
    body.set(target, to_json(moved));
    return send(context, "1.28", "POST", "/allocations", std::move(body));
}

Result<void> Placement::move_allocations(const rpc::Context& context,
                                         const std::string& source,
                                         const std::string& target) {
    const std::string what = cat("move of allocations from ", source, " to ", target);
    for (unsigned attempt = 1;; ++attempt) {
        bool done_before = false;
        NOVALET_ASSIGN(const auto response, post_move(context, source, target, done_before));
        if (done_before)
            log::info("allocations were moved before", {{"source", source}, {"target", target}});
        if (response.ok())
            return {};
        const auto refusal = refusal_of(response);
        const bool concurrent = refusal.code == "placement.concurrent_update";
        if (concurrent && refusal.detail.find("consumer generation conflict") != std::string::npos)
            return fail_as("AllocationMoveFailed", Code::Conflict, cat(what, ": ", refusal.detail));
        if (!concurrent || attempt >= attempts || !service_.pause(attempt * conflict_pause))
            return Failure(unexpected_status(what, response));
    }
}

Result<void> Placement::remove_from_allocation(const rpc::Context& context,
                                               const std::string& consumer,
                                               const std::string& root) {
    NOVALET_ASSIGN(const Json tree, provider_tree(context, root));
    for (unsigned attempt = 1;; ++attempt) {
        NOVALET_ASSIGN(auto held, allocations(context, consumer));
        const auto before = held.by_provider.size();
        for (const auto& provider : tree.items())
            held.by_provider.erase(provider["uuid"].as_string());
        if (held.by_provider.size() == before)
            return {};
        auto put = put_allocations(context, consumer, held);
        if (put || put.error().code != Code::Conflict || attempt >= attempts ||
            !service_.pause(attempt * conflict_pause))
            return put;
    }
}

Result<void> Placement::delete_unchanged_allocation(const rpc::Context& context,
                                                    const std::string& consumer) {
    NOVALET_ASSIGN(auto held, allocations(context, consumer));
    if (held.empty())
        return {};
    held.by_provider = Json::object();
    const auto put = put_allocations(context, consumer, held);
    if (!put && put.error().code == Code::Conflict)
        return fail_as("AllocationDeleteFailed",
                       Code::Conflict,
                       cat("Failed to delete allocations for consumer ",
                           consumer,
                           ". Error: ",
                           put.error().text));
    return put;
}

Result<void> Placement::delete_allocation(const rpc::Context& context,
                                          const std::string& consumer) {
    NOVALET_ASSIGN(const auto response,
                   send(context, nullptr, "DELETE", allocation_path(consumer)));
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
    ++forgotten_;
}

Result<ProviderSync::Known> ProviderSync::read(const rpc::Context& context) {
    NOVALET_ASSIGN(const auto provider, placement_.ensure_provider(context, uuid_, name_));
    if (provider.made)
        return Known{provider.generation, {}, {}, system_clock().monotonic()};
    NOVALET_ASSIGN(auto inventories, placement_.inventories(context, uuid_));
    NOVALET_ASSIGN(auto traits, placement_.traits(context, uuid_));
    return Known{std::max(inventories.generation, traits.generation),
                 std::move(inventories.value),
                 std::move(traits.value),
                 system_clock().monotonic()};
}

bool ProviderSync::stale(const Known& known) const {
    return refresh_after_ > Seconds(0) && known.at + refresh_after_ <= system_clock().monotonic();
}

Result<void>
ProviderSync::attempt(const rpc::Context& context, const Wish& wish, std::optional<Known>& known) {
    if (!known || stale(*known)) {
        NOVALET_ASSIGN(known, read(context));
    }
    const ProviderWish wanted = wish(known->inventories, known->traits);
    if (wanted.inventories != known->inventories) {
        NOVALET_ASSIGN(
            known->generation,
            placement_.put_inventories(context, uuid_, wanted.inventories, known->generation));
        known->inventories = wanted.inventories;
        log::info("inventory written to Placement", {{"provider", uuid_}});
    }
    if (wanted.traits == known->traits)
        return {};
    NOVALET_ASSIGN(const auto allowed, placement_.ensure_traits(context, wanted.traits));
    if (allowed != known->traits) {
        NOVALET_ASSIGN(known->generation,
                       placement_.put_traits(context, uuid_, allowed, known->generation));
        log::info("traits written to Placement", {{"provider", uuid_}, {"traits", allowed.size()}});
    }
    known->traits = wanted.traits;
    return {};
}

Result<void> ProviderSync::sync(const rpc::Context& context, const Wish& wish) {
    std::optional<Known> known;
    unsigned forgotten = 0;
    {
        std::unique_lock lock(mutex_);
        if (!idle_.wait_for(lock, longest_turn, [this] { return !busy_; }))
            return fail(Code::Unavailable,
                        cat("provider ",
                            uuid_,
                            ": another update has not ended for ",
                            longest_turn.count(),
                            " s"));
        busy_ = true;
        known = known_;
        forgotten = forgotten_;
    }
    Result<void> done;
    for (unsigned i = 0; i < attempts; ++i) {
        done = attempt(context, wish, known);
        if (done)
            break;
        known.reset();
        if (done.error().code != Code::Conflict)
            break;
    }
    const std::lock_guard lock(mutex_);
    busy_ = false;
    known_ = forgotten == forgotten_ ? std::move(known) : std::nullopt;
    idle_.notify_one();
    return done;
}

} // namespace novalet::clients
