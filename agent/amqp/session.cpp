#include "agent/amqp/session.hpp"

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

constexpr Channel consume_channel = 1;
constexpr Channel publish_channel = 2;
constexpr Channel declare_channel = 3; ///< a refused declaration costs this channel only
constexpr std::size_t outbox_limit = 10000;

bool lost(const Error& error) {
    return error.code == Code::Unavailable || error.code == Code::Internal;
}

} // namespace

Session::Session(Options options, std::string name)
    : options_(std::move(options)), name_(std::move(name)),
      wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    std::random_device seed;
    next_endpoint_ = seed() % options_.url.endpoints.size();
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

Session::~Session() {
    thread_.request_stop();
    wake();
    thread_.join();
    close(wake_fd_);
    for (auto* list : {&outbox_})
        for (auto& pending : *list)
            if (pending.publication.done)
                pending.publication.done(fail(Code::Cancelled, "the agent stops"));
}

void Session::wake() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = write(wake_fd_, &one, sizeof one);
}

void Session::on_connected(std::function<void()> callback) {
    const std::lock_guard lock(mutex_);
    on_connected_ = std::move(callback);
}

void Session::subscribe(Subscription subscription) {
    {
        const std::lock_guard lock(mutex_);
        commands_.push_back({CommandKind::Subscribe,
                             0,
                             0,
                             std::make_shared<const Subscription>(std::move(subscription))});
    }
    wake();
}

void Session::acknowledge(const Incoming& message) {
    {
        const std::lock_guard lock(mutex_);
        commands_.push_back({CommandKind::Acknowledge, message.generation, message.tag, nullptr});
    }
    wake();
}

void Session::reject(const Incoming& message, bool requeue) {
    {
        const std::lock_guard lock(mutex_);
        commands_.push_back({requeue ? CommandKind::Requeue : CommandKind::Reject,
                             message.generation,
                             message.tag,
                             nullptr});
    }
    wake();
}

Result<void> Session::publish(Publication publication) {
    {
        const std::lock_guard lock(mutex_);
        if (outbox_.size() >= outbox_limit)
            return fail(
                Code::ResourceExhausted,
                cat("the message bus is away and ", outbox_limit, " messages wait for it already"));
        const auto deadline = system_clock().monotonic() + publication.patience;
        outbox_.push_back({std::move(publication), deadline, false});
    }
    wake();
    return {};
}

void Session::stop_consuming(const Deadline& deadline) {
    std::unique_lock lock(mutex_);
    if (!consuming_)
        return;
    commands_.push_back({CommandKind::StopConsuming, 0, 0, nullptr});
    lock.unlock();
    wake();
    lock.lock();
    stopped_consuming_.wait_for(lock, deadline.left(), [this] { return !consuming_; });
}

void Session::run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        const bool served = connect_round(stop);
        connected_ = false;
        keep_unconfirmed();
        failed_rounds_ = served ? 0 : failed_rounds_ + 1;
        const auto until =
            system_clock().monotonic() + pause_before(std::max(1U, failed_rounds_), options_);
        while (!stop.stop_requested() && system_clock().monotonic() < until) {
            expire(system_clock().monotonic());
            const auto left = std::chrono::ceil<Milliseconds>(until - system_clock().monotonic());
            pollfd waits{wake_fd_, POLLIN, 0};
            poll(&waits, 1, static_cast<int>(std::clamp<Milliseconds::rep>(left.count(), 1, 1000)));
            std::uint64_t count = 0;
            // Drained so that a publication does not turn the pause into a busy loop.
            [[maybe_unused]] const auto got = read(wake_fd_, &count, sizeof count);
        }
    }
}

