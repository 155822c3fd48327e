#pragma once
// Nova's exceptions as one table: what a class means to those who catch it, and what a failure
// looks like in a fault and in an action event (nova/exception.py of Zed to 2026.2, and the classes
// of other libraries that reach nova-compute's callers).
#include "agent/core/result.hpp"

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace novalet::tasks {

/// What Nova, its callers and this agent decide by. One class has one family; where Nova catches a
/// base class, `is_a` answers.
enum class Family {
    General,              ///< nothing is decided by it
    InstanceGone,         ///< the server is deleted or about to be: nobody is left to be told
    TaskStateTaken,       ///< another operation took the server over: its task_state stays
    VmStateTaken,         ///< the server's state is not the one that was expected
    BuildAbort,           ///< no host can build this server
    ResourcesUnavailable, ///< another host may have what is missing here: reschedule
    MigrationPreCheck,    ///< a live migration ends before it begins, the server stays as it is
    ConsoleType,          ///< this console is not offered: 400 to the user
    NotSupported,         ///< this host or agent cannot do it, and nothing was changed
    OtherRelease,         ///< an object of another release
    Unreachable           ///< the control plane did not answer: try again, fail nothing
};

struct NovaException {
    std::string_view name;   ///< "InstanceNotFound"
    std::string_view module; ///< "nova.exception", "builtins", "oslo_messaging.exceptions", ...
    int http_code = 500;     ///< the class attribute `code`; 500 where it has none
    Family family = Family::General;
    std::string_view base = {}; ///< the class it is derived from, if that is in the table too
};

/// All of them, sorted by name.
[[nodiscard]] std::span<const NovaException> nova_exceptions();
/// nullptr for a class that is not in the table. Names are unique across modules.
[[nodiscard]] const NovaException* find_exception(std::string_view name);
/// The family of the error's class; General for an error without a class or with an unknown one.
[[nodiscard]] Family family_of(const Error& error);
/// Is the error's class `ancestor` or derived from it, as Python's `except ancestor` asks?
[[nodiscard]] bool is_a(const Error& error, std::string_view ancestor);

/// Python's %-form of the class's text, for the classes whose wording users and clients know
/// ("Build of instance %(instance_uuid)s aborted: %(reason)s"); empty for the others.
[[nodiscard]] std::string_view text_form(std::string_view name);
/// An error of the class `name` in Nova's words: each %(key)s of the text form gets the value of
/// its key. A class without a text form is worded by the value of "reason".
using TextValue = std::pair<std::string_view, std::string_view>;
[[nodiscard]] Error nova_error(std::string_view name, std::initializer_list<TextValue> values);

/// The class an error goes by: its own, or NovaException for a failure of ours without one.
[[nodiscard]] std::string_view class_of(const Error& error);

/// HTTP code of a fault: that of the class, 500 for unknown and non-Nova classes.
[[nodiscard]] int fault_code(const Error& error);

/// What everybody may read: the text of an exception that is made to be read, and the class name of
/// any other (Python's own, libvirt's, the message bus's), whose text may tell of the host.
[[nodiscard]] std::string safe_text(const Error& error);

/// What InstanceFault.create gets (nova.compute.utils.add_instance_fault_from_exc).
struct FaultTexts {
    int code = 500;
    std::string message; ///< for everybody; at most 255 bytes of whole characters
    std::string details; ///< for administrators: class and text; empty unless the code is 500
};
/// `message` replaces the safe text, as nova-compute does for a build that is not tried again.
[[nodiscard]] FaultTexts fault_of(const Error& error, std::string_view message = {});

/// What InstanceActionEvent.event_finish_with_failure gets (nova.objects.base.serialize_args).
struct EventTexts {
    std::string exc_val; ///< the safe text, which becomes the event's `details` (since 1.4)
    std::string exc_tb;  ///< never empty: the conductor takes none for success
};
[[nodiscard]] EventTexts event_of(const Error& error);

} // namespace novalet::tasks
