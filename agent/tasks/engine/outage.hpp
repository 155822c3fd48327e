#pragma once
// A peer that cannot be reached, and who waits for it. Nobody waits with a thread: one of those who
// wait tries after each pause, and when it gets an answer all go on.
#include "agent/core/timer.hpp"
#include "agent/tasks/engine/instance_queue.hpp"

#include <deque>
#include <mutex>

namespace novalet::tasks {

/// All calls are thread safe. The timer ends before it: it holds functions that call it.
class Outage {
  public:
    Outage(Timer& timer, Milliseconds pause) : timer_(timer), pause_(pause) {}
    Outage(const Outage&) = delete;
    Outage& operator=(const Outage&) = delete;

    /// Does anybody wait? Then work that begins joins the line instead of trying as well.
    [[nodiscard]] bool present() const;
    /// Called again after a pause as the one that tries, or when the outage is over.
    void wait(Turn::Wake wake);
    /// Somebody got an answer.
    void over();

  private:
    void let_one_try();

    Timer& timer_;
    const Milliseconds pause_;
    mutable std::mutex mutex_;
    std::deque<Turn::Wake> waiting_;
    bool ticking_ = false;
};

} // namespace novalet::tasks
