#pragma once
// Servers that Nova's records show in the middle of something when the agent starts.
#include "agent/tasks/catalogue/router.hpp"

#include <set>
#include <string>

namespace novalet::tasks {

/// Every server of the host goes through the table of nova.compute.manager.ComputeManager
/// _init_instance (and _retry_reboot, _reset_live_migration, _resume_guests_state), on its queue,
/// after the journal's entries: a server that an entry takes care of is left to it. Builds that no
/// entry explains go to ERROR, deletes are finished, interrupted power operations are done again or
/// reset, moves that were cut off are taken back, interfaces are plugged, and guests that ran are
/// started when the configuration wants it. What Nova leaves alone is left alone, and so is a
/// server whose guest cannot be looked at. Two differences: a guest that may have gone to another
/// host in a live migration is not started here, and a delete that fails again ends as a failed
/// terminate_instance does. Servers of `elsewhere` are not looked at: what evacuations.hpp found is
/// none of ours. Builds that no host has claimed yet are not servers of this host:
/// interrupted_builds.hpp.
void repair_instances(Services& services,
                      Router& router,
                      const std::set<std::string>& elsewhere = {});

} // namespace novalet::tasks
