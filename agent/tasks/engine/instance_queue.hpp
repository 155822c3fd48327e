#pragma once
// Work for one instance is serial, different instances run in parallel on a bounded pool. Work that
// has to wait gives its thread back and keeps its place.
#include "agent/core/task_pool.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>

namespace novalet::tasks {

/// What work says when it gives its thread back: it is done, or it is to be called again.
class Turn {
  public:
    /// Calls the work again; any thread, any number of times: the first one counts.
    using Wake = std::function<void()>;
    /// Called once with the wake, when the lane is parked; may wake at once.
    using Arrange = std::function<void(Wake)>;

    [[nodiscard]] static Turn done() { return Turn(nullptr); }
    [[nodiscard]] static Turn parked(Arrange arrange) { return Turn(std::move(arrange)); }
    [[nodiscard]] bool is_parked() const noexcept { return arrange_ != nullptr; }
    void arrange(Wake wake) const { arrange_(std::move(wake)); }

  private:
    explicit Turn(Arrange arrange) : arrange_(std::move(arrange)) {}
    Arrange arrange_;
};

/// One serial queue for each key (instance uuid) on a shared pool. Parked work holds no thread;
/// what was posted for its key behind it waits. All calls are thread safe.
class InstanceQueues {
  public:
    /// `stop` is requested by `interrupt(key)`.
    using Work = std::function<void(const std::stop_token& stop)>;
    using Continuation = std::function<Turn(const std::stop_token& stop)>;
    explicit InstanceQueues(TaskPool& pool);
    InstanceQueues(const InstanceQueues&) = delete;
    InstanceQueues& operator=(const InstanceQueues&) = delete;

    void post(const std::string& key, Work work);
    void post_turns(const std::string& key, Continuation work);
    /// Asks the work of this key that is under way or next, parked work too, to give up soon (a
    /// delete overtakes a build). Parked work is called again for it.
    void interrupt(const std::string& key);
    /// Has the key work, parked work included?
    [[nodiscard]] bool busy(const std::string& key) const;
    /// How many keys have work, and how many of them are parked.
    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] std::size_t parked() const;
    /// Parked work is dropped with what waits behind it, now and later: it is left for the next
    /// start. What runs goes on.
    void stop();

  private:
    struct Lane {
        std::deque<Continuation> waiting;
        Continuation current;  ///< set from its first turn to its last
        std::stop_source stop; ///< of the current work, or of the next when there is none
        std::uint64_t interrupts = 0;
        std::uint64_t parked = 0; ///< number of the parking, 0 = not parked
    };
    void run(const std::string& key);
    void park(const std::string& key, const Turn& turn, std::uint64_t interrupts);
    void wake(const std::string& key, std::uint64_t parking);

    TaskPool& pool_;
    mutable std::mutex mutex_;
    std::map<std::string, Lane> lanes_; ///< a lane exists while its key has work
    std::uint64_t parkings_ = 0;
    bool stopped_ = false;
};

} // namespace novalet::tasks