/// Tries each broker once; serves the first that answers until it is lost. False = none answered.
bool Session::connect_round(const std::stop_token& stop) {
    const auto& endpoints = options_.url.endpoints;
    for (std::size_t i = 0; i < endpoints.size() && !stop.stop_requested(); ++i) {
        const auto& endpoint = endpoints[next_endpoint_];
        next_endpoint_ = (next_endpoint_ + 1) % endpoints.size();
        const std::string where = cat(endpoint.host, ':', endpoint.port);
        auto link = Link::open(endpoint, options_);
        auto ready = link ? prepare(**link) : Result<void>(Failure(link.error()));
        if (!ready) {
            metrics::counter("novalet_amqp_connect_failures_total",
                             "Connections to a broker that could not be made",
                             {{"session", name_}})
                .add();
            log::warning("message broker cannot be used",
                         {{"session", name_}, {"broker", where}, {"error", ready.error().text}});
            continue;
        }
        log::info("connected to the message broker", {{"session", name_}, {"broker", where}});
        metrics::counter(
            "novalet_amqp_connects_total", "Connections made to a broker", {{"session", name_}})
            .add();
        connected_ = true;
        {
            std::function<void()> callback;
            {
                const std::lock_guard lock(mutex_);
                callback = on_connected_;
            }
            if (callback)
                callback();
        }
        const auto ended = serve(**link, stop);
        if (ended)
            (*link)->close();
        else
            log::warning("connection to the message broker lost; reconnecting",
                         {{"session", name_}, {"broker", where}, {"error", ended.error().text}});
        return true;
    }
    return stop.stop_requested();
}

Result<void> Session::prepare(Link& link) {
    ++generation_;
    consumers_.clear();
    NOVALET_TRY(link.open_channel(consume_channel));
    if (options_.prefetch > 0)
        NOVALET_TRY(link.set_prefetch(consume_channel, options_.prefetch));
    NOVALET_TRY(link.open_channel(publish_channel));
    NOVALET_TRY(link.confirm_select(publish_channel));
    sequence_ = 0;
    NOVALET_TRY(link.open_channel(declare_channel));
    bool consuming = true;
    {
        const std::lock_guard lock(mutex_);
        consuming = consuming_;
        blocked_ = false;
    }
    if (consuming)
        for (const auto& subscription : subscriptions_)
            NOVALET_TRY(start(link, *subscription));
    return {};
}

/// Exchange, queue, binding. An exchange that exists with other properties is taken as it is.
Result<void> Session::declare(Link& link, Channel channel, const Subscription& subscription) {
    if (!subscription.exchange.name.empty()) {
        auto declared = link.declare(channel, subscription.exchange);
        if (!declared && declared.error().code == Code::Conflict) {
            log::warning("the exchange exists with other properties and is used as it is; set the "
                         "transport options to the control plane's values",
                         {{"session", name_}, {"error", declared.error().text}});
            NOVALET_TRY(link.open_channel(channel));
            declared = link.declare(channel, subscription.exchange, true);
        }
        NOVALET_TRY(declared);
    }
    if (subscription.queue.name.empty()) // the exchange alone
        return {};
    NOVALET_TRY(link.declare(channel, subscription.queue));
    if (!subscription.exchange.name.empty())
        NOVALET_TRY(link.bind(channel,
                              subscription.queue.name,
                              subscription.exchange.name,
                              subscription.binding_key));
    return {};
}

Result<void> Session::start(Link& link, const Subscription& subscription) {
    auto declared = declare(link, declare_channel, subscription);
    if (!declared) {
        // The refused declaration closed its channel; the others live on.
        if (!lost(declared.error()))
            NOVALET_TRY(link.open_channel(declare_channel));
        if (declared.error().code == Code::Conflict)
            return Failure(declared.error().in(
                cat("queue '",
                    subscription.queue.name,
                    "' exists with other properties; delete it or set transport.* to match")));
        return declared;
    }
    const std::string tag = cat("novalet-", consumers_.size() + 1);
    NOVALET_TRY(link.consume(consume_channel, subscription.queue.name, tag));
    for (const auto& known : subscriptions_)
        if (known.get() == &subscription)
            consumers_[tag] = known;
    return {};
}

