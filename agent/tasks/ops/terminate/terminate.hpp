#pragma once
// Deletes a server.
#include "agent/tasks/verb.hpp"

namespace novalet::tasks {

[[nodiscard]] VerbFunction terminate_instance;

/// Deletes what is left of an instance; also for deletes found at start-up.
[[nodiscard]] Result<void> delete_instance(Services& services,
                                           const rpc::Context& context,
                                           objects::Object& instance,
                                           const Progress& progress);

} // namespace novalet::tasks
