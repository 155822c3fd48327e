#pragma once
// Placement (reference 05): typed verbs, and the cached root provider of one compute node.
#include "agent/clients/keystone.hpp"
#include "scheduler_hooks/model/inventory.hpp"

#include <functional>
#include <mutex>
#include <optional>
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
    /// Of these names, those that this Placement knows.
    [[nodiscard]] Result<scheduler_hooks::model::Traits>
    known_traits(const rpc::Context& context, const scheduler_hooks::model::Traits& names);
    /// The new generation. Conflict when the generation is not the current one.
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
    /// Removed by force; ok when there is none.
    [[nodiscard]] Result<void> delete_allocation(const rpc::Context& context,
                                                 const std::string& consumer);

  private:
    [[nodiscard]] Result<HttpResponse> send(const rpc::Context& context,
                                            const char* microversion,
                                            const std::string& method,
                                            const std::string& path,
                                            Json body = {});
    ServiceClient service_;
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

    /// Up to four attempts when others write the provider at the same time.
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
    [[nodiscard]] Result<void> attempt(const rpc::Context& context, const Wish& wish);
    [[nodiscard]] Result<Known> read(const rpc::Context& context);

    Placement& placement_;
    const std::string uuid_;
    const std::string name_;
    const Seconds refresh_after_;
    std::mutex mutex_;
    std::optional<Known> known_;
};

} // namespace novalet::clients
