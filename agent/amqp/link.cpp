#include "agent/amqp/link.hpp"

#include "agent/amqp/socket_options.hpp"
#include "agent/core/text.hpp"

#include <algorithm>
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <poll.h>

namespace novalet::amqp {
namespace {

constexpr int frame_max = 131072;
constexpr Seconds rpc_timeout{20};              ///< for the answer to a declaration
constexpr Seconds shortest_silence{10};         ///< of a peer that is given up
constexpr std::size_t short_string_limit = 255; ///< bytes; AMQP 0-9-1 §4.2.5.3

std::string text_of(amqp_bytes_t bytes) {
    return {static_cast<const char*>(bytes.bytes), bytes.len};
}

amqp_bytes_t bytes_of(const std::string& text) {
    amqp_bytes_t bytes{};
    bytes.len = text.size();
    bytes.bytes = const_cast<char*>(text.data()); // the library only reads it
    return bytes;
}

/// A field table that lives as long as this object.
class Table {
  public:
    explicit Table(const Arguments& arguments) : arguments_(arguments) {
        for (const auto& [key, value] : arguments_) {
            amqp_table_entry_t entry{};
            entry.key = bytes_of(key);
            if (const auto* text = std::get_if<std::string>(&value)) {
                entry.value.kind = AMQP_FIELD_KIND_UTF8;
                entry.value.value.bytes = bytes_of(*text);
            } else if (const auto* number = std::get_if<std::int64_t>(&value)) {
                entry.value.kind = AMQP_FIELD_KIND_I64;
                entry.value.value.i64 = *number;
            } else {
                entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
                entry.value.value.boolean = std::get<bool>(value) ? 1 : 0;
            }
            entries_.push_back(entry);
        }
    }
    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;
    [[nodiscard]] amqp_table_t get() {
        amqp_table_t table{};
        table.num_entries = static_cast<int>(entries_.size());
        table.entries = entries_.data();
        return table;
    }

  private:
    Arguments arguments_;
    std::vector<amqp_table_entry_t> entries_;
};

/// A longer name would be cut by the library and break the frame, and with it the connection.
Result<void> check_short(const char* what, const std::string& text) {
    if (text.size() <= short_string_limit)
        return {};
    return fail(Code::InvalidArgument,
                cat(what, " of ", text.size(), " bytes is over AMQP's limit of 255"));
}

Failure lost(const std::string& what, int status) {
    return fail(Code::Unavailable, cat(what, ": ", amqp_error_string2(status)));
}

/// Capabilities that nova-compute announces as well (reference 01 §3).
amqp_table_t client_properties(std::vector<amqp_table_entry_t>& capabilities,
                               std::vector<amqp_table_entry_t>& properties,
                               const std::string& name) {
    for (const char* capability :
         {"authentication_failure_close", "connection.blocked", "consumer_cancel_notify"}) {
        amqp_table_entry_t entry{};
        entry.key = amqp_cstring_bytes(capability);
        entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
        entry.value.value.boolean = 1;
        capabilities.push_back(entry);
    }
    amqp_table_entry_t entry{};
    entry.key = amqp_cstring_bytes("capabilities");
    entry.value.kind = AMQP_FIELD_KIND_TABLE;
    entry.value.value.table.num_entries = static_cast<int>(capabilities.size());
    entry.value.value.table.entries = capabilities.data();
    properties.push_back(entry);
    entry = {};
    entry.key = amqp_cstring_bytes("connection_name");
    entry.value.kind = AMQP_FIELD_KIND_UTF8;
    entry.value.value.bytes = bytes_of(name);
    properties.push_back(entry);
    amqp_table_t table{};
    table.num_entries = static_cast<int>(properties.size());
    table.entries = properties.data();
    return table;
}

/// RabbitMQ looks every half interval whether it sent something since the last look, so that a
/// healthy one may be silent for a whole interval (rabbit_heartbeat.erl).
Milliseconds silence_allowed(Seconds interval) {
    return Milliseconds(interval) * 3 / 2;
}

timeval to_timeval(Seconds span) {
    return {static_cast<time_t>(span.count()), 0};
}

} // namespace

struct Link::State {
    amqp_connection_state_t connection = nullptr;
    bool open = false;
    bool encrypted = false;
    bool may_read = true; ///< the socket may have something for us
    std::size_t max_body = 0;
    MonotonicTime last_sent;
    MonotonicTime last_received;

    /// A delivery or return whose header and body frames are still to come, by channel.
    struct Partial {
        Event event;
        std::uint64_t expected = 0;
        std::uint64_t received = 0;
        bool header_seen = false;
    };
    std::map<Channel, Partial> partial;

    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() {
        if (connection != nullptr)
            amqp_destroy_connection(connection);
    }

