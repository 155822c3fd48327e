#pragma once
// Periodic tasks: one timer thread that only starts bodies; the bodies run on the task pool, so a
// slow audit never delays a heartbeat.
#include "agent/core/clock.hpp"
#include "agent/core/task_pool.hpp"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace novalet::tasks {

class Periodic {
  public:
    explicit Periodic(TaskPool& pool);
    Periodic(const Periodic&) = delete;
    Periodic& operator=(const Periodic&) = delete;
    ~Periodic();

    /// Before start(). `first` = delay of the first run. A run that is still going when the next is
    /// due is not doubled: that turn is left out and counted.
    void
    add(std::string name, Milliseconds interval, Milliseconds first, std::function<void()> body);
    void start();
    /// No new runs; those under way go on in the pool.
    void stop();
    /// Runs the named task as soon as possible, beside its rhythm.
    void trigger(const std::string& name);

  private:
    struct Task {
        std::string name;
        Milliseconds interval;
        MonotonicTime due;
        std::function<void()> body;
        std::atomic<bool> running{false};
    };
    void run(const std::stop_token& stop);
    void begin(const std::shared_ptr<Task>& task);

    TaskPool& pool_;
    std::mutex mutex_;
    std::condition_variable_any wake_;
    std::vector<std::shared_ptr<Task>> tasks_;
    unsigned triggers_ = 0; ///< wakes the timer thread to look again
    std::jthread thread_;
};

} // namespace novalet::tasks
