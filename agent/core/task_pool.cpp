#include "agent/core/task_pool.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"

#include <algorithm>
#include <exception>

namespace novalet {
namespace {

constexpr std::chrono::minutes quiet_time{1};

} // namespace

void run_guarded(const TaskPool::Work& work) {
    try {
        work();
    } catch (const std::exception& error) {
        metrics::counter("novalet_task_exceptions_total", "Broken invariants at the task boundary")
            .add();
        log::error("a task ended with an exception; this is a defect", {{"what", error.what()}});
    }
}

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
        run_guarded(work);
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

} // namespace novalet
