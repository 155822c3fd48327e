#include "agent/tasks/engine/periodic.hpp"

#include "agent/core/metrics.hpp"

#include <algorithm>

namespace novalet::tasks {

Periodic::Periodic(TaskPool& pool) : pool_(pool) {}

Periodic::~Periodic() {
    stop();
}

void Periodic::add(std::string name,
                   Milliseconds interval,
                   Milliseconds first,
                   std::function<void()> body) {
    auto task = std::make_shared<Task>();
    task->name = std::move(name);
    task->interval = interval;
    task->due = system_clock().monotonic() + first;
    task->body = std::move(body);
    tasks_.push_back(std::move(task));
}

void Periodic::start() {
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void Periodic::stop() {
    if (!thread_.joinable())
        return;
    thread_.request_stop();
    thread_.join();
}

void Periodic::trigger(const std::string& name) {
    {
        const std::lock_guard lock(mutex_);
        ++triggers_;
        for (auto& task : tasks_)
            if (task->name == name)
                task->due = system_clock().monotonic();
    }
    wake_.notify_all();
}

void Periodic::begin(const std::shared_ptr<Task>& task) {
    if (task->running.exchange(true)) {
        metrics::counter("novalet_periodic_skipped_total",
                         "Turns of a periodic task left out because it was still running",
                         {{"task", task->name}})
            .add();
        return;
    }
    pool_.post([task] {
        struct Done {
            Task& task;
            ~Done() { task.running = false; }
        } done{*task}; // also when the body throws: the next turn must not be left out for ever
        task->body();
    });
}

void Periodic::run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested() && !tasks_.empty()) {
        const auto next =
            std::min_element(tasks_.begin(), tasks_.end(), [](const auto& a, const auto& b) {
                return a->due < b->due;
            });
        const auto now = system_clock().monotonic();
        const auto task = *next;
        if (task->due > now) {
            const auto due = task->due;
            wake_.wait_until(lock, stop, due, [&, seen = triggers_] { return triggers_ != seen; });
            continue;
        }
        task->due = std::max(task->due + task->interval, now);
        lock.unlock();
        begin(task);
        lock.lock();
    }
}

} // namespace novalet::tasks
