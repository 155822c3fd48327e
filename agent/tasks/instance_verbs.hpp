#pragma once
// Operations on a server that exists: delete and power (reference 03 §2.2, §2.3). Each runs on the
// instance's queue and keeps Nova's records around itself.
#include "agent/rpc/request.hpp"
#include "agent/tasks/services.hpp"

namespace novalet::tasks {

using Verb = Result<Json> (*)(Services&,
                              const rpc::Request&,
                              const Progress&,
                              const std::stop_token&);

[[nodiscard]] Result<Json>
terminate_instance(Services&, const rpc::Request&, const Progress&, const std::stop_token&);
[[nodiscard]] Result<Json>
stop_instance(Services&, const rpc::Request&, const Progress&, const std::stop_token&);
[[nodiscard]] Result<Json>
start_instance(Services&, const rpc::Request&, const Progress&, const std::stop_token&);
[[nodiscard]] Result<Json>
reboot_instance(Services&, const rpc::Request&, const Progress&, const std::stop_token&);
[[nodiscard]] Result<Json>
pause_instance(Services&, const rpc::Request&, const Progress&, const std::stop_token&);
[[nodiscard]] Result<Json>
unpause_instance(Services&, const rpc::Request&, const Progress&, const std::stop_token&);
[[nodiscard]] Result<Json>
suspend_instance(Services&, const rpc::Request&, const Progress&, const std::stop_token&);
[[nodiscard]] Result<Json>
resume_instance(Services&, const rpc::Request&, const Progress&, const std::stop_token&);
/// An operation of nova-compute that this release does not have: fault, event and task_state as for
/// any failed operation, so that the server is not left locked.
[[nodiscard]] Result<Json>
refuse_operation(Services&, const rpc::Request&, const Progress&, const std::stop_token&);
/// The same for one that sets no task_state: what another operation has set stays.
[[nodiscard]] Result<Json>
refuse_change(Services&, const rpc::Request&, const Progress&, const std::stop_token&);
/// The same for what has no action and no fault of its own: the answer is all.
[[nodiscard]] Result<Json>
refuse_question(Services&, const rpc::Request&, const Progress&, const std::stop_token&);

/// The guest as its records describe it; loads what they lack.
[[nodiscard]] Result<hypervisor::GuestSpec> recorded_guest(Services& services,
                                                           const rpc::Context& context,
                                                           objects::Object& instance,
                                                           const Json& network_info);

/// Deletes what is left of an instance; also for deletes found at start-up.
[[nodiscard]] Result<void> delete_instance(Services& services,
                                           const rpc::Context& context,
                                           objects::Object& instance,
                                           const Progress& progress);

} // namespace novalet::tasks
