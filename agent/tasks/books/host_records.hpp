#pragma once
// What the conductor's records say of this host, and the usage that follows from it: the reading
// half of the audit (nova.compute.resource_tracker, _update_available_resource).
#include "agent/objects/conductor.hpp"
#include "scheduler_hooks/claims/ledger.hpp"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace novalet::tasks {

/// Host and node as records name them.
struct NodeNames {
    std::string host;
    std::string node;
};

struct HostRecords {
    std::map<std::string, objects::Object> instances; ///< by uuid; their records name this node
    std::vector<objects::Object> migrations; ///< not at their end, this node at one of theirs
    /// Servers of these migrations, and those asked for, that other hosts have, or nobody: deleted
    /// ones are among them.
    std::map<std::string, objects::Object> elsewhere;
};

/// Two calls, and one more when there are servers elsewhere; `departed` are such (uuids).
[[nodiscard]] Result<HostRecords> read_host_records(objects::Conductor& conductor,
                                                    const NodeNames& names,
                                                    const std::set<std::string>& departed);

/// By flavor; no root disk for a server without an image, which has its root on a volume.
[[nodiscard]] scheduler_hooks::claims::Amounts amounts_of(const Json& instance,
                                                          const Json& flavor_primitive);
[[nodiscard]] scheduler_hooks::claims::InstanceState state_of(const Json& instance);

struct HostUsage {
    std::vector<scheduler_hooks::claims::Record> claims;
    /// Uuids of migrations that the server's migration_context does not belong to: an earlier
    /// move of the server did not come to its end.
    std::vector<std::string> stale;
};

/// Each server that is here counts by its record. Of each server's migrations the newest one
/// counts while the server is resized, resizing, being rebuilt or migrating live: the destination
/// here with the new side until the server is here, the source here with the old side once it is
/// not. On one host both sides count. InvalidArgument for a damaged topology.
///
/// Otherwise than in Nova a server that comes counts with its new flavor as soon as its record
/// names this host, not only when finish_resize has stored it; and before that a resize on one host
/// keeps the old topology beside the new one, which Nova counts twice. And of `sources`, which the
/// books hold for a revert, those stay whose server comes back right now: its migration is at its
/// end before the server's record names this host again.
[[nodiscard]] Result<HostUsage>
usage_of(const HostRecords& records,
         const NodeNames& names,
         const std::vector<scheduler_hooks::claims::Record>& sources);

} // namespace novalet::tasks
