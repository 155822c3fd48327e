#pragma once
// The receiving side: queues of one compute host, and the way from a delivery to the dispatcher.
#include "agent/amqp/session.hpp"
#include "agent/core/timer.hpp"
#include "agent/rpc/request.hpp"
#include "agent/rpc/topology.hpp"

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace novalet::rpc {

/// The last unique ids of a listener; a second message with one of them is a duplicate.
class RecentIds {
  public:
    explicit RecentIds(std::size_t size) : size_(size) {}
    /// True when the id is new; an empty id is always new.
    bool insert(const std::string& id);

  private:
    std::size_t size_;
    std::deque<std::string> order_;
    std::set<std::string> known_;
};

/// Sends replies; remembers for a minute the queues that nobody listens on (reference 01 §4.5).
class Replier {
  public:
    /// `session` publishes; `timer` retries. Both outlive the replier and every Responder.
    Replier(amqp::Session& session, Timer& timer);
    /// The responder of a request; for a cast it answers nobody. Heartbeats run by themselves.
    [[nodiscard]] Responder responder_for(const Request& request);

  private:
    struct Shared;
    std::shared_ptr<Shared> shared_;
};

/// Consumes `topic`, `topic.host` and the fan-out of the topic, from `start` to `stop_consuming`.
/// Decoding, journal and acknowledgement run on one accept thread.
class Server {
  public:
    Server(amqp::Session& session,
           Replier& replier,
           Dispatcher& dispatcher,
           TopologyOptions topology,
           std::string topic,
           std::string host);
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server();

    void start();
    /// No new requests; what has been accepted goes on.
    void stop_consuming(const Deadline& deadline);

  private:
    void run(const std::stop_token& stop);
    void accept(const amqp::Incoming& message);

    amqp::Session& session_;
    Replier& replier_;
    Dispatcher& dispatcher_;
    const TopologyOptions topology_;
    const std::string topic_;
    const std::string host_;
    RecentIds recent_{256};
    std::mutex mutex_;
    std::condition_variable_any arrived_;
    std::deque<amqp::Incoming> inbox_; ///< bounded by the prefetch
    std::jthread thread_;
};

} // namespace novalet::rpc
