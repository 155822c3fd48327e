#pragma once
// The records that Nova keeps around every operation on an instance: fault, event texts, saves, and
// what an error means for the work.
#include "agent/core/result.hpp"
#include "agent/objects/conductor.hpp"
#include "agent/objects/object.hpp"
#include "agent/rpc/context.hpp"

#include <optional>
#include <string>
#include <vector>

namespace novalet::tasks {

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

/// InstanceFault.create: code 500 unless the exception has its own; message cut to 255 bytes.
/// Ok when the instance is gone.
[[nodiscard]] Result<void> record_fault(const OperationHost& host,
                                        const rpc::Context& context,
                                        const std::string& instance_uuid,
                                        const Error& error);

/// What the action event says of a failure.
[[nodiscard]] objects::EventFailure event_failure(const Error& error);

/// Did the message bus or the conductor not answer at all? Such work is tried again, not failed.
[[nodiscard]] bool control_plane_unreachable(const Error& error);

/// Was the link to libvirt lost? Whether the call took effect is unknown: the work looks and goes
/// on when the link is back.
[[nodiscard]] bool hypervisor_unreachable(const Error& error);

/// Either of the two: nothing failed, the work is carried on when the peer answers again.
[[nodiscard]] bool waits_for_peer(const Error& error);

/// For work of several parts: an error that is to be waited out is returned, any other is logged
/// with `what`, so that the other parts are done.
[[nodiscard]] Result<void> or_warn(const char* what, Result<void> result);

/// NetworkInfo list of the info cache; empty when there is none.
[[nodiscard]] Json cached_network_info(const objects::Object& instance);

/// A failure that does not end the work is logged; that the instance is gone is none.
void warn(const char* what, const Result<void>& result);

/// Is the instance (being) deleted, so that nobody is left to be told?
[[nodiscard]] bool instance_is_gone(const Error& error);

} // namespace novalet::tasks
