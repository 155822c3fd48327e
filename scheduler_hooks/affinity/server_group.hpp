#pragma once
// The late check of a server group on the chosen host (reference 03 §2.1 step 9). Pure, any thread.
#include "agent/core/result.hpp"
#include "agent/core/uuid.hpp"

#include <set>
#include <string>

namespace novalet::scheduler_hooks::affinity {

struct ServerGroup {
    std::string uuid;
    std::string policy; ///< "affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"
    unsigned max_server_per_host = 1; ///< rule of anti-affinity; 1 unless set
    std::set<InstanceUuid> members;
};

/// What is known when the check runs, read after the claim and under a lock on the group.
struct Occupancy {
    std::string host;                     ///< ours
    std::set<InstanceUuid> here;          ///< instances on this host
    std::set<InstanceUuid> arriving;      ///< of migrations in progress from or to this host
    std::set<std::string> hosts_of_group; ///< hosts of the other members
};

/// Exception GroupAffinityViolation when `instance` must not stay here; soft policies always pass.
[[nodiscard]] Result<void>
check(const ServerGroup& group, const InstanceUuid& instance, const Occupancy& occupancy);

} // namespace novalet::scheduler_hooks::affinity
