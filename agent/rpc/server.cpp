#include "agent/rpc/server.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"
#include "agent/rpc/envelope.hpp"

#include <map>

namespace novalet::rpc {
namespace {

constexpr Milliseconds missing_queue_pause{250};
constexpr Milliseconds missing_queue_patience{60000};
constexpr std::size_t dead_queue_limit = 200;
constexpr Milliseconds redelivery_pause{1000};

} // namespace

bool RecentIds::insert(const std::string& id) {
    if (id.empty())
        return true;
    if (!known_.insert(id).second)
        return false;
    order_.push_back(id);
    if (order_.size() > size_) {
        known_.erase(order_.front());
        order_.pop_front();
    }
    return true;
}

struct Replier::Shared : std::enable_shared_from_this<Replier::Shared> {
    amqp::Session& session;
    Timer& timer;
    std::mutex mutex;
    std::map<std::string, MonotonicTime> dead; ///< queue → forget it then

    Shared(amqp::Session& s, Timer& t) : session(s), timer(t) {}

    bool is_dead(const std::string& queue) {
        const std::lock_guard lock(mutex);
        const auto found = dead.find(queue);
        if (found == dead.end())
            return false;
        if (found->second > system_clock().monotonic())
            return true;
        dead.erase(found);
        return false;
    }

    void remember_dead(const std::string& queue) {
        const std::lock_guard lock(mutex);
        if (dead.size() >= dead_queue_limit)
            dead.erase(dead.begin());
        dead[queue] = system_clock().monotonic() + missing_queue_patience;
    }

    /// Publishes until somebody listens or the patience ends, without holding up other replies.
    void send(const std::string& queue, std::string body, MonotonicTime give_up) {
        if (is_dead(queue)) {
            metrics::counter("novalet_rpc_replies_dropped_total",
                             "Replies whose queue is known to be gone")
                .add();
            return;
        }
        amqp::Publication publication;
        publication.message.routing_key = queue;
        publication.message.body = body;
        publication.message.mandatory = true;
        publication.done =
            [self = shared_from_this(), queue, body, give_up](const Result<void>& sent) mutable {
                if (sent || sent.error().code == Code::Cancelled)
                    return;
                if (sent.error().code != Code::NotFound || system_clock().monotonic() >= give_up) {
                    self->remember_dead(queue);
                    log::warning("a reply could not be delivered; the caller is gone",
                                 {{"queue", queue}, {"error", sent.error().text}});
                    return;
                }
                self->timer.after(missing_queue_pause,
                                  [self, queue, body = std::move(body), give_up]() mutable {
                                      self->send(queue, std::move(body), give_up);
                                  });
            };
        if (const auto queued = session.publish(std::move(publication)); !queued)
            log::error("a reply could not be queued", {{"error", queued.error().text}});
    }

    /// One heartbeat now and the next later, until the answer was sent.
    void heartbeat(const std::weak_ptr<bool>& open,
                   const std::string& id,
                   const std::string& queue,
                   Milliseconds interval) {
        timer.after(interval, [self = shared_from_this(), open, id, queue, interval] {
            if (open.expired() || self->is_dead(queue))
                return;
            self->send(queue, wrap(make_heartbeat(id)), system_clock().monotonic());
            self->heartbeat(open, id, queue, interval);
        });
    }
};

Replier::Replier(amqp::Session& session, Timer& timer)
    : shared_(std::make_shared<Shared>(session, timer)) {}

Responder Replier::responder_for(const Request& request) {
    if (!request.is_call())
        return {};
    auto open = std::make_shared<bool>(true);
    if (request.monitor) {
        const auto interval = std::chrono::duration_cast<Milliseconds>(*request.monitor) / 2;
        if (interval >= Milliseconds(1000))
            shared_->heartbeat(open, request.message_id, request.reply_queue, interval);
        else
            log::warning("a call monitor of less than two seconds gets no heartbeats",
                         {{"method", request.method}});
    }
    return Responder([shared = shared_, open, id = request.message_id, queue = request.reply_queue](
                         const Result<Json>& result) mutable {
        open.reset();
        shared->send(queue,
                     wrap(make_reply(id, result)),
                     system_clock().monotonic() + missing_queue_patience);
    });
}

Server::Server(amqp::Session& session,
               Replier& replier,
               Dispatcher& dispatcher,
               TopologyOptions topology,
               std::string topic,
               std::string host)
    : session_(session), replier_(replier), dispatcher_(dispatcher), topology_(std::move(topology)),
      topic_(std::move(topic)), host_(std::move(host)) {}

Server::~Server() {
    if (!thread_.joinable())
        return;
    thread_.request_stop();
    arrived_.notify_all();
    thread_.join();
}

void Server::start() {
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
    const auto take = [this](amqp::Incoming message) {
        {
            const std::lock_guard lock(mutex_);
            inbox_.push_back(std::move(message));
        }
        arrived_.notify_one();
    };
    for (auto subscription : {topic_queue(topic_, topology_),
                              topic_queue(cat(topic_, '.', host_), topology_),
                              fanout_queue(topic_, new_uuid_hex(), topology_)}) {
        subscription.on_message = take;
        session_.subscribe(std::move(subscription));
    }
}

void Server::stop_consuming(const Deadline& deadline) {
    session_.stop_consuming(deadline);
}

void Server::run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (arrived_.wait(lock, stop, [this] { return !inbox_.empty(); })) {
        const amqp::Incoming message = std::move(inbox_.front());
        inbox_.pop_front();
        lock.unlock();
        accept(message);
        lock.lock();
    }
}

void Server::accept(const amqp::Incoming& message) {
    auto decoded = unwrap(message.body);
    auto request =
        decoded ? parse_request(std::move(*decoded)) : Result<Request>(Failure(decoded.error()));
    if (!request) {
        metrics::counter("novalet_rpc_rejected_total", "Messages that could not be understood")
            .add();
        log::error("a message from the bus was rejected",
                   {{"reason", request.error().text}, {"bytes", message.body.size()}});
        session_.reject(message, false);
        return;
    }
    if (!recent_.insert(request->unique_id)) {
        metrics::counter("novalet_rpc_duplicates_total", "Requests that came twice").add();
        session_.acknowledge(message);
        return;
    }
    const auto admission = dispatcher_.accept(*request);
    if (!admission) {
        // Not durable, so not ours yet: back to the broker. A pause keeps this from spinning.
        log::error("a request could not be written down and goes back to the queue",
                   {{"method", request->method}, {"error", admission.error().text}});
        recent_ = RecentIds(256);
        std::mutex idle;
        std::unique_lock lock(idle);
        std::condition_variable_any().wait_for(
            lock, thread_.get_stop_token(), redelivery_pause, [] { return false; });
        session_.reject(message, true);
        return;
    }
    session_.acknowledge(message);
    metrics::counter("novalet_rpc_requests_total", "Requests taken").add();
    if (!admission->fresh)
        return;
    auto responder = replier_.responder_for(*request);
    dispatcher_.dispatch(std::move(*request), std::move(responder));
}

} // namespace novalet::rpc
