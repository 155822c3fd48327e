#pragma once
// The host's books as operations need them.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"
#include "agent/objects/object.hpp"
#include "agent/rpc/context.hpp"

#include <string>
#include <vector>

namespace novalet::tasks {

/// Claims and what they make of the host's records (reference 04 §7).
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
    /// Uuids of the servers that are on this host or being built on it, in order; from the books,
    /// which an audit compares with the records.
    [[nodiscard]] virtual std::vector<std::string> instances() const = 0;
    /// For failed_builds and the consecutive_build_service_disable_threshold.
    virtual void build_finished(bool ok) = 0;
    /// The allocation of a consumer is removed from Placement (forced). Ok when there is none.
    [[nodiscard]] virtual Result<void> delete_allocation(const std::string& consumer) = 0;
    /// What the consumer holds of this host is given back; what it holds elsewhere stays. `node`:
    /// the host's node as records name it; NotFound when it is not ours. Ok when nothing is held.
    [[nodiscard]] virtual Result<void> remove_from_allocation(const std::string& consumer,
                                                              const std::string& node) = 0;
    /// Uuids of servers and migrations that hold something of this host in Placement.
    [[nodiscard]] virtual Result<std::vector<std::string>> consumers() = 0;
    /// Service enabled / disabled: the trait COMPUTE_STATUS_DISABLED follows.
    [[nodiscard]] virtual Result<void> set_enabled(bool enabled) = 0;
};

} // namespace novalet::tasks
