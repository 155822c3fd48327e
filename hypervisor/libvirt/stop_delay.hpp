#pragma once
// Which lifecycle events are told when (reference 07 §13): a stop waits, because a guest that
// reboots stops and starts; any other event of the same guest takes the waiting stop's place.
#include "agent/core/clock.hpp"
#include "hypervisor/hypervisor.hpp"

#include <map>
#include <optional>
#include <vector>

namespace novalet::hypervisor::libvirt {

/// Not thread safe: belongs to the event thread.
class StopDelay {
  public:
    explicit StopDelay(Milliseconds delay) : delay_(delay) {}
    /// The event, unless it has to wait.
    [[nodiscard]] std::optional<GuestEvent> take(const GuestEvent& event, MonotonicTime now);
    /// Stops whose time has come, oldest first.
    [[nodiscard]] std::vector<GuestEvent> due(MonotonicTime now);
    /// When due() should be asked again; empty when nothing waits.
    [[nodiscard]] std::optional<MonotonicTime> next() const;

  private:
    const Milliseconds delay_;
    std::map<InstanceUuid, MonotonicTime> waiting_;
};

} // namespace novalet::hypervisor::libvirt
