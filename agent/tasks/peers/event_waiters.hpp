#pragma once
// Waiters for external events (reference 03 §7.1). A waiter is registered before the action that
// makes Neutron send the event, since an event without a waiter is lost.
#include "agent/core/clock.hpp"
#include "agent/core/result.hpp"
#include "agent/core/uuid.hpp"

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

namespace novalet::tasks {

/// Event name and tag, e.g. {"network-vif-plugged", port id}.
using EventKey = std::pair<std::string, std::string>;

class EventWaiters {
  public:
    /// A set of awaited events of one instance; unregisters itself.
    class Waiter {
      public:
        Waiter(EventWaiters& owner, InstanceUuid instance, std::set<EventKey> keys);
        Waiter(const Waiter&) = delete;
        Waiter& operator=(const Waiter&) = delete;
        ~Waiter();

        /// Ok when every event came with status completed. Errors: an event came as failed
        /// (Code::Remote), the deadline passed (Timeout, the text names what is missing), or the
        /// stop was requested (Cancelled).
        [[nodiscard]] Result<void> wait(const Deadline& deadline, const std::stop_token& stop);

      private:
        friend class EventWaiters;
        EventWaiters& owner_;
        InstanceUuid instance_;
        std::set<EventKey> open_;
        std::set<EventKey> failed_;
    };

    /// True when somebody waited for it. Any thread.
    bool deliver(const InstanceUuid& instance, const EventKey& key, bool completed);
    /// Every open waiter of the instance ends with a failure (the instance is being deleted).
    void cancel(const InstanceUuid& instance);

  private:
    std::mutex mutex_;
    std::condition_variable_any changed_;
    std::multimap<InstanceUuid, Waiter*> waiters_;
};

} // namespace novalet::tasks
