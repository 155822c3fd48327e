#pragma once
// What becomes of a failed build: a pure decision (families of nova_exceptions;
// nova/compute/manager.py `_build_and_run_instance` of Zed to 2026.2).
#include "agent/core/result.hpp"

namespace novalet::tasks {

enum class BuildFailure {
    Reschedule, ///< another host may succeed: RescheduledException
    Abort,      ///< no host will succeed: fault, vm_state ERROR
    Gone        ///< the instance is being deleted or is gone: clean up, say nothing
};

/// What to do about `error` of a build that had passed its claim or failed in it. Code::Cancelled
/// means that a delete interrupted the build (Gone).
[[nodiscard]] BuildFailure classify_build_failure(const Error& error);

} // namespace novalet::tasks
