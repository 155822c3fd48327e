#include "agent/tasks/engine/instance_queue.hpp"

#include <algorithm>

namespace novalet::tasks {

InstanceQueues::InstanceQueues(TaskPool& pool) : pool_(pool) {}

void InstanceQueues::post(const std::string& key, Work work) {
    post_turns(key, [work = std::move(work)](const std::stop_token& stop) {
        work(stop);
        return Turn::done();
    });
}

void InstanceQueues::post_turns(const std::string& key, Continuation work) {
    bool first = false;
    {
        const std::lock_guard lock(mutex_);
        first = !lanes_.contains(key);
        lanes_[key].waiting.push_back(std::move(work));
    }
    if (first)
        pool_.post([this, key] { run(key); });
}

void InstanceQueues::run(const std::string& key) {
    Continuation work;
    std::stop_token stop;
    std::uint64_t interrupts = 0;
    {
        const std::lock_guard lock(mutex_);
        auto& lane = lanes_.at(key);
        if (!lane.current) {
            lane.current = std::move(lane.waiting.front());
            lane.waiting.pop_front();
        }
        work = lane.current;
        stop = lane.stop.get_token();
        interrupts = lane.interrupts;
    }
    auto turn = Turn::done();
    run_guarded([&] { turn = work(stop); });
    if (turn.is_parked())
        return park(key, turn, interrupts);
    {
        const std::lock_guard lock(mutex_);
        auto& lane = lanes_.at(key);
        lane.current = nullptr;
        lane.stop = std::stop_source(); // an interrupt from now on is for the next one
    }
    // What it holds is released before the next one begins, and without the lock: the end of one
    // operation may wake others.
    work = nullptr;
    bool more = false;
    {
        const std::lock_guard lock(mutex_);
        const auto lane = lanes_.find(key);
        more = !lane->second.waiting.empty();
        if (!more)
            lanes_.erase(lane);
    }
    // To the end of the pool's queue: one busy instance must not starve the others.
    if (more)
        pool_.post([this, key] { run(key); });
}

void InstanceQueues::park(const std::string& key, const Turn& turn, std::uint64_t interrupts) {
    std::uint64_t parking = 0;
    bool interrupted = false;
    std::map<std::string, Lane>::node_type dropped; // ends after the lock is released
    {
        const std::lock_guard lock(mutex_);
        if (stopped_) {
            dropped = std::move(lanes_.extract(key));
            return;
        }
        auto& lane = lanes_.at(key);
        parking = ++parkings_;
        lane.parked = parking;
        interrupted = lane.interrupts != interrupts; // while it was about to wait
    }
    const auto again = [this, key, parking] { wake(key, parking); };
    if (interrupted)
        again();
    else
        turn.arrange(again);
}

void InstanceQueues::wake(const std::string& key, std::uint64_t parking) {
    const std::lock_guard lock(mutex_);
    const auto lane = lanes_.find(key);
    if (stopped_ || lane == lanes_.end() || lane->second.parked != parking)
        return;
    lane->second.parked = 0;
    // Under the lock: after stop() no timer posts to a pool that is about to end.
    pool_.post([this, key] { run(key); });
}

void InstanceQueues::interrupt(const std::string& key) {
    std::uint64_t parking = 0;
    {
        const std::lock_guard lock(mutex_);
        const auto lane = lanes_.find(key);
        if (lane == lanes_.end())
            return;
        ++lane->second.interrupts;
        lane->second.stop.request_stop();
        parking = lane->second.parked;
    }
    if (parking != 0)
        wake(key, parking);
}

bool InstanceQueues::busy(const std::string& key) const {
    const std::lock_guard lock(mutex_);
    return lanes_.contains(key);
}

std::size_t InstanceQueues::size() const {
    const std::lock_guard lock(mutex_);
    return lanes_.size();
}

std::size_t InstanceQueues::parked() const {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::count_if(
        lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane.second.parked != 0; }));
}

void InstanceQueues::stop() {
    std::map<std::string, Lane> dropped; // ends after the lock is released
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    for (auto lane = lanes_.begin(); lane != lanes_.end();) {
        const auto next = std::next(lane);
        if (lane->second.parked != 0)
            dropped.insert(lanes_.extract(lane));
        lane = next;
    }
}

} // namespace novalet::tasks
