#pragma once
// Allocations that nobody uses any more (nova.compute.resource_tracker,
// _remove_deleted_instances_allocations).
#include "agent/objects/conductor.hpp"
#include "agent/tasks/books/allocations.hpp"
#include "agent/tasks/books/host_records.hpp"

#include <set>
#include <string>

namespace novalet::tasks {

/// One audit's turn over those who hold something of this host. Removed, unless somebody changes it
/// at the same time, is only what a deleted server holds. Kept are servers in `claimed` (with a
/// claim here) and migrations in progress, servers that nobody knows yet (just being created) or
/// that have no host yet (being scheduled), and hidden ones (a move between cells clears them).
/// A server of another host, or of this one without a claim, is kept and warned about: nobody
/// knows what is right. Error: what could not be read or removed; the next turn tries again.
[[nodiscard]] Result<void> heal_allocations(objects::Conductor& conductor,
                                            Allocations& allocations,
                                            const HostRecords& records,
                                            const std::set<std::string>& claimed,
                                            const NodeNames& names);

} // namespace novalet::tasks
