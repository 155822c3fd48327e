#pragma once
// The records that Nova keeps around every operation on an instance, as one wrapper
// (reference 03 §1.2): action event, fault, task_state, and the saves in between.
#include "agent/core/result.hpp"
#include "agent/objects/conductor.hpp"
#include "agent/objects/object.hpp"
#include "agent/rpc/context.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace novalet::tasks {

/// Which records an operation keeps; the letters are those of reference 03.
struct Records {
    std::string event;                  ///< "compute_stop_instance" (EV); empty = none
    bool fault = true;                  ///< F
    bool reverts_task_state = true;     ///< R
    bool event_already_started = false; ///< carried on after a crash
};

/// Everything that wraps a body needs of the agent. References outlive it.
struct OperationHost {
    objects::Conductor& conductor;
    std::string host; ///< CONF.host
};

/// One element of expected_task_state; nullopt means "no task" (null is allowed).
using TaskState = std::optional<std::string>;

/// Instance.save through the conductor. `expected` empty = no check (reference 02 §4).
[[nodiscard]] Result<void> save_instance(const OperationHost& host,
                                         const rpc::Context& context,
                                         objects::Object& instance,
                                         const std::vector<TaskState>& expected = {});

/// Runs `body` between event start and event finish. On failure, in Nova's order: fault, event
/// "Error", task_state reset (not for UnexpectedTaskStateError and its subclass, not when the
/// instance is gone). A failing event start ends the operation before the body, with the
/// task_state reset. Errors while keeping records are logged; the body's error is what is returned.
/// Nothing of that when the control plane cannot be reached: such work is tried again.
[[nodiscard]] Result<Json> with_records(const OperationHost& host,
                                        const rpc::Context& context,
                                        objects::Object& instance,
                                        const Records& records,
                                        const std::function<Result<Json>()>& body);

/// InstanceFault.create: code 500 unless the exception has its own; message cut to 255 bytes.
void record_fault(const OperationHost& host,
                  const rpc::Context& context,
                  const std::string& instance_uuid,
                  const Error& error);

/// Text as str(exception) would give it to a user: the error's text.
[[nodiscard]] std::string fault_message(const Error& error);

/// Did the message bus or the conductor not answer at all? Such work is tried again, not failed.
[[nodiscard]] bool control_plane_unreachable(const Error& error);

/// NetworkInfo list of the info cache; empty when there is none.
[[nodiscard]] Json cached_network_info(const objects::Object& instance);

/// A failure that does not end the work is logged; that the instance is gone is none.
void warn(const char* what, const Result<void>& result);

/// Is the instance (being) deleted, so that nobody is left to be told?
[[nodiscard]] bool instance_is_gone(const Error& error);

} // namespace novalet::tasks
