#pragma once
// What threads hand over to a test that waits for it. Thread safe.
#include "agent/core/clock.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>

namespace novalet::tests {

template <class T> class Mailbox {
  public:
    void put(T value) {
        // Told under the lock: whoever takes the value may end the mailbox at once.
        const std::lock_guard lock(mutex_);
        values_.push_back(std::move(value));
        changed_.notify_all();
    }
    /// The next one, or none when the patience of a test is over.
    std::optional<T> take(Milliseconds patience = Milliseconds(60000)) {
        std::unique_lock lock(mutex_);
        if (!changed_.wait_for(lock, patience, [this] { return !values_.empty(); }))
            return std::nullopt;
        T value = std::move(values_.front());
        values_.pop_front();
        return value;
    }
    [[nodiscard]] std::size_t size() const {
        const std::lock_guard lock(mutex_);
        return values_.size();
    }

  private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<T> values_;
};

} // namespace novalet::tests
