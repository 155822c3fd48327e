#pragma once
// The tables that make up nova_methods, by family, and the words that their rows are written in.
// Sources: nova/compute/rpcapi.py (what is sent, call or cast), the method of the same name in
// nova/compute/manager.py (decorators and except blocks), and what nova/api/openstack/compute and
// nova/conductor catch of it (the class of a refusal).
#include "agent/tasks/catalogue/nova_methods.hpp"

namespace novalet::tasks {

[[nodiscard]] std::span<const MethodFacts> lifecycle_methods();
[[nodiscard]] std::span<const MethodFacts> move_methods();
[[nodiscard]] std::span<const MethodFacts> device_methods();
[[nodiscard]] std::span<const MethodFacts> host_methods();

constexpr bool call = true;
constexpr bool cast = false;
constexpr std::span<const Argument> nothing{};

constexpr Argument needed(std::string_view name) {
    return {name, true, {}, {}};
}
constexpr Argument optional(std::string_view name, std::string_view since = {}) {
    return {name, false, since, {}};
}

/// Decorators wrap_instance_fault and reverts_task_state.
constexpr FailurePolicy reverts(std::string_view refusal) {
    FailurePolicy policy;
    policy.refusal = refusal;
    return policy;
}
/// wrap_instance_fault alone.
constexpr FailurePolicy faults(std::string_view refusal) {
    FailurePolicy policy = reverts(refusal);
    policy.reverts_task_state = false;
    return policy;
}
/// Neither.
constexpr FailurePolicy silent(std::string_view refusal) {
    FailurePolicy policy = faults(refusal);
    policy.fault = false;
    return policy;
}
constexpr FailurePolicy into_error(FailurePolicy policy) {
    policy.vm_state = VmStateAfter::Error;
    return policy;
}
constexpr FailurePolicy
moves(FailurePolicy policy, MigrationAfter migration, AllocationAfter allocation) {
    policy.migration = migration;
    policy.allocation = allocation;
    return policy;
}
constexpr FailurePolicy deletes_image(FailurePolicy policy) {
    policy.delete_image = true;
    return policy;
}
constexpr FailurePolicy deletes_attachment(FailurePolicy policy) {
    policy.delete_attachment = true;
    return policy;
}
constexpr FailurePolicy rolls_detaching(FailurePolicy policy) {
    policy.roll_detaching = true;
    return policy;
}

} // namespace novalet::tasks
