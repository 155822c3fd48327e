#include "agent/amqp/session.hpp"

#include "agent/amqp/socket_options.hpp"
#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"

#include <algorithm>
#include <array>
#include <poll.h>
#include <random>
#include <sys/eventfd.h>
#include <unistd.h>

namespace novalet::amqp {
namespace {

constexpr std::size_t outbox_limit = 10000;
constexpr Milliseconds expiry_interval{500};
constexpr Milliseconds idle_wait{60000};   ///< without heartbeats
constexpr Milliseconds wakeup_interval{2}; ///< under load
constexpr int prompt_wakeups = 64;         ///< then it may be load
constexpr double worth_a_wait = 4;         ///< what an interval collects under load, at least
constexpr int publications_at_once = 128;  ///< then the broker's frames are read again

void drain_eventfd(int fd) {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = read(fd, &count, sizeof count);
}

} // namespace

Session::Session(Options options, std::string name)
    : options_(std::move(options)), name_(std::move(name)),
      wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), outbox_(outbox_limit) {
    std::random_device seed; // so that the hosts of a cloud spread over the brokers
    next_endpoint_ = seed() % options_.url.endpoints.size();
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

Session::~Session() {
    thread_.request_stop();
    wake();
    thread_.join();
    close(wake_fd_);
    Outbox::run(outbox_.cancel_all());
}

/// After something was queued. A thread that is awake looks into the queues before it sleeps.
void Session::nudge() {
    if (sleeps_.exchange(false))
        wake();
}

void Session::wake() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = write(wake_fd_, &one, sizeof one);
}

void Session::command(Command command) {
    {
        const std::lock_guard lock(mutex_);
        commands_.push_back(std::move(command));
    }
    nudge();
}

void Session::on_connected(std::function<void()> callback) {
    const std::lock_guard lock(mutex_);
    on_connected_ = std::move(callback);
}

void Session::subscribe(Subscription subscription) {
    command({CommandKind::Subscribe,
             0,
             0,
             0,
             std::make_shared<const Subscription>(std::move(subscription))});
}

void Session::acknowledge(const Incoming& message) {
    command({CommandKind::Acknowledge, message.generation, message.tag, message.bytes, nullptr});
}

void Session::reject(const Incoming& message, bool requeue) {
    command({requeue ? CommandKind::Requeue : CommandKind::Reject,
             message.generation,
             message.tag,
             message.bytes,
             nullptr});
}

Result<void> Session::publish(Publication publication) {
    NOVALET_TRY(outbox_.add(std::move(publication)));
    nudge();
    return {};
}

void Session::stop_consuming(const Deadline& deadline) {
    consuming_ = false;
    command({CommandKind::StopConsuming, 0, 0, 0, nullptr});
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, deadline.left(), [this] { return running_consumers_ == 0; });
}

bool Session::drain(const Deadline& deadline) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, deadline.left(), [this] { return outbox_.size() == 0; });
}

void Session::complete(const Outbox::Completions& completions) {
    if (completions.empty())
        return;
    Outbox::run(completions);
    { const std::lock_guard lock(mutex_); } // a waiter has either seen it or is told now
    changed_.notify_all();
}

void Session::expire_publications() {
    const auto now = system_clock().monotonic();
    if (now < next_expiry_)
        return;
    next_expiry_ = now + expiry_interval;
    complete(outbox_.expire());
}

void Session::run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        const bool served = connect_round(stop);
        failed_rounds_ = served ? 1 : failed_rounds_ + 1;
        pause(stop);
    }
}

void Session::pause(const std::stop_token& stop) {
    const auto until = system_clock().monotonic() + pause_before(failed_rounds_, options_);
    while (!stop.stop_requested() && system_clock().monotonic() < until) {
        expire_publications();
        const auto left = std::chrono::ceil<Milliseconds>(until - system_clock().monotonic());
        pollfd waits{wake_fd_, POLLIN, 0};
        poll(&waits, 1, static_cast<int>(std::clamp<Milliseconds::rep>(left.count(), 1, 1000)));
        // Drained so that a publication does not turn the pause into a busy loop.
        drain_eventfd(wake_fd_);
    }
}

