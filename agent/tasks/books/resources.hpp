#pragma once
// The host's books as operations need them: claims, and what they make of the host's records
// (nova.compute.resource_tracker). What is held in Placement is in allocations.hpp.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"
#include "agent/objects/object.hpp"
#include "agent/rpc/context.hpp"
#include "scheduler_hooks/model/flavor_image.hpp"

#include <optional>
#include <string>
#include <vector>

namespace novalet::tasks {

/// What a server is to have on the destination of a move.
struct MoveTarget {
    Json flavor; ///< primitive: the new one of a resize, else the server's own
    std::optional<scheduler_hooks::model::ImageSpec> image; ///< none: that of the server's record
    Json limits; ///< SchedulerLimits or their dict; null: none
};

/// Thread safe. The books follow the records, and an audit compares both: save a record first, then
/// call the verb that says the same to the books. Every verb without a Result may be repeated.
class Resources {
  public:
    virtual ~Resources() = default;
    /// Fits and claims, then saves host, node, launched_on (and compute_id) and numa_topology of
    /// the instance. ComputeResourcesUnavailable with the explanation when it does not fit.
    [[nodiscard]] virtual Result<void>
    claim(const rpc::Context& context, objects::Object& instance, const Json& limits) = 0;
    /// Usage given back; with `unset_host` the instance's host, node and pinning are cleared and
    /// saved as well.
    virtual void drop(const rpc::Context& context, objects::Object& instance, bool unset_host) = 0;
    /// The instance's states changed: usage statistics follow.
    virtual void update(const objects::Object& instance) = 0;

    // Moves: resize, cold and live migration, evacuation. The books of each host know its own
    // sides; a resize on one host has both there.

    /// On the destination: saves the migration (dest_compute, dest_node, dest_host and, but for a
    /// live one, status pre-migrating), fits and claims beside what the server may have here, and
    /// saves its migration_context. ComputeResourcesUnavailable as claim(); a claim of an earlier
    /// attempt of the same migration is replaced. On any error there is no claim. The claim of an
    /// evacuation stays until settle() or revert(); an audit drops any other one when the records
    /// do not show the move any more.
    [[nodiscard]] virtual Result<void> move_claim(const rpc::Context& context,
                                                  objects::Object& instance,
                                                  objects::Object& migration,
                                                  const MoveTarget& target) = 0;
    /// On the source: the record names the destination as the server's host. What the server has
    /// here is held for a revert. On one host nothing happens before arrive().
    virtual void depart(const objects::Object& instance, const objects::Object& migration) = 0;
    /// On the destination: the record names this host. The destination's claim becomes the
    /// server's; on one host the old one is held for a revert.
    virtual void arrive(const objects::Object& instance, const objects::Object& migration) = 0;
    /// On either side: the move is final (confirmed; a live migration or an evacuation is done).
    /// What was held for a revert is given back, the destination's claim is the server's.
    virtual void settle(const objects::Object& instance, const objects::Object& migration) = 0;
    /// On either side, at any time after move_claim(): the move is undone. The destination's claim
    /// is given back, also after arrive(); what the source held is the server's claim again.
    virtual void revert(const objects::Object& instance, const objects::Object& migration) = 0;

    /// Uuids of the servers that are on this host or being built on it, in order; from the books,
    /// which an audit compares with the records.
    [[nodiscard]] virtual std::vector<std::string> instances() const = 0;
    /// For failed_builds and the consecutive_build_service_disable_threshold.
    virtual void build_finished(bool ok) = 0;
    /// Service enabled / disabled: the trait COMPUTE_STATUS_DISABLED follows.
    [[nodiscard]] virtual Result<void> set_enabled(bool enabled) = 0;
};

} // namespace novalet::tasks
