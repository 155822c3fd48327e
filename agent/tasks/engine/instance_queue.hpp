#pragma once
// Work for one instance is serial, different instances run in parallel on a bounded pool.
#include "agent/core/clock.hpp"

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace novalet::tasks {

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

/// One serial queue for each key (instance uuid) on a shared pool. All calls are thread safe.
class InstanceQueues {
  public:
    /// `stop` is requested by `interrupt(key)`.
    using Work = std::function<void(const std::stop_token& stop)>;
    explicit InstanceQueues(TaskPool& pool);
    InstanceQueues(const InstanceQueues&) = delete;
    InstanceQueues& operator=(const InstanceQueues&) = delete;

    void post(const std::string& key, Work work);
    /// Asks the work that runs now for this key to give up soon (a delete overtakes a build).
    void interrupt(const std::string& key);
    [[nodiscard]] bool busy(const std::string& key) const;

  private:
    struct Lane {
        std::deque<Work> waiting;
        std::stop_source current;
    };
    void run(const std::string& key);

    TaskPool& pool_;
    mutable std::mutex mutex_;
    std::map<std::string, Lane> lanes_; ///< a lane exists while its key has work
};

} // namespace novalet::tasks
