#include "agent/rpc/bus_caller.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"
#include "agent/rpc/envelope.hpp"

#include <condition_variable>
#include <deque>

namespace novalet::rpc {
namespace {

constexpr Milliseconds cast_patience{300000}; ///< a cast outlives an ordinary broker restart

} // namespace

/// One call that waits for its answer.
struct BusCaller::Waiting {
    std::deque<Json> heard;        ///< replies and heartbeats in order
    std::optional<Error> not_sent; ///< the request itself could not be published
};

struct BusCaller::Replies {
    std::mutex mutex;
    std::condition_variable changed;
    std::unordered_map<std::string, Waiting> waiting; ///< by message id
    std::string queue;

    void deliver(const std::string& body) {
        auto message = unwrap(body);
        if (!message) {
            log::warning("an unreadable reply was dropped", {{"error", message.error().text}});
            return;
        }
        {
            const std::lock_guard lock(mutex);
            const auto found = waiting.find((*message)["_msg_id"].as_string());
            if (found == waiting.end()) {
                log::debug("a late reply was dropped");
                return;
            }
            found->second.heard.push_back(std::move(*message));
        }
        changed.notify_all();
    }

    void not_sent(const std::string& id, const Error& error) {
        {
            const std::lock_guard lock(mutex);
            if (const auto found = waiting.find(id); found != waiting.end())
                found->second.not_sent = error;
        }
        changed.notify_all();
    }
};

BusCaller::BusCaller(amqp::Session& session, TopologyOptions topology)
    : session_(session), topology_(std::move(topology)), replies_(std::make_shared<Replies>()) {
    replies_->queue = "reply_" + new_uuid_hex();
}

BusCaller::~BusCaller() = default;

amqp::Publication BusCaller::address(const Target& target, Json message) const {
    amqp::Publication publication;
    if (target.fanout) {
        publication.message.exchange = fanout_exchange(target.topic, topology_).name;
    } else {
        publication.message.exchange = topology_.control_exchange;
        publication.message.routing_key =
            target.server.empty() ? target.topic : cat(target.topic, '.', target.server);
    }
    publication.message.body = wrap(message);
    return publication;
}

Result<Json> BusCaller::call(const Target& target,
                             const std::string& method,
                             Json args,
                             const Context& context,
                             const CallOptions& options) {
    std::call_once(subscribed_, [this] {
        auto subscription = reply_queue(replies_->queue, topology_);
        subscription.on_message = [replies = replies_,
                                   &session = session_](const amqp::Incoming& message) {
            replies->deliver(message.body);
            session.acknowledge(message);
        };
        session_.subscribe(std::move(subscription));
    });
    const std::string id = new_uuid_hex();
    Json message =
        make_request(method, std::move(args), target.version, target.name_space, context);
    message.set("_msg_id", id);
    message.set("_reply_q", replies_->queue);
    message.set("_timeout", options.monitor ? Json(options.monitor->count()) : Json());
    auto publication = address(target, std::move(message));
    publication.message.expiration = std::to_string(options.timeout.count());
    publication.patience = options.timeout;
    publication.done = [replies = replies_, id](const Result<void>& sent) {
        if (!sent)
            replies->not_sent(id, sent.error());
    };
    const auto total = Deadline::after(options.timeout);
    std::unique_lock lock(replies_->mutex);
    auto& mine = replies_->waiting[id];
    struct Forget {
        Replies& replies;
        const std::string& id;
        ~Forget() { replies.waiting.erase(id); } // under the lock, which is declared before
    } forget{*replies_, id};
    lock.unlock();
    auto queued = session_.publish(std::move(publication));
    lock.lock();
    if (!queued)
        return Failure(queued.error());
    auto until = total;
    if (options.monitor)
        until = Deadline::after(std::min<Milliseconds>(*options.monitor, options.timeout));
    for (;;) {
        replies_->changed.wait_for(
            lock, until.left(), [&] { return !mine.heard.empty() || mine.not_sent; });
        if (mine.heard.empty()) {
            if (mine.not_sent)
                return Failure(*mine.not_sent);
            metrics::counter("novalet_rpc_call_timeouts_total",
                             "Calls that got no answer in time",
                             {{"method", method}})
                .add();
            Error timeout;
            timeout.code = Code::Timeout;
            timeout.text = cat("Timed out waiting for a reply to ",
                               method,
                               " from ",
                               target.topic,
                               " (message ID ",
                               id,
                               ")");
            timeout.exception = "MessagingTimeout";
            timeout.module = "oslo_messaging.exceptions";
            timeout.retryable = true;
            return Failure(std::move(timeout));
        }
        Json reply = std::move(mine.heard.front());
        mine.heard.pop_front();
        if (reply.contains("ending") && !reply["ending"].as_bool(true)) {
            // The peer still works on it: the monitor starts anew, within the total.
            if (options.monitor)
                until = Deadline::after(std::min<Milliseconds>(*options.monitor, total.left()));
            continue;
        }
        if (reply["failure"].is_string())
            return Failure(parse_failure(reply["failure"].as_string()));
        return std::move(reply.member("result"));
    }
}

Result<void> BusCaller::publish_and_wait(amqp::Publication publication) {
    struct Outcome {
        std::mutex mutex;
        std::condition_variable changed;
        std::optional<Result<void>> result;
    };
    const auto outcome = std::make_shared<Outcome>();
    publication.patience = cast_patience;
    publication.done = [outcome](Result<void> sent) {
        {
            const std::lock_guard lock(outcome->mutex);
            outcome->result = std::move(sent);
        }
        outcome->changed.notify_all();
    };
    NOVALET_TRY(session_.publish(std::move(publication)));
    std::unique_lock lock(outcome->mutex);
    // The session answers every publication, at its patience at the latest.
    outcome->changed.wait(lock, [&] { return outcome->result.has_value(); });
    return *outcome->result;
}

Result<void> BusCaller::cast(const Target& target,
                             const std::string& method,
                             Json args,
                             const Context& context) {
    auto publication = address(
        target, make_request(method, std::move(args), target.version, target.name_space, context));
    if (target.fanout) {
        // Somebody has to make the exchange, else publishing to it closes the channel.
        amqp::Subscription exchange_only;
        exchange_only.exchange = fanout_exchange(target.topic, topology_);
        publication.declare_first.push_back(std::move(exchange_only));
    }
    return publish_and_wait(std::move(publication));
}

Result<void> BusCaller::notify(const std::string& topic,
                               const std::string& priority,
                               Json message,
                               const Context& context) {
    for (const auto& [key, value] : context.keys().members())
        message.set("_context_" + key, value);
    message.set("_unique_id", new_uuid_hex());
    amqp::Publication publication;
    publication.message.exchange = topology_.control_exchange;
    publication.message.routing_key = cat(topic, '.', priority);
    publication.message.body = wrap(message);
    publication.declare_first.push_back(topic_queue(publication.message.routing_key, topology_));
    return publish_and_wait(std::move(publication));
}

} // namespace novalet::rpc
