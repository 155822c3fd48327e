#pragma once
// The way of an answer: reply queue, retries, heartbeats of the call monitor.
#include "agent/amqp/session.hpp"
#include "agent/core/timer.hpp"
#include "agent/rpc/request.hpp"

#include <memory>

namespace novalet::rpc {

/// Sends replies, each mandatory: while its queue is missing it is tried again every 0.25 s for a
/// minute without holding up others, then the queue is remembered as dead for a minute
/// (reference 01 §4.5). Thread safe.
class Replier {
  public:
    /// `session` publishes; `timer` runs retries and heartbeats. Both outlive the replier.
    Replier(amqp::Session& session, Timer& timer);
    Replier(const Replier&) = delete;
    Replier& operator=(const Replier&) = delete;
    /// Responders that are still open answer nobody afterwards.
    ~Replier();

    /// The responder of a request; for a cast it answers nobody. Heartbeats run by themselves,
    /// every half of the monitor's time, until the answer.
    [[nodiscard]] Responder responder_for(const Request& request);

  private:
    struct Shared;
    std::shared_ptr<Shared> shared_;
};

} // namespace novalet::rpc
