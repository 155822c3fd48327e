#pragma once
// Servers that Nova's records show in the middle of something when the agent starts.
#include "agent/tasks/catalogue/router.hpp"

#include <set>
#include <string>

namespace novalet::tasks {

/// Every server of the host goes through the table of reference 04 §3.2, on its queue, after the
/// journal's entries: a server that an entry takes care of is left to it. Builds that no entry
/// explains go to ERROR, deletes are finished, interrupted power operations are done again or
/// reset, interfaces are plugged, and guests that should run are started when the configuration
/// wants it. Servers on which nothing is to be done are not touched, and those of `elsewhere` not
/// looked at: what evacuations.hpp found is none of ours. Builds that no host has claimed yet are
/// not servers of this host: interrupted_builds.hpp.
void repair_instances(Services& services,
                      Router& router,
                      const std::set<std::string>& elsewhere = {});

} // namespace novalet::tasks
