#pragma once
// A bounded pool of threads for work that nobody waits for.
#include "agent/core/clock.hpp"

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace novalet {

/// Threads that are made when there is work and end after a quiet minute: an idle agent holds none.
/// All calls are thread safe.
class TaskPool {
  public:
    using Work = std::function<void()>;
    explicit TaskPool(std::size_t max_threads);
    TaskPool(const TaskPool&) = delete;
    TaskPool& operator=(const TaskPool&) = delete;
    ~TaskPool(); ///< runs what is queued, then joins

    /// Work must not throw; an escaping exception is a broken invariant and is logged as one.
    void post(Work work);
    /// True when all work was done before the deadline.
    [[nodiscard]] bool wait_idle(const Deadline& deadline);
    [[nodiscard]] std::size_t running() const;

  private:
    struct Worker {
        std::thread thread;
        bool ended = false;
    };
    void run(Worker& self);
    void reap_ended(std::vector<std::thread>& ended);

    const std::size_t max_threads_;
    mutable std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable idle_;
    std::deque<Work> queue_;
    std::deque<Worker> workers_; ///< addresses stay
    std::size_t free_ = 0;
    std::size_t busy_ = 0;
    bool stopping_ = false;
};

/// Runs work at a task boundary: the only place that catches what nobody expected. An exception is
/// a broken invariant, which is logged and counted.
void run_guarded(const TaskPool::Work& work);

} // namespace novalet
