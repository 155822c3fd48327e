#include "agent/tasks/engine/gate.hpp"

#include <algorithm>
#include <utility>

namespace novalet::tasks {

bool Gate::Ticket::enter() {
    const std::lock_guard lock(gate_.mutex_);
    if (!inside_ && !wake_ && gate_.has_room() && gate_.line_.empty()) {
        inside_ = true;
        ++gate_.inside_;
    }
    return inside_;
}

void Gate::Ticket::wait(Turn::Wake wake) {
    {
        const std::lock_guard lock(gate_.mutex_);
        if (!inside_ && gate_.has_room() && gate_.line_.empty()) {
            inside_ = true;
            ++gate_.inside_;
        }
        if (!inside_) {
            if (!wake_)
                gate_.line_.push_back(this);
            wake_ = std::move(wake);
            return;
        }
    }
    wake();
}

unsigned Gate::inside() const {
    const std::lock_guard lock(mutex_);
    return inside_;
}

void Gate::give_back(Ticket& ticket) {
    Turn::Wake next;
    {
        const std::lock_guard lock(mutex_);
        std::erase(line_, &ticket);
        ticket.wake_ = nullptr;
        if (!ticket.inside_)
            return;
        ticket.inside_ = false;
        --inside_;
        if (!line_.empty() && has_room()) {
            Ticket& first = *line_.front();
            line_.pop_front();
            first.inside_ = true;
            ++inside_;
            next = std::exchange(first.wake_, nullptr);
        }
    }
    if (next)
        next();
}

} // namespace novalet::tasks
