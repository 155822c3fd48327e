#include "hypervisor/simulated/event_queue.hpp"

#include "agent/core/metrics.hpp"

namespace novalet::hypervisor::simulated {

void EventQueue::start(Sink sink) {
    stop();
    const std::lock_guard lock(mutex_);
    open_ = true;
    thread_ = std::jthread(
        [this, sink = std::move(sink)](const std::stop_token& stop) { run(stop, sink); });
}

void EventQueue::stop() {
    std::jthread ending;
    {
        const std::lock_guard lock(mutex_);
        open_ = false;
        waiting_.clear();
        ending = std::move(thread_);
    }
    // The destructor of `ending` asks it to stop and waits for it, without the lock.
}

void EventQueue::push(GuestEvent event) {
    {
        const std::lock_guard lock(mutex_);
        if (!open_)
            return;
        if (waiting_.size() == capacity) {
            waiting_.pop_front();
            static auto& dropped =
                metrics::counter("novalet_simulated_events_dropped_total",
                                 "Lifecycle events of simulated guests nobody fetched in time.");
            dropped.add();
        }
        waiting_.push_back(std::move(event));
    }
    wake_.notify_one();
}

void EventQueue::run(const std::stop_token& stop, const Sink& sink) {
    for (;;) {
        std::unique_lock lock(mutex_);
        if (!wake_.wait(lock, stop, [this] { return !waiting_.empty(); }) || stop.stop_requested())
            return;
        const GuestEvent event = std::move(waiting_.front());
        waiting_.pop_front();
        lock.unlock();
        if (sink)
            sink(event);
    }
}

} // namespace novalet::hypervisor::simulated
