#include "agent/core/timer.hpp"

namespace novalet {

Timer::Timer() : thread_([this](const std::stop_token& stop) { run(stop); }) {}

Timer::~Timer() {
    thread_.request_stop();
    thread_.join();
}

void Timer::after(Milliseconds span, Work work) {
    {
        const std::lock_guard lock(mutex_);
        due_.emplace(system_clock().monotonic() + span, std::move(work));
    }
    wake_.notify_one();
}

void Timer::run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
        if (due_.empty()) {
            wake_.wait(lock, stop, [this] { return !due_.empty(); });
            continue;
        }
        const auto first = due_.begin();
        const auto at = first->first;
        if (at > system_clock().monotonic()) {
            wake_.wait_until(
                lock, stop, at, [this, at] { return due_.empty() || due_.begin()->first < at; });
            continue;
        }
        const Work work = std::move(first->second);
        due_.erase(first);
        lock.unlock();
        work();
        lock.lock();
    }
}

} // namespace novalet
