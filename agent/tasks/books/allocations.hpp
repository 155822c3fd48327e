#pragma once
// What servers and migrations hold in Placement. While a server moves, its migration holds what it
// has on the source, and the server what it gets on the destination.
#include "agent/clients/placement.hpp"
#include "agent/tasks/books/this_node.hpp"

#include <string>
#include <vector>

namespace novalet::tasks {

/// As operations need it. A consumer is the uuid of a server or of a migration. Thread safe; every
/// verb asks Placement, may be repeated, and is ok when nothing is left to be done.
class Allocations {
  public:
    virtual ~Allocations() = default;
    /// By force: whatever the consumer holds, on every host.
    [[nodiscard]] virtual Result<void> remove(const std::string& consumer) = 0;
    /// The same unless somebody else changes the consumer at the same time: AllocationDeleteFailed,
    /// code Conflict. For migrations after a move and for leftovers
    /// (delete_allocation_for_instance with force=False).
    [[nodiscard]] virtual Result<void> remove_unchanged(const std::string& consumer) = 0;
    /// What the consumer holds of this host (its whole provider tree) is given back; what it holds
    /// elsewhere stays. `node`: what a record calls the host's node; NotFound when it is not ours,
    /// empty when no record says it. In up to four attempts when others write the consumer.
    [[nodiscard]] virtual Result<void> remove_ours(const std::string& consumer,
                                                   const std::string& node) = 0;
    /// What the migration holds goes back to the server, in place of what that holds
    /// (nova.compute.manager._revert_allocation). A migration that holds nothing is logged and
    /// ok: as in Nova the server keeps what it has. AllocationMoveFailed, code Conflict, when one
    /// of the two was changed meanwhile; other writers of the providers are waited for in up to
    /// four attempts.
    [[nodiscard]] virtual Result<void> move_back(const std::string& migration,
                                                 const std::string& instance) = 0;
    /// Servers and migrations that hold something of this host. NotFound before the host has a
    /// node.
    [[nodiscard]] virtual Result<std::vector<std::string>> consumers() = 0;
};

class PlacementAllocations final : public Allocations {
  public:
    /// Both outlive this.
    PlacementAllocations(clients::Placement& placement, const ThisNode& node)
        : placement_(placement), node_(node) {}

    [[nodiscard]] Result<void> remove(const std::string& consumer) override;
    [[nodiscard]] Result<void> remove_unchanged(const std::string& consumer) override;
    [[nodiscard]] Result<void> remove_ours(const std::string& consumer,
                                           const std::string& node) override;
    [[nodiscard]] Result<void> move_back(const std::string& migration,
                                         const std::string& instance) override;
    [[nodiscard]] Result<std::vector<std::string>> consumers() override;

  private:
    clients::Placement& placement_;
    const ThisNode& node_;
};

} // namespace novalet::tasks
