#pragma once
// The receiving side: queues of one compute host, and the way from a delivery to the dispatcher.
#include "agent/amqp/session.hpp"
#include "agent/rpc/envelope.hpp"
#include "agent/rpc/recent_ids.hpp"
#include "agent/rpc/replier.hpp"
#include "agent/rpc/request.hpp"
#include "agent/rpc/topology.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

namespace novalet::rpc {

/// Consumes `topic`, `topic.host` and the fan-out of the topic, from `start` to `stop_consuming`.
/// Decoding, journal and acknowledgement run on one accept thread. What cannot be understood is
/// rejected, counted and logged; its caller is told where the message says who that is.
class Server {
  public:
    /// All references outlive the server. Nothing is declared before `start`.
    Server(amqp::Session& session,
           Replier& replier,
           Dispatcher& dispatcher,
           TopologyOptions topology,
           std::string topic,
           std::string host);
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    /// The session must not deliver any more: destroyed, or `stop_consuming` was called.
    ~Server();

    /// Once.
    void start();
    /// No new requests: consumers are cancelled, what was delivered but not accepted goes back to
    /// the broker, and the one that is being accepted is waited for. The connection stays, so that
    /// accepted requests are answered. Concerns all servers of the session.
    void stop_consuming(const Deadline& deadline);

  private:
    void run(const std::stop_token& stop);
    void accept(const amqp::Incoming& message);
    void refuse(const amqp::Incoming& message,
                const std::optional<ReturnAddress>& caller,
                const Error& error);
    void give_back(const amqp::Incoming& message, const Request& request, const Error& error);
    void log_refused(const std::string& reason, std::size_t bytes);

    amqp::Session& session_;
    Replier& replier_;
    Dispatcher& dispatcher_;
    const TopologyOptions topology_;
    const std::string topic_;
    const std::string host_;
    std::mutex mutex_;
    std::condition_variable_any changed_;
    std::deque<amqp::Incoming> inbox_; ///< bounded by the prefetch
    bool busy_ = false;                ///< the accept thread holds a message
    bool stopped_ = false;
    // The accept thread's own.
    RecentIds recent_{256};
    std::string last_reason_;
    MonotonicTime last_logged_;
    std::jthread thread_;
};

} // namespace novalet::rpc
