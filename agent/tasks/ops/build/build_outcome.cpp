#include "agent/tasks/ops/build/build_outcome.hpp"

#include "agent/tasks/records/nova_exceptions.hpp"

namespace novalet::tasks {

BuildFailure classify_build_failure(const Error& error) {
    if (error.code == Code::Cancelled)
        return BuildFailure::Gone;
    switch (family_of(error)) {
    case Family::InstanceGone:
        return BuildFailure::Gone;
    case Family::BuildAbort:
    case Family::TaskStateTaken:
        return BuildFailure::Abort;
    case Family::General:
    case Family::VmStateTaken:
    case Family::ResourcesUnavailable:
    case Family::MigrationPreCheck:
    case Family::ConsoleType:
    case Family::NotSupported:
    case Family::OtherRelease:
    case Family::Unreachable:
        break;
    }
    return BuildFailure::Reschedule;
}

} // namespace novalet::tasks
