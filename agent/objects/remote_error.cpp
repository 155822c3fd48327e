#include "agent/objects/remote_error.hpp"

namespace novalet::objects {

bool is_instance_gone(const Error& error) noexcept {
    return error.exception == "InstanceNotFound" ||
           error.exception == "UnexpectedDeletingTaskStateError";
}

bool is_unexpected_task_state(const Error& error) noexcept {
    return error.exception == "UnexpectedTaskStateError" ||
           error.exception == "UnexpectedDeletingTaskStateError";
}

bool is_unexpected_vm_state(const Error& error) noexcept {
    return error.exception == "InstanceUpdateConflict" ||
           error.exception == "UnexpectedVMStateError";
}

bool is_service_too_old(const Error& error) noexcept {
    return error.exception == "ServiceTooOld";
}

bool is_other_release(const Error& error) noexcept {
    return error.exception == "IncompatibleObjectVersion" ||
           error.exception == "UnsupportedObjectError";
}

bool is_unanswered(const Error& error) noexcept {
    return error.code == Code::Timeout || error.code == Code::Unavailable;
}

} // namespace novalet::objects
