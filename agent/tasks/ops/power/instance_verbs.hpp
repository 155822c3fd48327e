#pragma once
// Operations on a server that exists: delete and power (reference 03 §2.2, §2.3). Each runs on the
// instance's queue and keeps Nova's records around itself.
#include "agent/tasks/verb.hpp"

namespace novalet::tasks {

[[nodiscard]] VerbFunction stop_instance;
[[nodiscard]] VerbFunction start_instance;
[[nodiscard]] VerbFunction reboot_instance;
[[nodiscard]] VerbFunction pause_instance;
[[nodiscard]] VerbFunction unpause_instance;
[[nodiscard]] VerbFunction suspend_instance;
[[nodiscard]] VerbFunction resume_instance;
/// An operation of nova-compute that this release does not have: fault, event and task_state as for
/// any failed operation, so that the server is not left locked.
[[nodiscard]] VerbFunction refuse_operation;
/// The same for one that sets no task_state: what another operation has set stays.
[[nodiscard]] VerbFunction refuse_change;
/// The same for what has no action and no fault of its own: the answer is all.
[[nodiscard]] VerbFunction refuse_question;

/// The guest as its records describe it; loads what they lack.
[[nodiscard]] Result<hypervisor::GuestSpec> recorded_guest(Services& services,
                                                           const rpc::Context& context,
                                                           objects::Object& instance,
                                                           const Json& network_info);

} // namespace novalet::tasks
