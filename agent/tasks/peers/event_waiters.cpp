#include "agent/tasks/peers/event_waiters.hpp"

#include "agent/core/text.hpp"

namespace novalet::tasks {

EventWaiters::Waiter::Waiter(EventWaiters& owner, InstanceUuid instance, std::set<EventKey> keys)
    : owner_(owner), instance_(std::move(instance)), open_(std::move(keys)) {
    const std::lock_guard lock(owner_.mutex_);
    owner_.waiters_.emplace(instance_, this);
}

EventWaiters::Waiter::~Waiter() {
    const std::lock_guard lock(owner_.mutex_);
    const auto [first, last] = owner_.waiters_.equal_range(instance_);
    for (auto entry = first; entry != last; ++entry)
        if (entry->second == this) {
            owner_.waiters_.erase(entry);
            break;
        }
}

Result<void> EventWaiters::Waiter::wait(const Deadline& deadline, const std::stop_token& stop) {
    std::unique_lock lock(owner_.mutex_);
    const auto settled = [this] { return open_.empty() || !failed_.empty(); };
    owner_.changed_.wait_until(lock, stop, deadline.time(), settled);
    if (!failed_.empty())
        return fail(Code::Remote,
                    cat("event ",
                        failed_.begin()->first,
                        " for ",
                        failed_.begin()->second,
                        " was reported as failed"));
    if (open_.empty())
        return {};
    if (stop.stop_requested())
        return fail(Code::Cancelled, "waiting for external events was cancelled");
    std::vector<std::string> missing;
    for (const auto& [name, tag] : open_)
        missing.push_back(cat(name, ' ', tag));
    return fail(Code::Timeout, "timed out waiting for " + join(missing, ", "));
}

bool EventWaiters::deliver(const InstanceUuid& instance, const EventKey& key, bool completed) {
    bool awaited = false;
    {
        const std::lock_guard lock(mutex_);
        const auto [first, last] = waiters_.equal_range(instance);
        for (auto entry = first; entry != last; ++entry) {
            Waiter& waiter = *entry->second;
            if (waiter.open_.erase(key) == 0)
                continue;
            awaited = true;
            if (!completed)
                waiter.failed_.insert(key);
        }
    }
    changed_.notify_all();
    return awaited;
}

void EventWaiters::cancel(const InstanceUuid& instance) {
    {
        const std::lock_guard lock(mutex_);
        const auto [first, last] = waiters_.equal_range(instance);
        for (auto entry = first; entry != last; ++entry) {
            Waiter& waiter = *entry->second;
            waiter.failed_.insert(waiter.open_.begin(), waiter.open_.end());
        }
    }
    changed_.notify_all();
}

} // namespace novalet::tasks
