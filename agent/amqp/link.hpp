#pragma once
// One connection to one broker through rabbitmq-c: blocking verbs and an event source. Everything
// here belongs to the one thread that made it; `Session` gives it a thread and a memory.
//
// A verb that the broker refuses (Conflict, NotFound, Unauthorized) closes its channel, which has
// to be opened again; the connection and the other channels go on. `alive` tells this from a loss.
// InvalidArgument: refused here, nothing was sent.
#include "agent/amqp/options.hpp"
#include "agent/core/json.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>

namespace novalet::amqp {

using Channel = std::uint16_t;

/// Arguments of a declaration: strings, integers and booleans.
using Arguments = std::map<std::string, std::variant<std::string, std::int64_t, bool>>;

struct ExchangeSpec {
    std::string name; ///< empty = the default exchange, never declared
    std::string type = "topic";
    bool durable = false;
    bool auto_delete = false;
};

struct QueueSpec {
    std::string name;
    bool durable = false;
    bool auto_delete = false;
    Arguments arguments;
};

struct Message {
    std::string exchange;
    std::string routing_key;
    std::string body;
    std::string expiration; ///< milliseconds as text; empty = none
    bool mandatory = false;
};

// What can arrive while waiting.
struct Delivery {
    Channel channel = 0;
    std::uint64_t tag = 0;
    std::string consumer;
    std::string body;
    bool redelivered = false;
    bool too_large = false; ///< body was over the limit and thrown away
};
struct Confirm {
    Channel channel = 0;
    std::uint64_t tag = 0;
    bool multiple = false;
    bool positive = true;
};
struct Returned {
    Channel channel = 0;
    std::string routing_key;
    unsigned code = 0;
};
struct Cancelled {
    Channel channel = 0;
    std::string consumer;
};
struct ChannelClosed {
    Channel channel = 0;
    unsigned code = 0;
    std::string text;
};
struct FlowChanged {
    bool blocked = false;
    std::string reason;
};
using Event = std::
    variant<std::monostate, Delivery, Confirm, Returned, Cancelled, ChannelClosed, FlowChanged>;

class Link {
  public:
    /// Channels are 1 to this.
    static constexpr Channel last_channel = 64;

    /// TCP, TLS, login, heartbeat, TCP_USER_TIMEOUT. Unauthorized when the login is refused.
    [[nodiscard]] static Result<std::unique_ptr<Link>> open(const Endpoint& endpoint,
                                                            const Options& options);
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;
    ~Link(); ///< closes without waiting for the broker

    /// Orderly close; best effort.
    void close();

    /// A number that was closed not long ago must not be used again: what the broker sent on the
    /// old channel may still arrive, and would be taken for the new one's.
    [[nodiscard]] Result<void> open_channel(Channel channel);
    [[nodiscard]] Result<void> confirm_select(Channel channel);
    [[nodiscard]] Result<void> set_prefetch(Channel channel, unsigned count);
    /// Conflict when the broker holds it with other properties (406); the channel is gone then.
    [[nodiscard]] Result<void>
    declare(Channel channel, const ExchangeSpec& exchange, bool passive = false);
    [[nodiscard]] Result<void>
    declare(Channel channel, const QueueSpec& queue, bool passive = false);
    [[nodiscard]] Result<void> bind(Channel channel,
                                    const std::string& queue,
                                    const std::string& exchange,
                                    const std::string& key);
    [[nodiscard]] Result<void>
    consume(Channel channel, const std::string& queue, const std::string& tag);
    [[nodiscard]] Result<void> cancel(Channel channel, const std::string& tag);
    [[nodiscard]] Result<void> delete_queue(Channel channel, const std::string& queue);
    /// `multiple`: this delivery and all before it on the channel that are not settled.
    [[nodiscard]] Result<void> ack(Channel channel, std::uint64_t tag, bool multiple = false);
    [[nodiscard]] Result<void> reject(Channel channel, std::uint64_t tag, bool requeue);
    [[nodiscard]] Result<void> publish(Channel channel, const Message& message);

    /// Heartbeats in both directions: sends one when nothing was sent for half the negotiated
    /// interval; Unavailable when nothing came for one and a half.
    [[nodiscard]] Result<void> keep_alive();
    /// The socket was seen readable (or in error): `next` looks at it.
    void expect_input();
    /// The next event, or monostate when nothing is there: nothing buffered, and nothing more to
    /// be read until `expect_input`. An error means that the connection is lost.
    [[nodiscard]] Result<Event> next();
    /// Frames that were read but not yet handed out: do not sleep on the socket.
    [[nodiscard]] bool buffered() const;
    [[nodiscard]] int socket() const;
    /// False once any verb has lost the connection; a channel error leaves it alive.
    [[nodiscard]] bool alive() const;
    /// When `keep_alive` has to be called again for the heartbeats; none without heartbeats.
    [[nodiscard]] std::optional<MonotonicTime> due() const;

  private:
    struct State;
    explicit Link(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace novalet::amqp
