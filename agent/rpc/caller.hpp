#pragma once
// The client side of RPC: what everything above the transport sees of the bus.
#include "agent/core/clock.hpp"
#include "agent/core/result.hpp"
#include "agent/rpc/context.hpp"

#include <optional>
#include <string>

namespace novalet::rpc {

/// Address of a request (reference 01 §1, §8).
struct Target {
    std::string topic;      ///< "conductor", "scheduler", "compute"
    std::string server;     ///< host for topic.server; empty = any worker of the topic
    std::string name_space; ///< "", "baseapi", "compute_task"
    std::string version;    ///< "3.0"
    bool fanout = false;    ///< to every worker (casts only)
    /// Unique id of the message (casts only); empty = a new one. A message that is sent again under
    /// the same id is the same message: receivers drop what they have seen
    /// (oslo_messaging._drivers.amqpdriver, _unique_id).
    std::string message_id = {};
};

struct CallOptions {
    Milliseconds timeout{60000};    ///< total; also the message's expiration
    std::optional<Seconds> monitor; ///< `_timeout`: heartbeats extend the wait up to `timeout`
};

/// Thread safe; many calls may be under way at once. Faked in unit tests.
class Caller {
  public:
    virtual ~Caller() = default;
    /// The result, or the remote exception (Error::exception = class, Error::module = module,
    /// code NotFound/Conflict/… where the class is known, else Remote), or Timeout
    /// (exception "MessagingTimeout"), or Unavailable while the broker is away until the timeout.
    [[nodiscard]] virtual Result<Json> call(const Target& target,
                                            const std::string& method,
                                            Json args,
                                            const Context& context,
                                            const CallOptions& options = {}) = 0;
    /// Ok once the broker confirmed it.
    [[nodiscard]] virtual Result<void>
    cast(const Target& target, const std::string& method, Json args, const Context& context) = 0;
    /// A notification to `<topic>.<priority>` of the control exchange; declares and binds the
    /// queue.
    [[nodiscard]] virtual Result<void> notify(const std::string& topic,
                                              const std::string& priority,
                                              Json message,
                                              const Context& context) = 0;
};

} // namespace novalet::rpc
