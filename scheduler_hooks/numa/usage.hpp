#pragma once
// Accounting of a fitted guest on the host's cells (reference 08 §5). Pure, any thread.
#include "scheduler_hooks/model/guest_topology.hpp"
#include "scheduler_hooks/model/host_topology.hpp"

namespace novalet::scheduler_hooks::numa {

/// Adds what the guest takes: pages, memory, shared vCPUs, pinned CPUs (with the siblings that
/// policy isolate blocks). Guest cells on unknown host cells count nothing. On an error the host is
/// unchanged. Exceptions: CPUPinningUnknown, CPUPinningInvalid.
[[nodiscard]] Result<void> add_usage(model::HostTopology& host, const model::GuestTopology& guest);
/// Gives it back. Counts never fall below zero. Exceptions: CPUUnpinningUnknown,
/// CPUUnpinningInvalid; then the host is unchanged.
[[nodiscard]] Result<void> remove_usage(model::HostTopology& host,
                                        const model::GuestTopology& guest);
/// The host's CPUs that the guest's cell blocks: pins, emulator CPUs, and with policy isolate their
/// siblings.
[[nodiscard]] model::CpuSet blocked_cpus(const model::HostCell& host,
                                         const model::GuestCell& guest);

} // namespace novalet::scheduler_hooks::numa
