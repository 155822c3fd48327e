#pragma once
// Events of the guests, delivered one after another on a thread of their own.
#include "hypervisor/hypervisor.hpp"

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace novalet::hypervisor::simulated {

/// Thread safe. Bounded: when the sink is too slow the oldest events go, as a lifecycle event only
/// says "look again"; each loss is counted (novalet_simulated_events_dropped_total).
class EventQueue {
  public:
    static constexpr std::size_t capacity = 4096;
    using Sink = std::function<void(const GuestEvent&)>;

    EventQueue() = default;
    EventQueue(const EventQueue&) = delete;
    EventQueue& operator=(const EventQueue&) = delete;
    ~EventQueue() { stop(); }

    void start(Sink sink);
    /// After it returns the sink is not called any more. Not to be called from the sink.
    void stop();
    /// Dropped while no sink is there.
    void push(GuestEvent event);

  private:
    void run(const std::stop_token& stop, const Sink& sink);

    std::mutex mutex_;
    std::condition_variable_any wake_;
    std::deque<GuestEvent> waiting_;
    bool open_ = false;
    std::jthread thread_;
};

} // namespace novalet::hypervisor::simulated
