#include "agent/tasks/engine/outage.hpp"

#include <utility>

namespace novalet::tasks {

bool Outage::present() const {
    const std::lock_guard lock(mutex_);
    return !waiting_.empty();
}

void Outage::wait(Turn::Wake wake) {
    {
        const std::lock_guard lock(mutex_);
        waiting_.push_back(std::move(wake));
        if (std::exchange(ticking_, true))
            return;
    }
    timer_.after(pause_, [this] { let_one_try(); });
}

void Outage::let_one_try() {
    Turn::Wake first;
    bool more = false;
    {
        const std::lock_guard lock(mutex_);
        if (!waiting_.empty()) {
            first = std::move(waiting_.front());
            waiting_.pop_front();
        }
        more = !waiting_.empty();
        ticking_ = more;
    }
    if (first)
        first();
    // The next one tries after the next pause: the first may have been interrupted and gone.
    if (more)
        timer_.after(pause_, [this] { let_one_try(); });
}

void Outage::over() {
    std::deque<Turn::Wake> all;
    {
        const std::lock_guard lock(mutex_);
        all.swap(waiting_);
    }
    for (const auto& wake : all)
        wake();
}

} // namespace novalet::tasks
