#pragma once
// What the conductor's exceptions mean to an operation (reference 02 §4). Their class names stay in
// Error::exception, so that they travel on unchanged when an operation passes them on.
#include "agent/core/result.hpp"

namespace novalet::objects {

/// The instance's record is gone or about to go: InstanceNotFound or
/// UnexpectedDeletingTaskStateError. Nobody is left to be told of a failure.
[[nodiscard]] bool is_instance_gone(const Error& error) noexcept;
/// Another operation took over: UnexpectedTaskStateError, UnexpectedDeletingTaskStateError.
[[nodiscard]] bool is_unexpected_task_state(const Error& error) noexcept;
/// vm_state was not the expected one (InstanceUpdateConflict).
[[nodiscard]] bool is_unexpected_vm_state(const Error& error) noexcept;
/// The conductor refuses records of this service version (ServiceTooOld): report a higher one.
[[nodiscard]] bool is_service_too_old(const Error& error) noexcept;
/// The control plane does not know an object in the version we sent or asked for: another release.
[[nodiscard]] bool is_other_release(const Error& error) noexcept;
/// No answer: broker away, or the conductor did not answer in time. The call may have had effects.
[[nodiscard]] bool is_unanswered(const Error& error) noexcept;

} // namespace novalet::objects
