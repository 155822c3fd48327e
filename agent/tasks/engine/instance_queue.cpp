#include "agent/tasks/engine/instance_queue.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"

#include <algorithm>
#include <exception>

namespace novalet::tasks {
namespace {

constexpr std::chrono::minutes quiet_time{1};

/// The task boundary: the only place that catches what nobody expected.
void guarded(const TaskPool::Work& work) {
    try {
        work();
    } catch (const std::exception& error) {
        metrics::counter("novalet_task_exceptions_total", "Broken invariants at the task boundary")
            .add();
        log::error("a task ended with an exception; this is a defect", {{"what", error.what()}});
    }
}

} // namespace

TaskPool::TaskPool(std::size_t max_threads) : max_threads_(std::max<std::size_t>(1, max_threads)) {}

TaskPool::~TaskPool() {
    {
        // Work may post more work: the workers are joined when none can be added any more.
        std::unique_lock lock(mutex_);
        idle_.wait(lock, [this] { return queue_.empty() && busy_ == 0; });
        stopping_ = true;
    }
    wake_.notify_all();
    for (auto& worker : workers_)
        if (worker.thread.joinable())
            worker.thread.join();
}

void TaskPool::reap_ended(std::vector<std::thread>& ended) {
    for (auto& worker : workers_)
        if (worker.ended && worker.thread.joinable())
            ended.push_back(std::move(worker.thread));
    while (!workers_.empty() && workers_.front().ended && !workers_.front().thread.joinable())
        workers_.pop_front();
}

void TaskPool::post(Work work) {
    std::vector<std::thread> ended;
    {
        const std::lock_guard lock(mutex_);
        queue_.push_back(std::move(work));
        reap_ended(ended);
        const auto alive = free_ + busy_;
        if (queue_.size() > free_ && alive < max_threads_) {
            auto& worker = workers_.emplace_back();
            ++free_;
            worker.thread = std::thread([this, &worker] { run(worker); });
        }
    }
    wake_.notify_one();
    for (auto& thread : ended)
        thread.join();
}

void TaskPool::run(Worker& self) {
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait_for(lock, quiet_time, [this] { return stopping_ || !queue_.empty(); });
        if (queue_.empty()) {
            --free_;
            self.ended = true;
            return;
        }
        const Work work = std::move(queue_.front());
        queue_.pop_front();
        --free_;
        ++busy_;
        lock.unlock();
        guarded(work);
        lock.lock();
        --busy_;
        ++free_;
        if (queue_.empty() && busy_ == 0)
            idle_.notify_all();
    }
}

bool TaskPool::wait_idle(const Deadline& deadline) {
    std::unique_lock lock(mutex_);
    return idle_.wait_for(lock, deadline.left(), [this] { return queue_.empty() && busy_ == 0; });
}

std::size_t TaskPool::running() const {
    const std::lock_guard lock(mutex_);
    return busy_ + queue_.size();
}

InstanceQueues::InstanceQueues(TaskPool& pool) : pool_(pool) {}

void InstanceQueues::post(const std::string& key, Work work) {
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
    Work work;
    std::stop_token stop;
    {
        const std::lock_guard lock(mutex_);
        auto& lane = lanes_.at(key);
        work = std::move(lane.waiting.front());
        lane.waiting.pop_front();
        lane.current = std::stop_source();
        stop = lane.current.get_token();
    }
    guarded([&] { work(stop); });
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

void InstanceQueues::interrupt(const std::string& key) {
    const std::lock_guard lock(mutex_);
    if (const auto lane = lanes_.find(key); lane != lanes_.end())
        lane->second.current.request_stop();
}

bool InstanceQueues::busy(const std::string& key) const {
    const std::lock_guard lock(mutex_);
    return lanes_.contains(key);
}

} // namespace novalet::tasks
