#include "hypervisor/libvirt/event_loop.hpp"

#include "agent/core/log.hpp"
#include "hypervisor/libvirt/translate.hpp"

#include <algorithm>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <utility>

namespace novalet::hypervisor::libvirt {
namespace {

/// libvirt prints errors to stderr unless somebody takes them.
void quiet(void* /*data*/, virErrorPtr /*error*/) {}

/// Once in a process: the event loop cannot be registered again.
Result<void> initialise() {
    static const bool ready = [] {
        virSetErrorFunc(nullptr, quiet);
        return virInitialize() == 0 && virEventRegisterDefaultImpl() == 0;
    }();
    if (!ready)
        return failure_of(last_reason(), "libvirt cannot be initialised", true);
    return {};
}

} // namespace

Result<void> EventLoop::start(std::function<void(const GuestEvent&)> sink) {
    NOVALET_TRY(initialise());
    sink_ = std::move(sink);
    constexpr int never = -1;
    wake_timer_ = virEventAddTimeout(
        never, [](int, void*) {}, nullptr, nullptr);
    stop_timer_ = virEventAddTimeout(never, &EventLoop::on_stop_timer, this, nullptr);
    // The loop sleeps in poll; stop() makes the first timer fire.
    thread_ = std::jthread([](const std::stop_token& stop) {
        while (!stop.stop_requested())
            if (virEventRunDefaultImpl() < 0)
                log::warning("libvirt's event loop reports an error");
    });
    return {};
}

void EventLoop::stop() {
    if (!thread_.joinable())
        return;
    thread_.request_stop();
    virEventUpdateTimeout(wake_timer_, 0);
    thread_.join();
    virEventRemoveTimeout(wake_timer_);
    virEventRemoveTimeout(stop_timer_);
    sink_ = nullptr;
}

void EventLoop::take(const GuestEvent& event) {
    if (const auto now = delay_.take(event, system_clock().monotonic()); now && sink_)
        sink_(*now);
    arm();
}

void EventLoop::arm() {
    const auto next = delay_.next();
    if (!next) {
        virEventUpdateTimeout(stop_timer_, -1);
        return;
    }
    const auto left = std::chrono::duration_cast<Milliseconds>(*next - system_clock().monotonic()) +
                      Milliseconds(1); // rounded up, so that it never fires just before its time
    virEventUpdateTimeout(stop_timer_,
                          static_cast<int>(std::max<Milliseconds::rep>(1, left.count())));
}

void EventLoop::on_stop_timer(int /*timer*/, void* opaque) {
    auto& self = *static_cast<EventLoop*>(opaque);
    for (const auto& event : self.delay_.due(system_clock().monotonic()))
        if (self.sink_)
            self.sink_(event);
    self.arm();
}

} // namespace novalet::hypervisor::libvirt
