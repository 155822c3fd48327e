// Declarations and consumers of a session. All of it runs on the I/O thread.
#include "agent/amqp/session.hpp"
#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"

#include <algorithm>

namespace novalet::amqp {
namespace {

/// A consumer that ran so long is healthy: its next failure starts with the shortest pause.
constexpr Seconds healthy_after{60};

metrics::Series& mismatches(const std::string& session) {
    return metrics::counter("novalet_amqp_mismatched_declarations_total",
                            "Exchanges and queues that exist with other properties",
                            {{"session", session}});
}

} // namespace

/// The same trouble of the same thing is one line in the life of the process.
void Session::warn_once(const char* what, const Error& error) {
    if (warned_.insert(error.text).second)
        log::warning(what, {{"session", name_}, {"error", error.text}});
}

/// A refused declaration closes its channel; it is open again afterwards, unless all is lost.
Result<void> Session::declare_exchange(Link& link, const ExchangeSpec& exchange) {
    auto declared = link.declare(declare_channel_, exchange);
    if (declared || !link.alive())
        return declared;
    if (declared.error().code != Code::InvalidArgument)
        NOVALET_TRY(open_channel(link, declare_channel_));
    if (declared.error().code != Code::Conflict)
        return declared;
    mismatches(name_).add();
    warn_once("an exchange exists with other properties and is used as it is; set the transport "
              "options to the control plane's values",
              declared.error());
    auto passive = link.declare(declare_channel_, exchange, true);
    if (!passive && link.alive())
        NOVALET_TRY(open_channel(link, declare_channel_));
    return passive;
}

Result<void> Session::declare_queue(Link& link, const QueueSpec& queue, bool expendable) {
    auto declared = link.declare(declare_channel_, queue);
    if (declared || !link.alive())
        return declared;
    if (declared.error().code == Code::InvalidArgument)
        return declared;
    NOVALET_TRY(open_channel(link, declare_channel_));
    if (declared.error().code == Code::Conflict) {
        mismatches(name_).add();
        warn_once("a queue exists with other properties and is used as it is; set the transport "
                  "options to the control plane's values, or delete the queue",
                  declared.error());
        declared = link.declare(declare_channel_, queue, true);
    } else if (declared.error().code == Code::NotFound && expendable) {
        // Its home node is down: nothing in it is worth waiting for that node.
        declared = link.delete_queue(declare_channel_, queue.name);
        if (declared)
            declared = link.declare(declare_channel_, queue);
    } else {
        return declared;
    }
    if (!declared && link.alive())
        NOVALET_TRY(open_channel(link, declare_channel_));
    return declared;
}

/// Exchange, queue, binding. Unless the connection is lost, the declare channel is open afterwards.
Result<void> Session::declare(Link& link, const Declaration& wanted, bool expendable) {
    const bool has_exchange = !wanted.exchange.name.empty();
    if (has_exchange)
        NOVALET_TRY(declare_exchange(link, wanted.exchange));
    if (wanted.queue.name.empty())
        return {};
    NOVALET_TRY(declare_queue(link, wanted.queue, expendable));
    if (!has_exchange)
        return {};
    auto bound =
        link.bind(declare_channel_, wanted.queue.name, wanted.exchange.name, wanted.binding_key);
    if (!bound && link.alive())
        NOVALET_TRY(open_channel(link, declare_channel_));
    return bound;
}

Result<void> Session::open_consume_channel(Link& link) {
    ++generation_; // delivery tags start anew
    unsettled_bytes_ = 0;
    unsettled_.clear();
    NOVALET_TRY(open_channel(link, consume_channel_));
    if (options_.prefetch > 0)
        NOVALET_TRY(link.set_prefetch(consume_channel_, std::min(options_.prefetch, 65535U)));
    return {};
}

/// Those that do not run and whose pause is over.
Result<void> Session::start_consumers(Link& link) {
    if (!consuming_)
        return {};
    for (std::size_t i = 0; i < consumers_.size(); ++i) { // start may clear other tags
        auto& consumer = consumers_[i];
        if (consumer.tag.empty() && consumer.retry_at <= system_clock().monotonic())
            NOVALET_TRY(start(link, consumer));
    }
    const auto running = static_cast<std::size_t>(
        std::count_if(consumers_.begin(), consumers_.end(), [](const Consumer& consumer) {
            return !consumer.tag.empty();
        }));
    const std::lock_guard lock(mutex_);
    running_consumers_ = running;
    return {};
}

Result<void> Session::start(Link& link, Consumer& consumer) {
    const auto& wanted = *consumer.subscription;
    const auto declared = declare(link, wanted, wanted.expendable);
    if (!link.alive())
        return declared;
    if (!declared) {
        retry_later(consumer, declared.error());
        return {};
    }
    // A close of the consume channel that came meanwhile would not be seen by `consume`.
    const auto generation = generation_;
    NOVALET_TRY(read_events(link));
    if (generation != generation_)
        return {}; // at once again, on the new channel
    const std::string tag = cat("novalet-", ++next_tag_);
    const auto consumed = link.consume(consume_channel_, wanted.queue.name, tag);
    if (!link.alive())
        return consumed;
    if (!consumed) {
        retry_later(consumer, consumed.error());
        for (auto& other : consumers_) // the refusal closed the channel of all
            other.tag.clear();
        return open_consume_channel(link);
    }
    consumer.tag = tag;
    consumer.started = system_clock().monotonic();
    if (!consumer.last_error.empty()) {
        log::info("a queue is consumed again", {{"session", name_}, {"queue", wanted.queue.name}});
        consumer.last_error.clear();
    }
    return {};
}

void Session::retry_later(Consumer& consumer, const Error& error) {
    const auto now = system_clock().monotonic();
    consumer.tag.clear();
    if (consumer.failures > 0 && now - consumer.started > healthy_after &&
        consumer.started != MonotonicTime())
        consumer.failures = 0;
    consumer.started = {};
    consumer.retry_at = now + pause_before(consumer.failures, options_);
    ++consumer.failures;
    metrics::counter("novalet_amqp_consumer_failures_total",
                     "Queues that could not be declared or consumed, or were taken away",
                     {{"session", name_}})
        .add();
    if (consumer.last_error != error.text)
        log::warning("a queue cannot be consumed; declaring it again",
                     {{"session", name_},
                      {"queue", consumer.subscription->queue.name},
                      {"error", error.text}});
    consumer.last_error = error.text;
}

Result<void> Session::deliver(Link& link, Delivery delivery) {
    if (delivery.channel != consume_channel_)
        return {}; // of a closed channel: the broker delivers it again
    if (delivery.too_large) {
        metrics::counter("novalet_amqp_oversized_total", "Deliveries over the size limit").add();
        log::error("a message over the size limit was rejected",
                   {{"session", name_}, {"limit_bytes", options_.max_body}});
        return link.reject(consume_channel_, delivery.tag, false);
    }
    for (const auto& consumer : consumers_) {
        if (!consuming_ || consumer.tag != delivery.consumer)
            continue;
        Incoming incoming;
        incoming.generation = generation_;
        incoming.tag = delivery.tag;
        incoming.bytes = delivery.body.size();
        incoming.body = std::move(delivery.body);
        incoming.redelivered = delivery.redelivered;
        unsettled_bytes_ += incoming.bytes;
        unsettled_.delivered(incoming.tag);
        consumer.subscription->on_message(std::move(incoming));
        return {};
    }
    return link.reject(consume_channel_, delivery.tag, true); // cancelled meanwhile
}

Result<void> Session::on_cancelled(const Cancelled& cancelled) {
    for (auto& consumer : consumers_)
        if (consumer.tag == cancelled.consumer) {
            metrics::counter("novalet_amqp_cancelled_total",
                             "Consumers that the broker cancelled",
                             {{"session", name_}})
                .add();
            Error error;
            error.text = "the broker cancelled the consumer (queue deleted or moved)";
            retry_later(consumer, error);
        }
    return {};
}

Result<void> Session::stop_consumers(Link& link) {
    for (auto& consumer : consumers_) {
        if (consumer.tag.empty())
            continue;
        const std::string tag = std::exchange(consumer.tag, {});
        NOVALET_TRY(link.cancel(consume_channel_, tag));
    }
    forget_consumers();
    return {};
}

/// Nothing is consumed any more: stopped, or the connection is gone.
void Session::forget_consumers() {
    for (auto& consumer : consumers_) {
        consumer.tag.clear();
        consumer.retry_at = {};
        consumer.failures = 0;
    }
    {
        const std::lock_guard lock(mutex_);
        running_consumers_ = 0;
    }
    changed_.notify_all();
}

void Session::delete_queues(Link& link) {
    for (const auto& consumer : consumers_)
        if (consumer.subscription->delete_on_stop && link.alive())
            discard(link.delete_queue(declare_channel_, consumer.subscription->queue.name),
                    "the queue expires by itself");
}

} // namespace novalet::amqp