Result<void> Session::serve(Link& link, const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        NOVALET_TRY(obey_commands(link));
        NOVALET_TRY(send_publications(link));
        for (;;) {
            auto event = link.next();
            if (!event)
                return Failure(event.error());
            if (std::holds_alternative<std::monostate>(*event))
                break;
            NOVALET_TRY(handle(link, std::move(*event)));
        }
        expire(system_clock().monotonic());
        wait_for_work(link);
    }
    NOVALET_TRY(obey_commands(link)); // the last acknowledgements
    for (const auto& subscription : subscriptions_)
        if (subscription->delete_on_stop)
            discard(link.delete_queue(declare_channel, subscription->queue.name),
                    "the queue expires by itself");
    return {};
}

void Session::wait_for_work(const Link& link) {
    if (link.buffered())
        return;
    Milliseconds span{60000};
    if (link.heartbeat() > Seconds(0))
        span = std::chrono::duration_cast<Milliseconds>(link.heartbeat()) / 4;
    if (!unconfirmed_.empty())
        span = std::min(span, Milliseconds(1000));
    std::array<pollfd, 2> waits{pollfd{link.socket(), POLLIN, 0}, pollfd{wake_fd_, POLLIN, 0}};
    {
        const std::lock_guard lock(mutex_);
        if (!commands_.empty() || (!outbox_.empty() && !blocked_))
            return;
        if (!outbox_.empty())
            span = std::min(span, Milliseconds(1000));
    }
    poll(waits.data(), waits.size(), static_cast<int>(span.count()));
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = read(wake_fd_, &count, sizeof count);
}

Result<void> Session::obey_commands(Link& link) {
    std::vector<Command> commands;
    {
        const std::lock_guard lock(mutex_);
        commands.swap(commands_);
    }
    // Known before anything can fail: after a loss `prepare` starts all that are known.
    const auto known = subscriptions_.size();
    for (const auto& command : commands)
        if (command.kind == CommandKind::Subscribe)
            subscriptions_.push_back(command.subscription);
    for (auto i = known; i < subscriptions_.size(); ++i)
        NOVALET_TRY(start(link, *subscriptions_[i]));
    for (const auto& command : commands) {
        const bool current = command.generation == generation_;
        switch (command.kind) {
        case CommandKind::Subscribe:
            break; // above
        case CommandKind::Acknowledge:
            if (current)
                NOVALET_TRY(link.ack(consume_channel, command.tag));
            break;
        case CommandKind::Reject:
        case CommandKind::Requeue:
            if (current)
                NOVALET_TRY(link.reject(
                    consume_channel, command.tag, command.kind == CommandKind::Requeue));
            break;
        case CommandKind::StopConsuming:
            for (const auto& [tag, subscription] : consumers_)
                NOVALET_TRY(link.cancel(consume_channel, tag));
            consumers_.clear();
            {
                const std::lock_guard lock(mutex_);
                consuming_ = false;
            }
            stopped_consuming_.notify_all();
            break;
        }
    }
    return {};
}

Result<void> Session::send_publications(Link& link) {
    for (;;) {
        Pending pending;
        {
            const std::lock_guard lock(mutex_);
            if (outbox_.empty() || blocked_)
                return {};
            pending = std::move(outbox_.front());
            outbox_.pop_front();
        }
        Result<void> sent;
        for (const auto& wanted : pending.publication.declare_first) {
            sent = declare(link, declare_channel, wanted);
            if (!sent && !lost(sent.error())) {
                NOVALET_TRY(link.open_channel(declare_channel));
                break;
            }
        }
        if (sent) {
            pending.returned = false;
            sent = link.publish(publish_channel, pending.publication.message);
            if (sent) {
                unconfirmed_.emplace(++sequence_, std::move(pending));
                continue;
            }
        }
        if (!lost(sent.error())) {
            if (pending.publication.done)
                pending.publication.done(std::move(sent));
            continue;
        }
        const std::lock_guard lock(mutex_);
        outbox_.push_front(std::move(pending));
        return sent;
    }
}

