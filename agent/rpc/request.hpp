#pragma once
// One received RPC message after decoding, and who answers it (reference 01 §4).
#include "agent/core/result.hpp"
#include "agent/rpc/context.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace novalet::rpc {

struct Request {
    std::string method;
    std::string version;    ///< "6.0"; empty when the sender stamped none
    std::string name_space; ///< empty = the main endpoint, else "baseapi"
    Json args = Json::object();
    Context context;
    std::string unique_id;                       ///< for duplicate detection
    std::string message_id;                      ///< calls only: echoed in the reply
    std::string reply_queue;                     ///< calls only
    std::optional<std::chrono::seconds> monitor; ///< call monitor: a heartbeat is due each half
    [[nodiscard]] bool is_call() const noexcept { return !message_id.empty(); }
};

/// The one answer of one request. Copies share it; the first `reply` counts, later ones are
/// ignored. While it is open the call monitor's heartbeats are sent. If every copy is dropped
/// without an answer, the caller gets an internal error at once. For casts all of it is a no-op.
/// Any thread.
class Responder {
  public:
    using Send = std::function<void(const Result<Json>&)>;
    Responder() = default;
    explicit Responder(Send send);
    void reply(const Result<Json>& result) const;

  private:
    struct State;
    std::shared_ptr<State> state_;
};

/// What stands behind the servers: implemented by agent/tasks.
class Dispatcher {
  public:
    virtual ~Dispatcher() = default;
    /// Called on the accept thread BEFORE the delivery is acknowledged. When it returns ok a
    /// request with effects is durable. An error leaves the delivery unacknowledged: it is
    /// redelivered. `fresh` false in the answer = seen before (journal knows the unique id):
    /// acknowledge, drop.
    struct Admission {
        bool fresh = true;
    };
    [[nodiscard]] virtual Result<Admission> accept(const Request& request) = 0;
    /// Called on the accept thread after the acknowledgement; must not block.
    virtual void dispatch(Request request, Responder responder) = 0;
};

} // namespace novalet::rpc
