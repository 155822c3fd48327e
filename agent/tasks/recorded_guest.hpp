#pragma once
// The guest of a server that exists, from its records.
#include "agent/tasks/services.hpp"

namespace novalet::tasks {

/// The guest as its records describe it; loads what they lack.
[[nodiscard]] Result<hypervisor::GuestSpec> recorded_guest(const RecordServices& services,
                                                           const rpc::Context& context,
                                                           objects::Object& instance,
                                                           const Json& network_info);

} // namespace novalet::tasks
