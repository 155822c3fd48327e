#pragma once
// The compute interface as Nova speaks it: every method that a control plane or another host may
// send, from nova/compute/rpcapi.py and nova/compute/manager.py of Zed (6.1) to 2026.2 (6.5).
// Methods that 6.0 dropped (aggregate hosts, security group refreshes) are no part of it.
#include "agent/tasks/records/failure_policy.hpp"

#include <span>
#include <string_view>

namespace novalet::tasks {

/// How an operation stands to others on the same server.
enum class Lane {
    Exclusive, ///< one after another, as with Nova's lock on instance.uuid or its task_state
    Beside,    ///< has effects, but must not wait for the operation that runs (abort, events)
    Question   ///< changes nothing that another operation relies on
};

struct Argument {
    std::string_view name;
    bool required = true;
    std::string_view since; ///< version of the interface; empty = as old as the method
    std::string_view until; ///< first version without it; empty = still there
};

struct MethodFacts {
    std::string_view name;
    std::string_view since; ///< "6.0", or the later version it came with
    std::span<const Argument> arguments;
    bool answered = false;  ///< a call: somebody waits for the answer; false: a cast
    std::string_view event; ///< action event of the instance; empty = none
    Lane lane = Lane::Exclusive;
    FailurePolicy on_failure;
};

/// All of them, sorted by name. Valid for the life of the process; any thread.
[[nodiscard]] std::span<const MethodFacts> nova_methods();
/// nullptr when Nova knows no such method.
[[nodiscard]] const MethodFacts* find_method(std::string_view name);

} // namespace novalet::tasks
