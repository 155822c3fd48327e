#pragma once
// A connection that is always there: one I/O thread which connects to one broker after the other,
// declares and consumes again after each loss, and keeps publications until they are confirmed.
#include "agent/amqp/link.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace novalet::amqp {

/// A delivery as its consumer sees it. `generation` tells connections apart: an acknowledgement
/// for an earlier connection is dropped, the broker delivers that message again.
struct Incoming {
    std::uint64_t generation = 0;
    std::uint64_t tag = 0;
    std::string body;
    bool redelivered = false;
};

/// What is declared and consumed, now and after every reconnect, in this order.
struct Subscription {
    ExchangeSpec exchange; ///< name empty: no exchange and no binding
    QueueSpec queue;
    std::string binding_key;
    bool delete_on_stop = false; ///< fan-out queues are removed on a clean stop
    /// On the I/O thread: must only take it over.
    std::function<void(Incoming)> on_message;
};

/// A publication. `declare_first` are declared before (notifications make their queues).
struct Publication {
    Message message;
    std::vector<Subscription> declare_first; ///< on_message unused
    Milliseconds patience{60000};            ///< then it fails as Unavailable; also over reconnects
    /// On the I/O thread, once: ok = confirmed by the broker; NotFound = returned as unroutable.
    std::function<void(Result<void>)> done;
};

/// Thread safe. Construction connects in the background.
class Session {
  public:
    /// `name` is for logs and metrics: "requests", "calls".
    Session(Options options, std::string name);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session();

    void subscribe(Subscription subscription);
    /// Consumers are cancelled; the connection stays for answers. Returns when it is done or after
    /// the deadline.
    void stop_consuming(const Deadline& deadline);
    void acknowledge(const Incoming& message);
    void reject(const Incoming& message, bool requeue);
    /// ResourceExhausted when 10,000 publications wait already.
    [[nodiscard]] Result<void> publish(Publication publication);
    [[nodiscard]] bool connected() const noexcept { return connected_; }
    /// Called on the I/O thread after every successful (re)connect and declaration.
    void on_connected(std::function<void()> callback);

  private:
    struct Pending {
        Publication publication;
        MonotonicTime deadline;
        bool returned = false;
    };
    enum class CommandKind { Subscribe, Acknowledge, Reject, Requeue, StopConsuming };
    struct Command {
        CommandKind kind = CommandKind::Acknowledge;
        std::uint64_t generation = 0;
        std::uint64_t tag = 0;
        std::shared_ptr<const Subscription> subscription;
    };

    void run(const std::stop_token& stop);
    bool connect_round(const std::stop_token& stop);
    Result<void> prepare(Link& link);
    Result<void> start(Link& link, const Subscription& subscription);
    Result<void> declare(Link& link, Channel channel, const Subscription& subscription);
    Result<void> serve(Link& link, const std::stop_token& stop);
    Result<void> handle(Link& link, Event event);
    Result<void> obey_commands(Link& link);
    Result<void> send_publications(Link& link);
    void confirm(const Confirm& confirm);
    void mark_returned(const Returned& returned);
    void expire(MonotonicTime now);
    void keep_unconfirmed();
    void wait_for_work(const Link& link);
    void wake();

    const Options options_;
    const std::string name_;
    int wake_fd_ = -1;
    std::atomic<bool> connected_{false};
    std::function<void()> on_connected_;

    // Shared with other threads.
    std::mutex mutex_;
    std::condition_variable stopped_consuming_;
    std::vector<Command> commands_;
    std::deque<Pending> outbox_;
    bool consuming_ = true;
    bool blocked_ = false;

    // The I/O thread's own.
    std::uint64_t generation_ = 0;
    std::size_t next_endpoint_ = 0;
    unsigned failed_rounds_ = 0;
    std::vector<std::shared_ptr<const Subscription>> subscriptions_;
    std::map<std::string, std::shared_ptr<const Subscription>> consumers_; ///< by consumer tag
    std::map<std::uint64_t, Pending> unconfirmed_;                         ///< by publish sequence
    std::uint64_t sequence_ = 0;
    std::jthread thread_;
};

} // namespace novalet::amqp
