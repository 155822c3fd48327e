#include "agent/tasks/records/nova_exceptions.hpp"

#include "agent/core/text.hpp"

#include <algorithm>
#include <array>

namespace novalet::tasks {
namespace {

constexpr std::size_t fault_message_bytes = 255; // InstanceFault.message column
constexpr std::string_view own_class = "NovaException";
constexpr std::string_view own_module = "nova.exception";

struct TextForm {
    std::string_view name;
    std::string_view form;
};

/// Texts that stand in faults, events and answers of the API; sorted by name.
constexpr std::array forms{
    TextForm{"AttachInterfaceNotSupported",
             "Attaching interfaces is not supported for instance %(instance_uuid)s."},
    TextForm{"BuildAbortException", "Build of instance %(instance_uuid)s aborted: %(reason)s"},
    TextForm{"ComputeResourcesUnavailable", "Insufficient compute resources: %(reason)s."},
    TextForm{"ConsoleTypeInvalid", "Invalid console type %(console_type)s"},
    TextForm{"ConsoleTypeUnavailable", "Unavailable console type %(console_type)s."},
    TextForm{"GroupAffinityViolation", "%(policy)s instance group policy was violated"},
    TextForm{"InstanceInvalidState",
             "Instance %(instance_uuid)s in %(attr)s %(state)s. Cannot %(method)s while the "
             "instance is in this state."},
    TextForm{"InstanceNotFound", "Instance %(instance_id)s could not be found."},
    TextForm{"InstanceNotReady", "Instance %(instance_id)s is not ready"},
    TextForm{"InstanceNotRescuable", "Instance %(instance_id)s cannot be rescued: %(reason)s"},
    TextForm{"InstanceNotRunning", "Instance %(instance_id)s is not running."},
    TextForm{"InstancePasswordSetFailed",
             "Failed to set admin password on %(instance)s because %(reason)s"},
    TextForm{"InstancePowerOffFailure", "Failed to power off instance: %(reason)s"},
    TextForm{"InstancePowerOnFailure", "Failed to power on instance: %(reason)s"},
    TextForm{"InstanceRebootFailure", "Failed to reboot instance: %(reason)s"},
    TextForm{"InstanceResumeFailure", "Failed to resume instance: %(reason)s"},
    TextForm{"InstanceSuspendFailure", "Failed to suspend instance: %(reason)s"},
    TextForm{"InstanceTerminationFailure", "Failed to terminate instance: %(reason)s"},
    TextForm{"InstanceUnRescueFailure", "Failed to unrescue instance: %(reason)s"},
    TextForm{"InterfaceAttachFailed",
             "Failed to attach network adapter device to %(instance_uuid)s"},
    TextForm{"InterfaceDetachFailed",
             "Failed to detach network adapter device from %(instance_uuid)s"},
    TextForm{"InvalidMigrationState",
             "Migration %(migration_id)s state of instance %(instance_uuid)s is %(state)s. Cannot "
             "%(method)s while the migration is in this state."},
    TextForm{"InvalidVolume", "Invalid volume: %(reason)s"},
    TextForm{"LiveMigrationNotSubmitted",
             "Failed to submit live migration %(migration_uuid)s for instance %(instance_uuid)s "
             "for processing."},
    TextForm{"MigrationError", "Migration error: %(reason)s"},
    TextForm{"MigrationPreCheckError", "Migration pre-check error: %(reason)s"},
    TextForm{"RescheduledByPolicyException",
             "Build of instance %(instance_uuid)s was re-scheduled: %(reason)s"},
    TextForm{"RescheduledException",
             "Build of instance %(instance_uuid)s was re-scheduled: %(reason)s"},
    TextForm{"ResizeError", "Resize error: %(reason)s"},
    TextForm{"UnshelveException", "Error during unshelve instance %(instance_id)s: %(reason)s"},
    TextForm{"VolumeAttachFailed",
             "Volume %(volume_id)s could not be attached. Reason: %(reason)s"},
    TextForm{"VolumeDetachFailed",
             "Volume %(volume_id)s could not be detached. Reason: %(reason)s"},
    TextForm{"VolumeRebaseFailed", "Volume rebase failed: %(reason)s"},
};

template <class Rows> auto find_row(const Rows& rows, std::string_view name) {
    const auto row =
        std::lower_bound(rows.begin(), rows.end(), name, [](const auto& one, auto wanted) {
            return one.name < wanted;
        });
    return row != rows.end() && row->name == name ? &*row : nullptr;
}

std::string_view value_of(std::string_view key, std::initializer_list<TextValue> values) {
    for (const auto& [name, value] : values)
        if (name == key)
            return value;
    return {};
}

std::string fill(std::string_view form, std::initializer_list<TextValue> values) {
    std::string text;
    while (!form.empty()) {
        const auto begin = form.find("%(");
        text += form.substr(0, begin);
        if (begin == std::string_view::npos)
            break;
        const auto end = form.find(")s", begin);
        text += value_of(form.substr(begin + 2, end - begin - 2), values);
        form.remove_prefix(end + 2);
    }
    return text;
}

Code code_of(const NovaException& exception) {
    switch (exception.http_code) {
    case 400:
        return Code::InvalidArgument;
    case 403:
        return Code::Unauthorized;
    case 404:
        return Code::NotFound;
    case 409:
        return Code::Conflict;
    default:
        return exception.family == Family::NotSupported ? Code::Unsupported : Code::Internal;
    }
}

std::string_view module_of(const Error& error) {
    if (error.exception.empty())
        return own_module;
    if (const auto* known = find_exception(error.exception))
        return known->module;
    return error.module;
}

/// Does the class have format_message()? Its text is made for users.
bool speaks_for_itself(const Error& error) {
    const auto module = module_of(error);
    return module == own_module || module == "cursive.exception" ||
           module == "oslo_versionedobjects.exception";
}

/// The last line of a Python traceback; the lines before it have no equal here.
std::string traceback_of(const Error& error) {
    const auto module = module_of(error);
    const std::string_view text = error.text;
    return cat(module == "builtins" ? "" : cat(module, '.'),
               class_of(error),
               text.empty() ? "" : ": ",
               text,
               '\n');
}

} // namespace

const NovaException* find_exception(std::string_view name) {
    return find_row(nova_exceptions(), name);
}

Family family_of(const Error& error) {
    const auto* known = find_exception(error.exception);
    return known != nullptr ? known->family : Family::General;
}

bool is_a(const Error& error, std::string_view ancestor) {
    std::string_view name = class_of(error);
    while (name != ancestor) {
        const auto* known = find_exception(name);
        if (known == nullptr || known->base.empty())
            return false;
        name = known->base;
    }
    return true;
}

std::string_view text_form(std::string_view name) {
    const auto* row = find_row(forms, name);
    return row != nullptr ? row->form : std::string_view();
}

Error nova_error(std::string_view name, std::initializer_list<TextValue> values) {
    const auto form = text_form(name);
    const auto* known = find_exception(name);
    Error error;
    error.code = known != nullptr ? code_of(*known) : Code::Internal;
    error.text = form.empty() ? std::string(value_of("reason", values)) : fill(form, values);
    error.exception = name;
    error.module = known != nullptr ? known->module : own_module;
    return error;
}

std::string_view class_of(const Error& error) {
    return error.exception.empty() ? own_class : std::string_view(error.exception);
}

int fault_code(const Error& error) {
    const auto* known = find_exception(class_of(error));
    return known != nullptr ? known->http_code : 500;
}

std::string safe_text(const Error& error) {
    if (speaks_for_itself(error) && !error.text.empty())
        return error.text;
    return std::string(class_of(error));
}

FaultTexts fault_of(const Error& error, std::string_view message) {
    FaultTexts fault;
    fault.code = fault_code(error);
    fault.message =
        cut_utf8(message.empty() ? safe_text(error) : std::string(message), fault_message_bytes);
    if (fault.code == 500)
        fault.details = traceback_of(error);
    return fault;
}

EventTexts event_of(const Error& error) {
    return {safe_text(error), traceback_of(error)};
}

} // namespace novalet::tasks