    Result<void> check(Channel channel, const std::string& what);
    Result<void> sent(const char* what, int status);
    Result<void> connect(const Endpoint& endpoint, const Options& options);
    Result<void> login(const Endpoint& endpoint, const Options& options);
    Result<Event> on_method(const amqp_frame_t& frame);
    Event on_header(const amqp_frame_t& frame);
    Event on_body(const amqp_frame_t& frame);
    Event finish(Channel channel);
};

/// Outcome of the last synchronous verb. A channel that the broker closed is closed here, too.
Result<void> Link::State::check(Channel channel, const std::string& what) {
    const amqp_rpc_reply_t reply = amqp_get_rpc_reply(connection);
    may_read = true; // more than the answer may have come
    last_sent = system_clock().monotonic();
    switch (reply.reply_type) {
    case AMQP_RESPONSE_NORMAL:
        last_received = last_sent;
        return {};
    case AMQP_RESPONSE_NONE:
        open = false;
        return fail(Code::Unavailable, what + ": no reply");
    case AMQP_RESPONSE_LIBRARY_EXCEPTION:
        open = false;
        return lost(what, reply.library_error);
    case AMQP_RESPONSE_SERVER_EXCEPTION:
        break;
    }
    unsigned code = 0;
    std::string text = "connection closed by the broker";
    if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
        const auto* close = static_cast<amqp_channel_close_t*>(reply.reply.decoded);
        code = close->reply_code;
        text = text_of(close->reply_text);
        amqp_channel_close_ok_t ok{};
        amqp_send_method(connection, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
    } else if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
        const auto* close = static_cast<amqp_connection_close_t*>(reply.reply.decoded);
        code = close->reply_code;
        text = text_of(close->reply_text);
        open = false;
    }
    const Code kind = code == AMQP_PRECONDITION_FAILED                          ? Code::Conflict
                      : code == AMQP_NOT_FOUND                                  ? Code::NotFound
                      : code == AMQP_ACCESS_REFUSED || code == AMQP_NOT_ALLOWED ? Code::Unauthorized
                                                                                : Code::Unavailable;
    return fail(kind, cat(what, ": ", code, ' ', text));
}

Result<void> Link::State::sent(const char* what, int status) {
    may_read = may_read || encrypted; // the library reads before it writes
    last_sent = system_clock().monotonic();
    if (status == AMQP_STATUS_OK)
        return {};
    open = false;
    return lost(what, status);
}

Result<void> Link::State::connect(const Endpoint& endpoint, const Options& options) {
    amqp_socket_t* socket = nullptr;
    const TlsOptions& tls = options.tls;
    encrypted = tls.enabled;
    if (tls.enabled) {
        socket = amqp_ssl_socket_new(connection);
        if (socket == nullptr)
            return fail(Code::ResourceExhausted, "TLS socket could not be made");
        amqp_ssl_socket_set_verify_peer(socket, 1);
        amqp_ssl_socket_set_verify_hostname(socket, tls.verify_host_name ? 1 : 0);
        amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST);
        // rabbitmq-c 0.11 cannot ask OpenSSL for its default store: Debian's bundle is named.
        const std::string ca =
            tls.ca_file.empty() ? "/etc/ssl/certs/ca-certificates.crt" : tls.ca_file;
        if (amqp_ssl_socket_set_cacert(socket, ca.c_str()) != AMQP_STATUS_OK)
            return fail(Code::InvalidArgument, cat("TLS: CA file '", ca, "' cannot be used"));
        if (!tls.cert_file.empty() &&
            amqp_ssl_socket_set_key(socket, tls.cert_file.c_str(), tls.key_file.c_str()) !=
                AMQP_STATUS_OK)
            return fail(Code::InvalidArgument,
                        cat("TLS: client certificate '",
                            tls.cert_file,
                            "' with key '",
                            tls.key_file,
                            "' cannot be used"));
    } else {
        socket = amqp_tcp_socket_new(connection);
        if (socket == nullptr)
            return fail(Code::ResourceExhausted, "socket could not be made");
    }
    const timeval timeout = to_timeval(options.connect_timeout);
    amqp_set_handshake_timeout(connection, &timeout);
    const timeval answer = to_timeval(rpc_timeout);
    amqp_set_rpc_timeout(connection, &answer);
    const int status = amqp_socket_open_noblock(
        socket, endpoint.host.c_str(), static_cast<int>(endpoint.port), &timeout);
    if (status != AMQP_STATUS_OK)
        return lost("connect", status);
    give_up_after(amqp_get_sockfd(connection), std::max(options.heartbeat, shortest_silence));
    return {};
}