Result<void> Session::handle(Link& link, Event event) {
    if (auto* delivery = std::get_if<Delivery>(&event)) {
        const auto consumer = consumers_.find(delivery->consumer);
        if (delivery->too_large) {
            log::error("a message over the size limit was rejected",
                       {{"limit_bytes", options_.max_body}});
            return link.reject(consume_channel, delivery->tag, false);
        }
        if (consumer == consumers_.end()) // cancelled meanwhile: back to the queue
            return link.reject(consume_channel, delivery->tag, true);
        consumer->second->on_message(
            {generation_, delivery->tag, std::move(delivery->body), delivery->redelivered});
    } else if (const auto* confirmed = std::get_if<Confirm>(&event)) {
        confirm(*confirmed);
    } else if (const auto* returned = std::get_if<Returned>(&event)) {
        mark_returned(*returned);
    } else if (const auto* cancelled = std::get_if<Cancelled>(&event)) {
        metrics::counter("novalet_amqp_cancelled_total", "Consumers that the broker cancelled")
            .add();
        return fail(Code::Unavailable,
                    cat("the broker cancelled consumer ",
                        cancelled->consumer,
                        " (queue deleted or moved); declaring everything again"));
    } else if (const auto* closed = std::get_if<ChannelClosed>(&event)) {
        log::warning("the broker closed a channel",
                     {{"session", name_}, {"code", closed->code}, {"text", closed->text}});
        if (closed->channel == consume_channel)
            return fail(Code::Unavailable, cat("consume channel closed: ", closed->text));
        NOVALET_TRY(link.open_channel(closed->channel));
        if (closed->channel == publish_channel) {
            NOVALET_TRY(link.confirm_select(publish_channel));
            sequence_ = 0;
            // Which publication offended is unknown: all are tried again until their patience ends.
            keep_unconfirmed();
        }
    } else if (const auto* flow = std::get_if<FlowChanged>(&event)) {
        {
            const std::lock_guard lock(mutex_);
            blocked_ = flow->blocked;
        }
        log::warning(flow->blocked ? "the broker refuses publications for now (memory or disk)"
                                   : "the broker takes publications again",
                     {{"session", name_}, {"reason", flow->reason}});
        metrics::gauge("novalet_amqp_blocked_total", "1 while the broker refuses publications")
            .set(flow->blocked ? 1 : 0);
    }
    return {};
}

void Session::mark_returned(const Returned& returned) {
    // basic.return comes before the acknowledgement of the same publication, in publish order.
    for (auto& [sequence, pending] : unconfirmed_)
        if (!pending.returned && pending.publication.message.mandatory &&
            pending.publication.message.routing_key == returned.routing_key) {
            pending.returned = true;
            return;
        }
}

void Session::confirm(const Confirm& confirm) {
    auto first = confirm.multiple ? unconfirmed_.begin() : unconfirmed_.find(confirm.tag);
    while (first != unconfirmed_.end() && first->first <= confirm.tag) {
        Pending pending = std::move(first->second);
        first = unconfirmed_.erase(first);
        if (!confirm.positive) { // the broker could not store it: again
            const std::lock_guard lock(mutex_);
            outbox_.push_back(std::move(pending));
            continue;
        }
        if (pending.publication.done)
            pending.publication.done(
                pending.returned
                    ? Result<void>(fail(
                          Code::NotFound,
                          cat("nobody listens on '", pending.publication.message.routing_key, "'")))
                    : Result<void>());
    }
}

/// Publications that the lost broker did not confirm are sent again, before the later ones.
void Session::keep_unconfirmed() {
    const std::lock_guard lock(mutex_);
    for (auto entry = unconfirmed_.rbegin(); entry != unconfirmed_.rend(); ++entry)
        outbox_.push_front(std::move(entry->second));
    unconfirmed_.clear();
}

void Session::expire(MonotonicTime now) {
    std::vector<Pending> expired;
    {
        const std::lock_guard lock(mutex_);
        for (auto entry = outbox_.begin(); entry != outbox_.end();) {
            if (entry->deadline <= now) {
                expired.push_back(std::move(*entry));
                entry = outbox_.erase(entry);
            } else {
                ++entry;
            }
        }
    }
    for (auto& pending : expired)
        if (pending.publication.done)
            pending.publication.done(
                fail(Code::Unavailable, "the message bus did not take the message in time"));
}

} // namespace novalet::amqp
