#pragma once
// Builds that an earlier process, or a broker that lost its queues, left without anybody who works
// on them (nova.compute.manager.ComputeManager._error_out_instances_whose_build_was_interrupted).
#include "agent/tasks/services.hpp"

#include <map>
#include <optional>
#include <string>

namespace novalet::tasks {

/// Such a server is BUILD, names no host, and holds an allocation of this host: the scheduler chose
/// this host and nobody claimed here. It goes to ERROR with a fault.
///
/// nova-compute does that before it consumes, and so also to requests that only wait in its queue.
/// Here a request that waits is a request that is carried out: a server goes to ERROR only when
///  1. it was such a server at the first look after the start,
///  2. at a second look, at least `grace` later, its record has not changed since,
///  3. the host's queue was emptied in between: a message that the agent sent to its own queue
///     after the grace came through, and a queue is first in first out,
///  4. no work on it waits or runs here (journal entries are on the queues too).
/// `grace` covers the time between the scheduler's allocation and the conductor's message. A build
/// that comes even later is still done: ERROR does not refuse it.
/// Once for each process. turn() by one thread at a time, as a periodic task.
class InterruptedBuilds {
  public:
    /// Services outlive it.
    explicit InterruptedBuilds(Services& services) : services_(services) {}

    /// How far turns have to be apart.
    static constexpr Seconds grace{300};
    /// The first look, or else the second one. What cannot be read is left for the next turn; when
    /// both are done nothing is read any more.
    void turn();

  private:
    using Records = std::map<std::string, std::string>; ///< uuid → when it was last changed
    [[nodiscard]] Result<Records> look();
    [[nodiscard]] Result<void> queue_is_emptied();
    void settle(const std::string& uuid, const std::string& changed);

    Services& services_;
    std::optional<Records> first_;
    bool done_ = false;
};

} // namespace novalet::tasks
