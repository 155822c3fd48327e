#pragma once
#include "agent/core/clock.hpp"

#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>

namespace novalet::rpc {

/// Reply queues that are known to be gone, each for a while: a reply to one of them is dropped at
/// once instead of being tried for a minute (oslo.messaging: 200 names, 60 s). Thread safe.
class DeadQueues {
  public:
    explicit DeadQueues(std::size_t limit = 200,
                        Milliseconds lifetime = Milliseconds(60000),
                        const Clock& clock = system_clock())
        : limit_(limit), lifetime_(lifetime), clock_(clock) {}

    /// Over the limit the oldest is forgotten.
    void remember(const std::string& queue);
    [[nodiscard]] bool contains(const std::string& queue);

  private:
    void forget_old();

    const std::size_t limit_;
    const Milliseconds lifetime_;
    const Clock& clock_;
    std::mutex mutex_;
    std::deque<std::string> order_; ///< oldest first
    std::unordered_map<std::string, MonotonicTime> until_;
};

} // namespace novalet::rpc