Result<void> Link::State::login(const Endpoint& endpoint, const Options& options) {
    std::vector<amqp_table_entry_t> capabilities;
    std::vector<amqp_table_entry_t> entries;
    const amqp_table_t properties =
        client_properties(capabilities, entries, options.connection_name);
    const amqp_rpc_reply_t reply =
        amqp_login_with_properties(connection,
                                   options.url.virtual_host.c_str(),
                                   last_channel,
                                   frame_max,
                                   static_cast<int>(options.heartbeat.count()),
                                   &properties,
                                   AMQP_SASL_METHOD_PLAIN,
                                   endpoint.user.c_str(),
                                   endpoint.password.reveal().c_str());
    if (reply.reply_type == AMQP_RESPONSE_NORMAL) {
        open = true;
        last_sent = last_received = system_clock().monotonic();
        return {};
    }
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
        reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
        const auto* close = static_cast<amqp_connection_close_t*>(reply.reply.decoded);
        return fail(Code::Unauthorized,
                    cat("login as '",
                        endpoint.user,
                        "' to virtual host '",
                        options.url.virtual_host,
                        "': ",
                        unsigned{close->reply_code},
                        ' ',
                        text_of(close->reply_text)));
    }
    return lost("login", reply.library_error);
}

Link::Link(std::unique_ptr<State> state) : state_(std::move(state)) {}
Link::~Link() = default;

Result<std::unique_ptr<Link>> Link::open(const Endpoint& endpoint, const Options& options) {
    auto state = std::make_unique<State>();
    state->connection = amqp_new_connection();
    if (state->connection == nullptr)
        return fail(Code::ResourceExhausted, "connection could not be made");
    state->max_body = options.max_body;
    NOVALET_TRY(state->connect(endpoint, options));
    NOVALET_TRY(state->login(endpoint, options));
    return std::unique_ptr<Link>(new Link(std::move(state)));
}

void Link::close() {
    if (state_->open)
        amqp_connection_close(state_->connection, AMQP_REPLY_SUCCESS);
    state_->open = false;
}

Result<void> Link::open_channel(Channel channel) {
    state_->partial.erase(channel);
    amqp_channel_open(state_->connection, channel);
    return state_->check(channel, "open channel");
}

Result<void> Link::confirm_select(Channel channel) {
    amqp_confirm_select(state_->connection, channel);
    return state_->check(channel, "confirm.select");
}

Result<void> Link::set_prefetch(Channel channel, unsigned count) {
    amqp_basic_qos(state_->connection, channel, 0, static_cast<std::uint16_t>(count), 0);
    return state_->check(channel, "basic.qos");
}

Result<void> Link::declare(Channel channel, const ExchangeSpec& exchange, bool passive) {
    NOVALET_TRY(check_short("exchange name", exchange.name));
    amqp_exchange_declare(state_->connection,
                          channel,
                          bytes_of(exchange.name),
                          bytes_of(exchange.type),
                          passive ? 1 : 0,
                          exchange.durable ? 1 : 0,
                          exchange.auto_delete ? 1 : 0,
                          0,
                          amqp_empty_table);
    return state_->check(channel, cat("declare exchange '", exchange.name, "'"));
}

Result<void> Link::declare(Channel channel, const QueueSpec& queue, bool passive) {
    NOVALET_TRY(check_short("queue name", queue.name));
    Table arguments(queue.arguments);
    amqp_queue_declare(state_->connection,
                       channel,
                       bytes_of(queue.name),
                       passive ? 1 : 0,
                       queue.durable ? 1 : 0,
                       0,
                       queue.auto_delete ? 1 : 0,
                       arguments.get());
    return state_->check(channel, cat("declare queue '", queue.name, "'"));
}

Result<void> Link::bind(Channel channel,
                        const std::string& queue,
                        const std::string& exchange,
                        const std::string& key) {
    amqp_queue_bind(state_->connection,
                    channel,
                    bytes_of(queue),
                    bytes_of(exchange),
                    bytes_of(key),
                    amqp_empty_table);
    return state_->check(channel, cat("bind queue '", queue, "' to '", exchange, "'"));
}

Result<void> Link::consume(Channel channel, const std::string& queue, const std::string& tag) {
    amqp_basic_consume(
        state_->connection, channel, bytes_of(queue), bytes_of(tag), 0, 0, 0, amqp_empty_table);
    return state_->check(channel, cat("consume from '", queue, "'"));
}

