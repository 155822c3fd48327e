#pragma once
// What Neutron, Cinder, Cyborg and the API tell about servers of this host.
#include "agent/rpc/request.hpp"
#include "agent/tasks/services.hpp"

namespace novalet::tasks {

/// Wakes waiters at once; what changes a server takes its turn on that server's queue, so that no
/// older answer of Neutron is the last one written. Never fails: an event that is not known, not
/// awaited or not served yet is logged. (nova.compute.manager.external_instance_event)
void external_instance_event(Services& services, const rpc::Request& request);

} // namespace novalet::tasks