/// Tries each broker once; serves the first that answers until it is lost. False = none answered.
bool Session::connect_round(const std::stop_token& stop) {
    const auto& endpoints = options_.url.endpoints;
    for (std::size_t i = 0; i < endpoints.size() && !stop.stop_requested(); ++i) {
        const auto& endpoint = endpoints[next_endpoint_];
        next_endpoint_ = (next_endpoint_ + 1) % endpoints.size();
        const std::string broker = cat(endpoint.host, ':', endpoint.port);
        auto link = Link::open(endpoint, options_);
        const auto ready = link ? prepare(**link) : Result<void>(Failure(link.error()));
        if (ready) {
            use(**link, broker, stop);
            return true;
        }
        forget_consumers();
        metrics::counter("novalet_amqp_connect_failures_total",
                         "Connections to a broker that could not be made",
                         {{"session", name_}})
            .add();
        log::warning("message broker cannot be used",
                     {{"session", name_}, {"broker", broker}, {"error", ready.error().text}});
        expire_publications();
    }
    return stop.stop_requested();
}

/// From a fresh connection to its end.
void Session::use(Link& link, const std::string& broker, const std::stop_token& stop) {
    log::info("connected to the message broker", {{"session", name_}, {"broker", broker}});
    metrics::counter(
        "novalet_amqp_connects_total", "Connections made to a broker", {{"session", name_}})
        .add();
    connected_ = true;
    std::function<void()> callback;
    {
        const std::lock_guard lock(mutex_);
        callback = on_connected_;
    }
    if (callback)
        callback();
    const auto ended = serve(link, stop);
    connected_ = false;
    if (ended) {
        delete_queues(link);
        link.close();
    } else {
        metrics::counter("novalet_amqp_connections_lost_total",
                         "Connections to a broker that ended unasked",
                         {{"session", name_}})
            .add();
        log::warning("connection to the message broker lost; reconnecting",
                     {{"session", name_}, {"broker", broker}, {"error", ended.error().text}});
    }
    outbox_.connection_lost();
    forget_consumers();
}

Result<void> Session::prepare(Link& link) {
    declared_.clear();
    if (blocked_)
        on_flow({false, "new connection"});
    newest_channel_ = 0;
    NOVALET_TRY(open_consume_channel(link));
    NOVALET_TRY(open_publish_channel(link));
    NOVALET_TRY(open_channel(link, declare_channel_));
    return start_consumers(link);
}

/// Under a number that is free and was not used for long.
Result<void> Session::open_channel(Link& link, Channel& channel) {
    do
        newest_channel_ = static_cast<Channel>(newest_channel_ % Link::last_channel + 1);
    while (newest_channel_ == consume_channel_ || newest_channel_ == publish_channel_ ||
           newest_channel_ == declare_channel_);
    channel = newest_channel_;
    return link.open_channel(channel);
}

Result<void> Session::open_publish_channel(Link& link) {
    NOVALET_TRY(open_channel(link, publish_channel_));
    return link.confirm_select(publish_channel_);
}

Result<void> Session::serve(Link& link, const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        NOVALET_TRY(obey_commands(link));
        NOVALET_TRY(start_consumers(link));
        NOVALET_TRY(send_publications(link));
        NOVALET_TRY(link.keep_alive());
        NOVALET_TRY(read_events(link));
        expire_publications();
        wait_for_work(link);
    }
    return obey_commands(link); // the last acknowledgements
}

Result<void> Session::read_events(Link& link) {
    while (unsettled_bytes_ <= options_.max_unsettled) {
        auto event = link.next();
        if (!event)
            return Failure(event.error());
        if (std::holds_alternative<std::monostate>(*event))
            return {};
        ++handled_;
        NOVALET_TRY(handle(link, std::move(*event)));
    }
    return {};
}

