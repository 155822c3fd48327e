#pragma once
// One compute host put together and its life: start in Nova's order, heartbeat, audits, stop
// (reference 04 §2, §4, §5).
#include "config/schema/config.hpp"

#include <memory>
#include <stop_token>

#include "agent/core/result.hpp"

namespace novalet::app {

class Agent {
  public:
    /// Nothing is connected yet.
    explicit Agent(const config::Config& config);
    Agent(const Agent&) = delete;
    Agent& operator=(const Agent&) = delete;
    ~Agent();

    /// Returns when requests are consumed and the service is up; waits for broker and conductor as
    /// long as they need. Cancelled when stopped meanwhile.
    [[nodiscard]] Result<void> start(const std::stop_token& stop);
    /// Stops consuming, lets running work reach its end within the graceful time, closes. Guests
    /// are left alone; what is not finished stays in the journal.
    void stop();

  private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

} // namespace novalet::app
