#pragma once
// build_and_run_instance (reference 03 §2.1). Each step looks at the world first, so that a build
// that an earlier process began can be carried on from its journal entry.
#include "agent/rpc/request.hpp"
#include "agent/tasks/ops/build/build_outcome.hpp"
#include "agent/tasks/services.hpp"

#include <memory>
#include <stop_token>

namespace novalet::tasks {

/// Limits how many builds run at once; waits in line otherwise.
class BuildLimit {
  public:
    explicit BuildLimit(unsigned max);
    /// Waits for a place; false when the stop came first.
    [[nodiscard]] bool enter(const std::stop_token& stop);
    void leave();

  private:
    const unsigned max_; ///< 0 = unlimited
    unsigned inside_ = 0;
    std::mutex mutex_;
    std::condition_variable_any freed_;
};

/// Runs one build to its end: ACTIVE, rescheduled, ERROR with a reason, or nothing left when the
/// instance is gone. The result only tells whether the request has been dealt with; a failed build
/// is dealt with. Call on the instance's queue.
[[nodiscard]] Result<Json> build_and_run_instance(Services& services,
                                                  BuildLimit& limit,
                                                  const rpc::Request& request,
                                                  const Progress& progress,
                                                  const std::stop_token& stop);

} // namespace novalet::tasks