Milliseconds Session::longest_wait(const Link& link) {
    const auto now = system_clock().monotonic();
    const auto until = [now](MonotonicTime time) {
        return std::max(std::chrono::ceil<Milliseconds>(time - now), Milliseconds(0));
    };
    Milliseconds span = idle_wait;
    if (const auto due = link.due())
        span = std::min(span, until(*due));
    if (outbox_.size() > 0) // patience, and pauses of refused ones
        span = std::min(span, Milliseconds(1000));
    const std::lock_guard lock(mutex_);
    if (!commands_.empty() || (!blocked_ && outbox_.ready()))
        return Milliseconds(0);
    if (consuming_)
        for (const auto& consumer : consumers_)
            if (consumer.tag.empty())
                span = std::min(span, until(consumer.retry_at));
    return span;
}

/// Many wake-ups of late may be load, or a conversation in which each waits for the other: when
/// the last ones have collected little, the next wake-ups are prompt again.
void Session::keep_pace() {
    const auto now = system_clock().monotonic();
    collected_ += (static_cast<double>(std::exchange(handled_, 0)) - collected_) / 4;
    if (paced_ && collected_ < worth_a_wait)
        next_wakeup_ = {};
    paced_ = next_wakeup_ > now;
    if (paced_) { // at most one interval, and only a stop writes to this descriptor meanwhile
        pollfd stop{wake_fd_, POLLIN, 0};
        poll(&stop,
             1,
             static_cast<int>(std::chrono::ceil<Milliseconds>(next_wakeup_ - now).count()));
    }
    next_wakeup_ = std::max(next_wakeup_, now - wakeup_interval * prompt_wakeups) + wakeup_interval;
}

void Session::wait_for_work(Link& link) {
    const bool full = unsettled_bytes_ > options_.max_unsettled;
    if (!full && link.buffered())
        return;
    keep_pace();
    sleeps_ = true; // before the queues are looked at: what comes later finds it and wakes
    std::array<pollfd, 2> waits{pollfd{wake_fd_, POLLIN, 0}, pollfd{link.socket(), POLLIN, 0}};
    // While memory is full, what has come is worked on first; the kernel holds the rest.
    poll(waits.data(), full ? 1 : 2, static_cast<int>(longest_wait(link).count()));
    sleeps_ = false;
    if (waits[0].revents != 0)
        drain_eventfd(wake_fd_);
    if (waits[1].revents != 0)
        link.expect_input();
}

Result<void> Session::settle(Link& link, const Command& command) {
    if (command.generation != generation_)
        return {};
    unsettled_bytes_ -= std::min(unsettled_bytes_, command.bytes);
    if (command.kind == CommandKind::Acknowledge) {
        if (unsettled_.acknowledge(command.tag))
            return {}; // with the others
        return link.ack(consume_channel_, command.tag);
    }
    unsettled_.rejected(command.tag);
    return link.reject(consume_channel_, command.tag, command.kind == CommandKind::Requeue);
}

Result<void> Session::acknowledge_settled(Link& link) {
    for (const auto& [tag, multiple] : unsettled_.take())
        NOVALET_TRY(link.ack(consume_channel_, tag, multiple));
    return {};
}

Result<void> Session::obey_commands(Link& link) {
    std::vector<Command> commands;
    {
        const std::lock_guard lock(mutex_);
        commands.swap(commands_);
    }
    handled_ += commands.size();
    // Known before anything can fail: after a loss all that are known are started.
    for (const auto& command : commands)
        if (command.kind == CommandKind::Subscribe) {
            Consumer consumer;
            consumer.subscription = command.subscription;
            consumers_.push_back(std::move(consumer));
        }
    for (const auto& command : commands) {
        switch (command.kind) {
        case CommandKind::Subscribe:
            break; // above
        case CommandKind::Acknowledge:
        case CommandKind::Reject:
        case CommandKind::Requeue:
            NOVALET_TRY(settle(link, command));
            break;
        case CommandKind::StopConsuming:
            NOVALET_TRY(stop_consumers(link));
            break;
        }
    }
    return acknowledge_settled(link);
}

