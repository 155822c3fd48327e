#pragma once
// Do two hosts see the same instance folder? (reference 03 §2.6, nova.virt.libvirt
// check_instance_shared_storage_*): a file made here, and the other host says whether it sees it.
#include "agent/core/uuid.hpp"
#include "agent/rpc/caller.hpp"
#include "agent/rpc/request.hpp"
#include "agent/tasks/guest/task_options.hpp"

namespace novalet::tasks {

/// Asks `other_host`. In doubt true, since files that a guest elsewhere may use must stay: no
/// folder, this host itself, no answer, no right to write here. Never on a host without files
/// (simulated). Blocks for one call.
[[nodiscard]] bool storage_is_shared(rpc::Caller& bus,
                                     const TaskOptions& options,
                                     const InstanceUuid& uuid,
                                     const std::string& other_host);

/// The other side, as a query: is the file of `data` there? Never on a host without files.
[[nodiscard]] Result<Json> check_instance_shared_storage(const TaskOptions& options,
                                                         const rpc::Request& request);

} // namespace novalet::tasks
