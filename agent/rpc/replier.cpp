#include "agent/rpc/replier.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "agent/rpc/dead_queues.hpp"
#include "agent/rpc/envelope.hpp"

#include <shared_mutex>

namespace novalet::rpc {
namespace {

constexpr Milliseconds missing_queue_pause{250};
constexpr Milliseconds missing_queue_patience{60000};
constexpr Milliseconds broker_patience{300000}; ///< a reply outlives an ordinary broker restart
constexpr Milliseconds shortest_heartbeat{1000};

metrics::Series& replies(const char* outcome) {
    return metrics::counter("novalet_rpc_replies_total",
                            "Answers sent, by what became of them",
                            {{"outcome", outcome}});
}

void count_reply(const char* outcome) {
    replies(outcome).add();
}

struct Answer {
    std::string message_id;
    std::string queue;
    std::string body;
    MonotonicTime give_up; ///< while the queue is missing
    bool is_refusal = false;
};

} // namespace

struct Replier::Shared : std::enable_shared_from_this<Replier::Shared> {
    amqp::Session& session;
    Timer& timer;
    DeadQueues dead;
    /// Held (shared) while session or timer are used: both only queue something. The destructor
    /// of the replier takes it alone, after which they are not touched any more.
    std::shared_mutex life;
    bool closed = false;

    Shared(amqp::Session& s, Timer& t) : session(s), timer(t) {}

    void later(Milliseconds span, Timer::Work work) {
        const std::shared_lock lock(life);
        if (!closed)
            timer.after(span, std::move(work));
    }

    /// False when it could not even be queued.
    bool
    publish(const std::string& queue, std::string body, std::function<void(Result<void>)> done) {
        amqp::Publication publication;
        publication.message.routing_key = queue;
        publication.message.body = std::move(body);
        publication.message.mandatory = true;
        publication.patience = broker_patience;
        publication.done = std::move(done);
        const std::shared_lock lock(life);
        if (closed)
            return false;
        const auto queued = session.publish(std::move(publication));
        if (!queued)
            log::error("an answer could not be queued",
                       {{"queue", queue}, {"error", queued.error().text}});
        return queued.has_value();
    }

    void send(const std::shared_ptr<Answer>& answer) {
        if (dead.contains(answer->queue)) {
            count_reply("queue_known_dead");
            return;
        }
        const bool queued = publish(answer->queue,
                                    answer->body,
                                    [self = shared_from_this(), answer](const Result<void>& sent) {
                                        self->after_sending(answer, sent);
                                    });
        if (!queued)
            count_reply("dropped");
    }

    void after_sending(const std::shared_ptr<Answer>& answer, const Result<void>& sent) {
        if (sent) {
            static metrics::Series& count = replies("sent"); // the usual one: not looked up
            count.add();
            return;
        }
        const Error& error = sent.error();
        if (error.code == Code::Cancelled)
            return;
        if (error.code == Code::NotFound) {
            if (system_clock().monotonic() < answer->give_up) {
                later(missing_queue_pause,
                      [self = shared_from_this(), answer] { self->send(answer); });
                return;
            }
            dead.remember(answer->queue);
            count_reply("queue_missing");
        } else {
            count_reply("dropped");
        }
        log::warning("an answer could not be delivered",
                     {{"queue", answer->queue},
                      {"message_id", answer->message_id},
                      {"bytes", answer->body.size()},
                      {"error", error.text}});
        if (error.code == Code::InvalidArgument && !answer->is_refusal) {
            // Too large for the broker, say: the caller is told instead of left waiting.
            auto refusal = std::make_shared<Answer>(*answer);
            refusal->is_refusal = true;
            refusal->body = wrap(make_reply(
                answer->message_id,
                fail(Code::Internal, "the answer could not be delivered: " + error.text)));
            send(refusal);
        }
    }

    /// One heartbeat after the interval and so on, until the answer was given or nobody listens.
    void beat_later(const std::weak_ptr<bool>& open,
                    const std::string& id,
                    const std::string& queue,
                    Milliseconds interval) {
        later(interval, [self = shared_from_this(), open, id, queue, interval] {
            if (open.expired())
                return;
            self->publish(queue,
                          wrap(make_heartbeat(id)),
                          [self, open, id, queue, interval](const Result<void>& sent) {
                              if (sent)
                                  self->beat_later(open, id, queue, interval);
                          });
        });
    }
};

Replier::Replier(amqp::Session& session, Timer& timer)
    : shared_(std::make_shared<Shared>(session, timer)) {}

Replier::~Replier() {
    const std::unique_lock lock(shared_->life);
    shared_->closed = true;
}

Responder Replier::responder_for(const Request& request) {
    if (!request.is_call())
        return {};
    auto open = std::make_shared<bool>(true);
    if (request.monitor) {
        const auto interval = Milliseconds(*request.monitor) / 2;
        if (interval >= shortest_heartbeat)
            shared_->beat_later(open, request.message_id, request.reply_queue, interval);
        else
            log::warning("a call monitor of less than two seconds gets no heartbeats",
                         {{"method", request.method}});
    }
    return Responder([shared = shared_, open, id = request.message_id, queue = request.reply_queue](
                         const Result<Json>& result) mutable {
        open.reset(); // ends the heartbeats
        auto answer = std::make_shared<Answer>();
        answer->message_id = id;
        answer->queue = queue;
        answer->body = wrap(make_reply(id, result));
        answer->give_up = system_clock().monotonic() + missing_queue_patience;
        shared->send(answer);
    });
}

} // namespace novalet::rpc
