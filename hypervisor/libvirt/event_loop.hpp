#pragma once
// The thread that runs libvirt's event loop, and the guest events that wait in it.
#include "agent/core/result.hpp"
#include "hypervisor/libvirt/stop_delay.hpp"

#include <functional>
#include <thread>

namespace novalet::hypervisor::libvirt {

/// The loop is the process's: start only one at a time. Nothing on its thread waits for libvirtd.
class EventLoop {
  public:
    explicit EventLoop(Milliseconds stop_delay) : delay_(stop_delay) {}
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;
    ~EventLoop() { stop(); }

    /// `sink` hears events on the loop's thread.
    [[nodiscard]] Result<void> start(std::function<void(const GuestEvent&)> sink);
    /// The sink hears nothing any more when it returns.
    void stop();
    [[nodiscard]] bool runs() const noexcept { return thread_.joinable(); }
    /// Something happened to a guest. On the loop's thread only.
    void take(const GuestEvent& event);

  private:
    void arm();
    static void on_stop_timer(int timer, void* self);

    std::function<void(const GuestEvent&)> sink_;
    StopDelay delay_; ///< belongs to the loop's thread
    int wake_timer_ = -1;
    int stop_timer_ = -1;
    std::jthread thread_;
};

} // namespace novalet::hypervisor::libvirt
