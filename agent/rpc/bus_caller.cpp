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

constexpr Milliseconds cast_patience{300000};   ///< a cast outlives an ordinary broker restart
constexpr Milliseconds completion_slack{60000}; ///< a connection attempt may hold up the expiry

} // namespace

/// One call that waits for its answer. Guarded by Replies::mutex.
struct BusCaller::Waiting {
    std::condition_variable changed;
    std::deque<Json> heard;        ///< replies and heartbeats in order
    bool sent = false;             ///< the broker has the request
    std::optional<Error> not_sent; ///< the request itself could not be published
};

struct BusCaller::Replies {
    std::mutex mutex;
    std::unordered_map<std::string, std::shared_ptr<Waiting>> waiting; ///< by message id
    std::string queue;

    void deliver(const std::string& body) {
        auto message = unwrap(body);
        if (!message) {
            metrics::counter("novalet_rpc_rejected_total", "Messages that could not be understood")
                .add();
            log::warning("an unreadable reply was dropped", {{"error", message.error().text}});
            return;
        }
        const std::lock_guard lock(mutex);
        const auto found = waiting.find((*message)["_msg_id"].as_string());
        if (found == waiting.end()) {
            metrics::counter("novalet_rpc_late_replies_total", "Replies nobody waits for").add();
            return;
        }
        found->second->heard.push_back(std::move(*message));
        found->second->changed.notify_one();
    }

    void on_sent(const std::string& id, const Result<void>& sent) {
        const std::lock_guard lock(mutex);
        const auto found = waiting.find(id);
        if (found == waiting.end())
            return;
        if (sent)
            found->second->sent = true;
        else
            found->second->not_sent = sent.error();
        found->second->changed.notify_one();
    }
};

namespace {

constexpr const char* undelivered = "MessageDeliveryFailure";

Error no_answer(const Target& target, const std::string& method, const std::string& id, bool sent) {
    Error error;
    error.retryable = true;
    if (!sent) { // not the peer's fault
        error.code = Code::Unavailable;
        error.text = cat("call of ",
                         method,
                         " at ",
                         target.topic,
                         ": the message bus did not take the request in time (message ID ",
                         id,
                         ')');
        error.exception = undelivered;
        error.module = "oslo_messaging.exceptions";
        return error;
    }
    metrics::counter(
        "novalet_rpc_call_timeouts_total", "Calls that got no answer in time", {{"method", method}})
        .add();
    error.code = Code::Timeout;
    error.text = cat("Timed out waiting for a reply to ",
                     method,
                     " from ",
                     target.topic,
                     " (message ID ",
                     id,
                     ')');
    error.exception = "MessagingTimeout";
    error.module = "oslo_messaging.exceptions";
    return error;
}

/// The bus's own failures, under oslo.messaging's name, so that callers can tell them from answers.
Error not_delivered(Error error) {
    if (error.exception.empty() && error.code == Code::Unavailable) {
        error.exception = undelivered;
        error.module = "oslo_messaging.exceptions";
    }
    return error;
}

} // namespace

BusCaller::BusCaller(amqp::Session& session, TopologyOptions topology)
    : session_(session), topology_(std::move(topology)), replies_(std::make_shared<Replies>()) {
    replies_->queue = "reply_" + new_uuid_hex();
}

BusCaller::~BusCaller() = default;

/// The exchange is declared by senders as well: publishing to a missing one is an error, and a
/// broker may have been set up anew.
amqp::Publication BusCaller::address(const Target& target, Json message) const {
    amqp::Publication publication;
    amqp::Declaration exchange_only;
    if (target.fanout) {
        exchange_only.exchange = fanout_exchange(target.topic, topology_);
    } else {
        exchange_only.exchange = control_exchange(topology_);
        publication.message.routing_key =
            target.server.empty() ? target.topic : cat(target.topic, '.', target.server);
    }
    publication.message.exchange = exchange_only.exchange.name;
    publication.message.body = wrap(message);
    publication.declare_first.push_back(std::move(exchange_only));
    return publication;
}

void BusCaller::subscribe_once() {
    std::call_once(subscribed_, [this] {
        auto subscription = reply_queue(replies_->queue, topology_);
        subscription.on_message = [replies = replies_,
                                   &session = session_](const amqp::Incoming& message) {
            replies->deliver(message.body);
            session.acknowledge(message);
        };
        session_.subscribe(std::move(subscription));
    });
}

Result<Json> BusCaller::call(const Target& target,
                             const std::string& method,
                             Json args,
                             const Context& context,
                             const CallOptions& options) {
    subscribe_once();
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
        replies->on_sent(id, sent);
    };
    const auto waiting = std::make_shared<Waiting>();
    {
        const std::lock_guard lock(replies_->mutex);
        replies_->waiting.emplace(id, waiting);
    }
    auto answer = session_.publish(std::move(publication));
    auto result = answer ? wait_for_answer(*waiting, target, method, id, options)
                         : Result<Json>(Failure(answer.error()));
    const std::lock_guard lock(replies_->mutex);
    replies_->waiting.erase(id);
    return result;
}

Result<Json> BusCaller::wait_for_answer(Waiting& waiting,
                                        const Target& target,
                                        const std::string& method,
                                        const std::string& id,
                                        const CallOptions& options) {
    const auto total = Deadline::after(options.timeout);
    const auto next_sign = [&] {
        return options.monitor
                   ? Deadline::after(std::min<Milliseconds>(*options.monitor, total.left()))
                   : total;
    };
    auto until = next_sign();
    std::unique_lock lock(replies_->mutex);
    for (;;) {
        const bool heard = waiting.changed.wait_for(
            lock, until.left(), [&] { return !waiting.heard.empty() || waiting.not_sent; });
        if (!heard)
            return Failure(no_answer(target, method, id, waiting.sent));
        if (waiting.heard.empty())
            return Failure(
                not_delivered(waiting.not_sent->in(cat("call of ", method, " at ", target.topic))));
        Json reply = std::move(waiting.heard.front());
        waiting.heard.pop_front();
        if (!reply["ending"].as_bool(true)) {
            until = next_sign(); // the peer still works on it
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
    // The session completes every publication, a little after its patience at the latest.
    const auto deadline = Deadline::after(cast_patience + completion_slack);
    if (!outcome->changed.wait_for(
            lock, deadline.left(), [&] { return outcome->result.has_value(); }))
        return fail_as(
            undelivered, Code::Unavailable, "the message bus did not take the message in time");
    if (!*outcome->result)
        return Failure(not_delivered(outcome->result->error()));
    return {};
}

Result<void> BusCaller::cast(const Target& target,
                             const std::string& method,
                             Json args,
                             const Context& context) {
    Json message =
        make_request(method, std::move(args), target.version, target.name_space, context);
    if (!target.message_id.empty())
        message.set("_unique_id", target.message_id);
    return publish_and_wait(address(target, std::move(message)));
}

Result<void> BusCaller::notify(const std::string& topic,
                               const std::string& priority,
                               Json message,
                               const Context& context) {
    for (const auto& [key, value] : context.keys().members())
        message.set(cat("_context_", key), value);
    message.set("_unique_id", new_uuid_hex());
    amqp::Publication publication;
    publication.message.exchange = topology_.control_exchange;
    publication.message.routing_key = cat(topic, '.', priority);
    publication.message.body = wrap(message);
    publication.declare_first.push_back(topic_queue(publication.message.routing_key, topology_));
    return publish_and_wait(std::move(publication));
}

} // namespace novalet::rpc
