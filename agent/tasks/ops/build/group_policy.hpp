#pragma once
// The late check of server groups (reference 03 §2.1 step 9): facts read here, decision in
// scheduler_hooks/affinity.
#include "agent/tasks/services.hpp"

namespace novalet::tasks {

/// GroupAffinityViolation when the instance must not stay on this host.
[[nodiscard]] Result<void> check_group_policy(const RecordServices& services,
                                              const rpc::Context& context,
                                              const objects::Object& instance,
                                              const Json& args);

} // namespace novalet::tasks
