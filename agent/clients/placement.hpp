#pragma once
// The API of Placement: typed verbs, and the cached root provider of one compute node.
#include "agent/clients/keystone.hpp"
#include "scheduler_hooks/model/inventory.hpp"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>

namespace novalet::clients {

/// Thread safe.
class Placement {
  public:
    explicit Placement(ServiceClient service);

    struct Provider {
        std::string uuid;
        std::string name;
        std::int64_t generation = 0;
        bool made = false; ///< just now: it has no inventory and no traits yet
    };
    /// NotFound when there is none.
    [[nodiscard]] Result<Provider> provider(const rpc::Context& context, const std::string& uuid);
    /// Made when missing. AlreadyExists (ResourceProviderCreationFailed) when another provider has
    /// the name: its old record has to be deleted by the operator.
    [[nodiscard]] Result<Provider>
    ensure_provider(const rpc::Context& context, const std::string& uuid, const std::string& name);
    template <class T> struct Versioned {
        T value;
        std::int64_t generation = 0;
    };
    [[nodiscard]] Result<Versioned<scheduler_hooks::model::Inventories>>
    inventories(const rpc::Context& context, const std::string& uuid);
    [[nodiscard]] Result<Versioned<scheduler_hooks::model::Traits>>
    traits(const rpc::Context& context, const std::string& uuid);
    /// Of these names, those that may be set: known to this Placement, or CUSTOM_… and made now. A
    /// standard name that an older Placement lacks is left out and logged.
    [[nodiscard]] Result<scheduler_hooks::model::Traits>
    ensure_traits(const rpc::Context& context, const scheduler_hooks::model::Traits& names);
    /// Aggregates that the provider is in.
    [[nodiscard]] Result<Versioned<std::set<std::string>>> aggregates(const rpc::Context& context,
                                                                      const std::string& uuid);
    /// The new generation; classes CUSTOM_… are made first. Conflict when the generation is not the
    /// current one; Remote as InventoryInUse when a class to be removed has allocations.
    [[nodiscard]] Result<std::int64_t>
    put_inventories(const rpc::Context& context,
                    const std::string& uuid,
                    const scheduler_hooks::model::Inventories& inventories,
                    std::int64_t generation);
    [[nodiscard]] Result<std::int64_t> put_traits(const rpc::Context& context,
                                                  const std::string& uuid,
                                                  const scheduler_hooks::model::Traits& traits,
                                                  std::int64_t generation);
    /// Consumers with allocations on the provider.
    [[nodiscard]] Result<std::vector<std::string>> consumers(const rpc::Context& context,
                                                             const std::string& provider);
    /// What one consumer holds (GET /allocations/{uuid}).
    struct Allocations {
        Json by_provider = Json::object(); ///< provider uuid → {resources: {class: amount}}
        std::string project_id;
        std::string user_id;
        std::optional<std::int64_t> generation; ///< none: the consumer is not there yet
        [[nodiscard]] bool empty() const noexcept { return by_provider.empty(); }
    };
    /// Empty ones for an unknown consumer.
    [[nodiscard]] Result<Allocations> allocations(const rpc::Context& context,
                                                  const std::string& consumer);
    /// Replaces what the consumer holds; empty ones remove it. Conflict when somebody changed the
    /// consumer since `generation`, or a provider at the same time.
    [[nodiscard]] Result<void> put_allocations(const rpc::Context& context,
                                               const std::string& consumer,
                                               const Allocations& allocations);
    /// All that `source` holds goes to `target` (migration ↔ instance). Ok when that was done
    /// before. Conflict as AllocationMoveFailed when one of them was changed meanwhile; other
    /// writers of the providers are waited for in up to four attempts.
    [[nodiscard]] Result<void> move_allocations(const rpc::Context& context,
                                                const std::string& source,
                                                const std::string& target);
    /// What the consumer holds of `root` and the providers below it is taken out of its
    /// allocations; ok when that is nothing. In up to four attempts when others write the consumer.
    [[nodiscard]] Result<void> remove_from_allocation(const rpc::Context& context,
                                                      const std::string& consumer,
                                                      const std::string& root);
    /// Removed as it was read: AllocationDeleteFailed, code Conflict, when somebody changes the
    /// consumer in between; ok when there is none.
    [[nodiscard]] Result<void> delete_unchanged_allocation(const rpc::Context& context,
                                                           const std::string& consumer);
    /// Removed by force; ok when there is none.
    [[nodiscard]] Result<void> delete_allocation(const rpc::Context& context,
                                                 const std::string& consumer);

  private:
    [[nodiscard]] Result<HttpResponse> send(const rpc::Context& context,
                                            const char* microversion,
                                            const std::string& method,
                                            const std::string& path,
                                            Json body = {});
    /// All providers of the tree that this one is in, as Placement's documents.
    [[nodiscard]] Result<Json> provider_tree(const rpc::Context& context, const std::string& uuid);
    [[nodiscard]] Result<void>
    ensure_classes(const rpc::Context& context,
                   const scheduler_hooks::model::Inventories& inventories);
    [[nodiscard]] Result<HttpResponse> post_move(const rpc::Context& context,
                                                 const std::string& source,
                                                 const std::string& target,
                                                 bool& done_before);

    ServiceClient service_;
    std::mutex mutex_; ///< guards the next; never held over a request
    std::set<std::string> classes_made_;
};

/// What the provider of this node should look like, given what is there (ratios and foreign traits
/// are kept): computed by scheduler_hooks/placement.
struct ProviderWish {
    scheduler_hooks::model::Inventories inventories;
    scheduler_hooks::model::Traits traits;
};

/// The root provider of one compute node: written only when it differs from what is known, looked
/// at anew after `refresh_after`. Never touches children. Thread safe.
class ProviderSync {
  public:
    using Wish = std::function<ProviderWish(const scheduler_hooks::model::Inventories& existing,
                                            const scheduler_hooks::model::Traits& existing_traits)>;
    /// refresh_after 0 = look once, then only after `forget`.
    ProviderSync(Placement& placement, std::string uuid, std::string name, Seconds refresh_after);

    /// Up to four attempts when others write the provider at the same time. One at a time: a second
    /// caller waits for the first, at most five minutes. `wish` may be asked several times.
    [[nodiscard]] Result<void> sync(const rpc::Context& context, const Wish& wish);
    /// The next sync reads everything again.
    void forget();
    [[nodiscard]] const std::string& uuid() const noexcept { return uuid_; }

  private:
    struct Known {
        std::int64_t generation = 0;
        scheduler_hooks::model::Inventories inventories;
        scheduler_hooks::model::Traits traits;
        MonotonicTime at;
    };
    /// `known` as it is after the attempt.
    [[nodiscard]] Result<void>
    attempt(const rpc::Context& context, const Wish& wish, std::optional<Known>& known);
    [[nodiscard]] Result<Known> read(const rpc::Context& context);
    [[nodiscard]] bool stale(const Known& known) const;

    Placement& placement_;
    const std::string uuid_;
    const std::string name_;
    const Seconds refresh_after_;
    std::mutex mutex_; ///< guards the next; never held over a request
    std::condition_variable idle_;
    bool busy_ = false;
    std::optional<Known> known_;
    unsigned forgotten_ = 0; ///< calls of forget(): what a running sync read before is not kept
};

} // namespace novalet::clients
