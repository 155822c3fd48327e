#pragma once
// Events as the hypervisor told them, to be waited for.
#include "agent/core/clock.hpp"
#include "hypervisor/hypervisor.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <vector>

namespace novalet::tests {

class EventLog {
  public:
    void add(const hypervisor::GuestEvent& event) {
        const std::lock_guard lock(mutex_);
        events_.push_back(event);
        changed_.notify_all();
    }
    /// Did this event come, now or before the deadline?
    [[nodiscard]] bool has(const InstanceUuid& uuid,
                           hypervisor::GuestEvent::Kind kind,
                           Milliseconds patience = Seconds(20)) {
        std::unique_lock lock(mutex_);
        return changed_.wait_until(lock, Deadline::after(patience).time(), [&] {
            return std::any_of(events_.begin(), events_.end(), [&](const auto& event) {
                return event.uuid == uuid && event.kind == kind;
            });
        });
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<hypervisor::GuestEvent> events_;
};

} // namespace novalet::tests
