#pragma once
// One thread that runs short functions at their time: heartbeats of the call monitor, retries.
#include "agent/core/clock.hpp"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace novalet {

/// Thread safe. Functions run on the timer's thread: they must be short and must not throw.
class Timer {
  public:
    using Work = std::function<void()>;
    Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;
    ~Timer(); ///< what has not run yet is dropped

    void after(Milliseconds span, Work work);

  private:
    void run(const std::stop_token& stop);

    std::mutex mutex_;
    std::condition_variable_any wake_;
    std::multimap<MonotonicTime, Work> due_;
    std::jthread thread_;
};

} // namespace novalet
