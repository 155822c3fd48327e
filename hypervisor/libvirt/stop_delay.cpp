#include "hypervisor/libvirt/stop_delay.hpp"

#include <algorithm>

namespace novalet::hypervisor::libvirt {

std::optional<GuestEvent> StopDelay::take(const GuestEvent& event, MonotonicTime now) {
    waiting_.erase(event.uuid);
    if (event.kind != GuestEvent::Kind::Stopped)
        return event;
    waiting_.emplace(event.uuid, now + delay_);
    return std::nullopt;
}

std::vector<GuestEvent> StopDelay::due(MonotonicTime now) {
    std::vector<std::pair<MonotonicTime, InstanceUuid>> ready;
    for (const auto& [uuid, at] : waiting_)
        if (at <= now)
            ready.emplace_back(at, uuid);
    std::sort(ready.begin(), ready.end());
    std::vector<GuestEvent> out;
    for (const auto& [at, uuid] : ready) {
        waiting_.erase(uuid);
        out.push_back({uuid, GuestEvent::Kind::Stopped});
    }
    return out;
}

std::optional<MonotonicTime> StopDelay::next() const {
    std::optional<MonotonicTime> first;
    for (const auto& [uuid, at] : waiting_)
        if (!first || at < *first)
            first = at;
    return first;
}

} // namespace novalet::hypervisor::libvirt
