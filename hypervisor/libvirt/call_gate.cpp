#include "hypervisor/libvirt/call_gate.hpp"

#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/hypervisor.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace novalet::hypervisor::libvirt {

CallGate::Place::~Place() {
    if (gate_ != nullptr)
        gate_->leave(call_);
}

bool CallGate::fits(CallKind kind) const {
    for (std::size_t level = 0; level <= static_cast<std::size_t>(kind); ++level) {
        const auto counted =
            std::count_if(under_way_.begin(), under_way_.end(), [&](const Call& call) {
                return static_cast<std::size_t>(call.kind) >= level;
            });
        if (static_cast<std::size_t>(counted) >= limits.at(level))
            return false;
    }
    return true;
}

std::size_t CallGate::free_number() const {
    std::size_t number = 0;
    while (std::any_of(under_way_.begin(), under_way_.end(), [&](const Call& call) {
        return call.number == number;
    }))
        ++number;
    return number;
}

/// Everybody who may go now goes, so that a later call never takes the place of an earlier one.
void CallGate::admit() {
    bool admitted = false;
    for (auto call = waiting_.begin(); call != waiting_.end();) {
        const auto candidate = call++;
        if (!fits(candidate->kind))
            continue;
        candidate->number = free_number();
        candidate->admitted = true;
        under_way_.splice(under_way_.end(), waiting_, candidate);
        admitted = true;
    }
    if (admitted)
        changed_.notify_all();
}

std::string CallGate::under_way() const {
    std::string out;
    for (const auto& call : under_way_)
        out += cat(out.empty() ? "" : ", ", call.what);
    return out;
}

Result<CallGate::Place> CallGate::enter(CallKind kind, std::string what, const Deadline& until) {
    std::unique_lock lock(mutex_);
    if (waiting_.size() >= longest_queue)
        return link_failure(cat(what,
                                ": not asked, because ",
                                waiting_.size(),
                                " calls to libvirtd wait already; under way: ",
                                under_way()));
    waiting_.push_back(Call{kind, std::move(what)});
    const auto call = std::prev(waiting_.end());
    admit();
    if (!call->admitted)
        metrics::counter("novalet_libvirt_calls_waited_total",
                         "Calls that found no place among those under way at libvirtd")
            .add();
    if (changed_.wait_until(lock, until.time(), [&] { return call->admitted; }))
        return Place(*this, call);
    auto failure = link_failure(cat(call->what,
                                    ": not asked, because it waited in vain for a place among the ",
                                    limits[0],
                                    " calls that libvirtd is given at a time; under way: ",
                                    under_way()));
    waiting_.erase(call);
    return failure;
}

std::size_t CallGate::waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
}

void CallGate::leave(std::list<Call>::iterator call) {
    const std::lock_guard lock(mutex_);
    under_way_.erase(call);
    admit();
}

} // namespace novalet::hypervisor::libvirt