/// What cannot be declared first fails alone; a lost connection keeps the publication.
Result<void> Session::send_publications(Link& link) {
    std::optional<Packing> packing;
    for (int count = 0; count < publications_at_once && !blocked_; ++count) {
        auto entry = outbox_.take();
        if (!entry)
            return {};
        Result<void> sent;
        for (const auto& wanted : entry->publication.declare_first) {
            const std::string key = cat(wanted.exchange.name, '\n', wanted.queue.name);
            if (declared_.count(key) > 0)
                continue;
            packing.reset();
            sent = declare(link, wanted, false);
            if (!sent)
                break;
            declared_.insert(key);
        }
        if (sent) {
            if (!packing)
                packing.emplace(link.socket());
            sent = link.publish(publish_channel_, entry->publication.message);
        }
        if (sent) {
            ++handled_;
            outbox_.sent(std::move(*entry));
        } else if (link.alive()) {
            complete(outbox_.fail_entry(std::move(*entry), sent.error()));
        } else {
            outbox_.put_back(std::move(*entry));
            return sent;
        }
    }
    return {};
}

Result<void> Session::handle(Link& link, Event event) {
    if (auto* delivery = std::get_if<Delivery>(&event))
        return deliver(link, std::move(*delivery));
    // What still comes on a channel that was closed is nobody's.
    if (const auto* confirmed = std::get_if<Confirm>(&event)) {
        if (confirmed->channel == publish_channel_)
            complete(outbox_.confirmed(*confirmed));
    } else if (const auto* returned = std::get_if<Returned>(&event)) {
        if (returned->channel != publish_channel_)
            return {};
        metrics::counter("novalet_amqp_returned_total", "Publications that nobody listened to")
            .add();
        outbox_.returned(*returned);
    } else if (const auto* cancelled = std::get_if<Cancelled>(&event)) {
        return on_cancelled(*cancelled);
    } else if (const auto* closed = std::get_if<ChannelClosed>(&event)) {
        return on_channel_closed(link, *closed);
    } else if (const auto* flow = std::get_if<FlowChanged>(&event)) {
        on_flow(*flow);
    }
    return {};
}

Result<void> Session::on_channel_closed(Link& link, const ChannelClosed& closed) {
    metrics::counter("novalet_amqp_channels_closed_total",
                     "Channels that the broker closed",
                     {{"session", name_}})
        .add();
    log::warning("the broker closed a channel; opening it again",
                 {{"session", name_},
                  {"channel", closed.channel},
                  {"code", closed.code},
                  {"text", closed.text}});
    if (closed.channel == consume_channel_) {
        Error error;
        error.text = cat("consume channel closed: ", closed.code, ' ', closed.text);
        for (auto& consumer : consumers_) {
            if (consumer.tag.empty())
                continue;
            consumer.last_error = error.text; // the line above is enough
            retry_later(consumer, error);
        }
        return open_consume_channel(link);
    }
    if (closed.channel == publish_channel_) {
        declared_.clear(); // perhaps an exchange went away
        complete(outbox_.channel_closed(closed.code, closed.text));
        return open_publish_channel(link);
    }
    if (closed.channel == declare_channel_)
        return open_channel(link, declare_channel_);
    return {};
}

void Session::on_flow(const FlowChanged& flow) {
    blocked_ = flow.blocked;
    const metrics::Labels labels{{"session", name_}};
    metrics::gauge(
        "novalet_amqp_blocked_connections", "1 while the broker refuses publications", labels)
        .set(flow.blocked ? 1 : 0);
    if (!flow.blocked) {
        log::info("the broker takes publications again", {{"session", name_}});
        return;
    }
    metrics::counter("novalet_amqp_blocked_total", "Times the broker refused publications", labels)
        .add();
    log::warning("the broker refuses publications for now (memory or disk)",
                 {{"session", name_}, {"reason", flow.reason}});
}

} // namespace novalet::amqp
