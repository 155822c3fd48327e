#include "agent/rpc/dead_queues.hpp"

namespace novalet::rpc {

void DeadQueues::forget_old() {
    const auto now = clock_.monotonic();
    while (!order_.empty() && (order_.size() > limit_ || until_.at(order_.front()) <= now)) {
        until_.erase(order_.front());
        order_.pop_front();
    }
}

void DeadQueues::remember(const std::string& queue) {
    const std::lock_guard lock(mutex_);
    if (until_.emplace(queue, clock_.monotonic() + lifetime_).second)
        order_.push_back(queue);
    forget_old();
}

bool DeadQueues::contains(const std::string& queue) {
    const std::lock_guard lock(mutex_);
    forget_old();
    return until_.count(queue) > 0;
}

} // namespace novalet::rpc
