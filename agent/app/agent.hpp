#pragma once
// The process: the control plane's connection, the compute hosts on it, health and readiness.
#include "agent/core/result.hpp"
#include "config/schema/config.hpp"

#include <memory>
#include <stop_token>

namespace novalet::app {

class Agent {
  public:
    /// Nothing is connected yet. The configuration outlives the agent.
    explicit Agent(const config::Config& config);
    Agent(const Agent&) = delete;
    Agent& operator=(const Agent&) = delete;
    ~Agent();

    /// Returns when requests are consumed and the service is up; waits for broker and conductor as
    /// long as they need. Cancelled when stopped meanwhile.
    [[nodiscard]] Result<void> start(const std::stop_token& stop);
    /// Stops consuming, lets running work reach its end within the graceful time, closes. Guests
    /// are left alone. False: work is still running and stays in the journal for the next start;
    /// the process then has to end at once, as after a crash, for nothing may undo that work.
    [[nodiscard]] bool stop();

  private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

} // namespace novalet::app