Result<void> Link::cancel(Channel channel, const std::string& tag) {
    amqp_basic_cancel(state_->connection, channel, bytes_of(tag));
    return state_->check(channel, cat("cancel consumer '", tag, "'"));
}

Result<void> Link::delete_queue(Channel channel, const std::string& queue) {
    amqp_queue_delete(state_->connection, channel, bytes_of(queue), 0, 0);
    return state_->check(channel, cat("delete queue '", queue, "'"));
}

Result<void> Link::ack(Channel channel, std::uint64_t tag, bool multiple) {
    return state_->sent("basic.ack",
                        amqp_basic_ack(state_->connection, channel, tag, multiple ? 1 : 0));
}

Result<void> Link::reject(Channel channel, std::uint64_t tag, bool requeue) {
    return state_->sent("basic.reject",
                        amqp_basic_reject(state_->connection, channel, tag, requeue ? 1 : 0));
}

Result<void> Link::publish(Channel channel, const Message& message) {
    NOVALET_TRY(check_short("exchange name", message.exchange));
    NOVALET_TRY(check_short("routing key", message.routing_key));
    amqp_basic_properties_t properties{};
    properties._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG |
                        AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG |
                        AMQP_BASIC_HEADERS_FLAG;
    properties.content_type = amqp_cstring_bytes("application/json");
    properties.content_encoding = amqp_cstring_bytes("utf-8");
    properties.delivery_mode = AMQP_DELIVERY_PERSISTENT;
    properties.headers = amqp_empty_table;
    if (!message.expiration.empty()) {
        properties._flags |= AMQP_BASIC_EXPIRATION_FLAG;
        properties.expiration = bytes_of(message.expiration);
    }
    const int status = amqp_basic_publish(state_->connection,
                                          channel,
                                          bytes_of(message.exchange),
                                          bytes_of(message.routing_key),
                                          message.mandatory ? 1 : 0,
                                          0,
                                          &properties,
                                          bytes_of(message.body));
    return state_->sent("basic.publish", status);
}

Event Link::State::finish(Channel channel) {
    Event done = std::move(partial[channel].event);
    partial.erase(channel);
    return done;
}

Event Link::State::on_header(const amqp_frame_t& frame) {
    const auto found = partial.find(frame.channel);
    if (found == partial.end())
        return {};
    auto& part = found->second;
    part.header_seen = true;
    part.expected = frame.payload.properties.body_size;
    if (auto* delivery = std::get_if<Delivery>(&part.event)) {
        delivery->too_large = part.expected > max_body;
        if (!delivery->too_large)
            delivery->body.reserve(part.expected);
    }
    return part.expected == 0 ? finish(frame.channel) : Event();
}

Event Link::State::on_body(const amqp_frame_t& frame) {
    const auto found = partial.find(frame.channel);
    if (found == partial.end() || !found->second.header_seen)
        return {};
    auto& part = found->second;
    const auto& fragment = frame.payload.body_fragment;
    part.received += fragment.len;
    if (auto* delivery = std::get_if<Delivery>(&part.event); delivery != nullptr)
        if (!delivery->too_large)
            delivery->body.append(static_cast<const char*>(fragment.bytes), fragment.len);
    return part.received >= part.expected ? finish(frame.channel) : Event();
}

