#pragma once
// A connection that is always there: one I/O thread which connects to one broker after the other,
// declares and consumes again after each loss, and keeps publications until they are confirmed.
//
// What a broker can do, and what becomes of it (each time one log line and one metric):
//   connection lost, silent or closed   next host after a growing pause; all is declared, consumed
//                                       and published again under the same names
//   consumer cancelled, queue deleted   that queue is declared and consumed again
//   consume channel closed              opened again; all consumers start again
//   publish channel closed              opened again; what was under way is sent again, one by one,
//                                       and the message that closes it again fails
//   406 for an exchange or queue        used as it is, with a hint what to set
//   other refusals of a queue           tried again after a growing pause; the others go on
//   connection.blocked                  publications wait, deliveries go on
//
// Under load a wake-up costs more than what it is for: over 500 in a second, what comes within
// two milliseconds is taken together, as long as that is more than a few.
#include "agent/amqp/outbox.hpp"
#include "agent/amqp/unsettled.hpp"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace novalet::amqp {

/// A delivery as its consumer sees it. `generation` tells channels apart: an acknowledgement for
/// an earlier one is dropped, the broker delivers that message again.
struct Incoming {
    std::uint64_t generation = 0;
    std::uint64_t tag = 0;
    std::string body;
    bool redelivered = false;
    std::size_t bytes = 0; ///< size of the body when it came
};

/// What is declared and consumed, now and after every reconnect, in this order.
struct Subscription : Declaration {
    bool delete_on_stop = false; ///< fan-out queues are removed on a clean stop
    bool expendable = false;     ///< may be deleted and made anew when its home node is down
    /// On the I/O thread: must only take it over. Each has to be acknowledged or rejected.
    std::function<void(Incoming)> on_message;
};

/// Thread safe. Construction connects in the background. A process needs two: one that consumes
/// requests, one that publishes and hears replies, so that a broker which stops reading from
/// publishers does not hold up acknowledgements.
class Session {
  public:
    /// `name` is for logs and metrics: "requests", "calls".
    Session(Options options, std::string name);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    /// Closes; publications that are not confirmed yet are completed as Cancelled.
    ~Session();

    void subscribe(Subscription subscription);
    /// Consumers are cancelled; the connection stays. Returns when it is done, when the connection
    /// is away (nothing is consumed then), or after the deadline. Not on the I/O thread.
    void stop_consuming(const Deadline& deadline);
    void acknowledge(const Incoming& message);
    void reject(const Incoming& message, bool requeue);
    /// ResourceExhausted when 10,000 publications wait already; `done` is not called then.
    [[nodiscard]] Result<void> publish(Publication publication);
    /// Waits until all publications are completed; false when the deadline came first. Not on the
    /// I/O thread.
    bool drain(const Deadline& deadline);
    [[nodiscard]] bool connected() const noexcept { return connected_; }
    /// Called on the I/O thread after every successful (re)connect and declaration.
    void on_connected(std::function<void()> callback);

  private:
    enum class CommandKind { Subscribe, Acknowledge, Reject, Requeue, StopConsuming };
    struct Command {
        CommandKind kind = CommandKind::Acknowledge;
        std::uint64_t generation = 0;
        std::uint64_t tag = 0;
        std::size_t bytes = 0;
        std::shared_ptr<const Subscription> subscription;
    };
    struct Consumer {
        std::shared_ptr<const Subscription> subscription;
        std::string tag;        ///< empty = not consuming now
        MonotonicTime retry_at; ///< meaningful without a tag
        MonotonicTime started;  ///< of the last tag
        unsigned failures = 0;  ///< in a row
        std::string last_error; ///< logged once
    };

    // session.cpp: the thread and the connection
    void command(Command command);
    void nudge();
    void wake();
    void run(const std::stop_token& stop);
    void pause(const std::stop_token& stop);
    bool connect_round(const std::stop_token& stop);
    void use(Link& link, const std::string& broker, const std::stop_token& stop);
    Result<void> prepare(Link& link);
    Result<void> open_channel(Link& link, Channel& channel);
    Result<void> open_publish_channel(Link& link);
    Result<void> serve(Link& link, const std::stop_token& stop);
    Result<void> read_events(Link& link);
    Result<void> handle(Link& link, Event event);
    Result<void> on_channel_closed(Link& link, const ChannelClosed& closed);
    void on_flow(const FlowChanged& flow);
    Result<void> obey_commands(Link& link);
    Result<void> settle(Link& link, const Command& command);
    Result<void> acknowledge_settled(Link& link);
    Result<void> send_publications(Link& link);
    void keep_pace();
    void wait_for_work(Link& link);
    [[nodiscard]] Milliseconds longest_wait(const Link& link);
    void complete(const Outbox::Completions& completions);
    void expire_publications();

    // session_consumers.cpp: declarations and consumers
    Result<void> declare(Link& link, const Declaration& wanted, bool expendable);
    Result<void> declare_exchange(Link& link, const ExchangeSpec& exchange);
    Result<void> declare_queue(Link& link, const QueueSpec& queue, bool expendable);
    Result<void> open_consume_channel(Link& link);
    Result<void> start_consumers(Link& link);
    Result<void> start(Link& link, Consumer& consumer);
    Result<void> deliver(Link& link, Delivery delivery);
    Result<void> on_cancelled(const Cancelled& cancelled);
    Result<void> stop_consumers(Link& link);
    void retry_later(Consumer& consumer, const Error& error);
    void forget_consumers();
    void delete_queues(Link& link);
    void warn_once(const char* what, const Error& error);

    const Options options_;
    const std::string name_;
    int wake_fd_ = -1;
    std::atomic<bool> sleeps_{false}; ///< the thread waits, or looks for work a last time before
    std::atomic<bool> connected_{false};
    std::atomic<bool> consuming_{true}; ///< wanted
    Outbox outbox_;

    // Shared with other threads. The outbox has its own lock, taken while this one is held.
    std::mutex mutex_;
    std::condition_variable changed_; ///< running_consumers_ or the outbox became smaller
    std::vector<Command> commands_;
    std::function<void()> on_connected_;
    std::size_t running_consumers_ = 0;

    // The I/O thread's own. One channel each to consume, to publish and to declare (a refused
    // declaration costs its channel only); a channel opened anew gets another number.
    Channel consume_channel_ = 0;
    Channel publish_channel_ = 0;
    Channel declare_channel_ = 0;
    Channel newest_channel_ = 0;
    std::uint64_t generation_ = 0;
    std::uint64_t next_tag_ = 0;
    std::size_t next_endpoint_ = 0;
    std::size_t unsettled_bytes_ = 0;
    Unsettled unsettled_;
    MonotonicTime next_wakeup_; ///< when it may be, at the pace of `keep_pace`
    bool paced_ = false;        ///< the last one was waited for
    std::size_t handled_ = 0;   ///< commands, publications and events since then
    double collected_ = 0;      ///< of them for each wake-up, of late
    unsigned failed_rounds_ = 0;
    bool blocked_ = false;
    MonotonicTime next_expiry_;
    std::vector<Consumer> consumers_;
    std::set<std::string> declared_; ///< by publications, on this connection
    std::set<std::string> warned_;
    std::jthread thread_;
};

} // namespace novalet::amqp
