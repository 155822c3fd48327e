#pragma once
// Servers that Nova's records show in the middle of something when the agent starts.
#include "agent/tasks/services.hpp"

namespace novalet::tasks {

/// Every server of the host goes through the table of reference 04 §3.2, on its queue, after the
/// journal's entries: a server that an entry takes care of is left to it. Builds that no entry
/// explains go to ERROR, deletes are finished, interrupted power operations are done again or
/// reset, interfaces are plugged, and guests that should run are started when the configuration
/// wants it. Servers on which nothing is to be done are not touched.
void repair_instances(Services& services);

} // namespace novalet::tasks