Result<Event> Link::State::on_method(const amqp_frame_t& frame) {
    const auto& method = frame.payload.method;
    switch (method.id) {
    case AMQP_BASIC_DELIVER_METHOD: {
        const auto* deliver = static_cast<amqp_basic_deliver_t*>(method.decoded);
        Delivery delivery;
        delivery.channel = frame.channel;
        delivery.tag = deliver->delivery_tag;
        delivery.consumer = text_of(deliver->consumer_tag);
        delivery.redelivered = deliver->redelivered != 0;
        partial[frame.channel] = {std::move(delivery), 0, 0, false};
        return Event();
    }
    case AMQP_BASIC_RETURN_METHOD: {
        const auto* returned = static_cast<amqp_basic_return_t*>(method.decoded);
        partial[frame.channel] = {
            Returned{frame.channel, text_of(returned->routing_key), returned->reply_code},
            0,
            0,
            false};
        return Event();
    }
    case AMQP_BASIC_ACK_METHOD: {
        const auto* ack = static_cast<amqp_basic_ack_t*>(method.decoded);
        return Event(Confirm{frame.channel, ack->delivery_tag, ack->multiple != 0, true});
    }
    case AMQP_BASIC_NACK_METHOD: {
        const auto* nack = static_cast<amqp_basic_nack_t*>(method.decoded);
        return Event(Confirm{frame.channel, nack->delivery_tag, nack->multiple != 0, false});
    }
    case AMQP_BASIC_CANCEL_METHOD: {
        const auto* cancel = static_cast<amqp_basic_cancel_t*>(method.decoded);
        return Event(Cancelled{frame.channel, text_of(cancel->consumer_tag)});
    }
    case AMQP_CHANNEL_CLOSE_METHOD: {
        const auto* close = static_cast<amqp_channel_close_t*>(method.decoded);
        amqp_channel_close_ok_t ok{};
        amqp_send_method(connection, frame.channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
        return Event(ChannelClosed{frame.channel, close->reply_code, text_of(close->reply_text)});
    }
    case AMQP_CONNECTION_CLOSE_METHOD: {
        const auto* close = static_cast<amqp_connection_close_t*>(method.decoded);
        const std::string text = text_of(close->reply_text);
        const unsigned code = close->reply_code;
        amqp_connection_close_ok_t ok{};
        amqp_send_method(connection, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
        open = false;
        return fail(Code::Unavailable, cat("closed by the broker: ", code, ' ', text));
    }
    case AMQP_CONNECTION_BLOCKED_METHOD: {
        const auto* blocked = static_cast<amqp_connection_blocked_t*>(method.decoded);
        return Event(FlowChanged{true, text_of(blocked->reason)});
    }
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        return Event(FlowChanged{false, {}});
    default:
        return Event();
    }
}

/// rabbitmq-c sends its heartbeats only from some verbs, gives a silent peer twice the time, and
/// swallows the heartbeats that come.
Result<void> Link::keep_alive() {
    const Seconds interval{amqp_get_heartbeat(state_->connection)};
    if (interval == Seconds(0))
        return {};
    const auto now = system_clock().monotonic();
    if (now - state_->last_received >= Milliseconds(interval) / 8) {
        pollfd readable{socket(), POLLIN, 0};
        if (poll(&readable, 1, 0) > 0)
            state_->last_received = now;
    }
    if (now - state_->last_received >= silence_allowed(interval)) {
        state_->open = false;
        return fail(Code::Unavailable,
                    cat("the broker sent nothing, not even a heartbeat, for ",
                        silence_allowed(interval).count() / 1000,
                        " s"));
    }
    if (now - state_->last_sent >= Milliseconds(interval) / 2) {
        amqp_frame_t frame{};
        frame.frame_type = AMQP_FRAME_HEARTBEAT;
        return state_->sent("heartbeat", amqp_send_frame(state_->connection, &frame));
    }
    return {};
}

Result<Event> Link::next() {
    // Frames of one message come one by one; go on while there is something to read.
    for (;;) {
        const bool reads = !buffered();
        if (reads) {
            if (!state_->may_read)
                return Event();
            // One read takes what is there, and poll tells of more; only TLS may hold decrypted
            // bytes that poll does not see, until a read gets nothing.
            state_->may_read = state_->encrypted;
        }
        amqp_maybe_release_buffers(state_->connection);
        amqp_frame_t frame{};
        const timeval now{0, 0};
        const int status = amqp_simple_wait_frame_noblock(state_->connection, &frame, &now);
        if (status == AMQP_STATUS_TIMEOUT) {
            state_->may_read = false;
            return Event();
        }
        if (status != AMQP_STATUS_OK) {
            state_->open = false;
            return lost("connection", status);
        }
        if (reads)
            state_->last_received = system_clock().monotonic();
        Result<Event> event = Event();
        if (frame.frame_type == AMQP_FRAME_METHOD)
            event = state_->on_method(frame);
        else if (frame.frame_type == AMQP_FRAME_HEADER)
            event = state_->on_header(frame);
        else if (frame.frame_type == AMQP_FRAME_BODY)
            event = state_->on_body(frame);
        if (!event || !std::holds_alternative<std::monostate>(*event))
            return event;
    }
}

void Link::expect_input() {
    state_->may_read = true;
}

bool Link::buffered() const {
    return amqp_frames_enqueued(state_->connection) != 0 ||
           amqp_data_in_buffer(state_->connection) != 0;
}

int Link::socket() const {
    return amqp_get_sockfd(state_->connection);
}

bool Link::alive() const {
    return state_->open;
}

std::optional<MonotonicTime> Link::due() const {
    const Seconds interval{amqp_get_heartbeat(state_->connection)};
    if (interval == Seconds(0))
        return std::nullopt;
    return std::min<MonotonicTime>(state_->last_sent + Milliseconds(interval) / 2,
                                   state_->last_received + silence_allowed(interval));
}

} // namespace novalet::amqp
