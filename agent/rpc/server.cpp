#include "agent/rpc/server.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"
#include "agent/rpc/envelope.hpp"

namespace novalet::rpc {
namespace {

constexpr Milliseconds redelivery_pause{1000};
constexpr Seconds same_reason_silence{60}; ///< a flood of one kind is one line a minute

} // namespace

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
    thread_.join();
}

void Server::start() {
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
    const auto take = [this](amqp::Incoming message) {
        bool first = false;
        {
            const std::lock_guard lock(mutex_);
            if (!stopped_) {
                first = inbox_.empty(); // otherwise the accept thread is not waiting
                inbox_.push_back(std::move(message));
                message.tag = 0;
            }
        }
        if (message.tag != 0)
            session_.reject(message, true);
        else if (first)
            changed_.notify_all();
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
    std::deque<amqp::Incoming> left;
    std::unique_lock lock(mutex_);
    stopped_ = true;
    left.swap(inbox_);
    changed_.wait_for(lock, deadline.left(), [this] { return !busy_; });
    lock.unlock();
    for (const auto& message : left)
        session_.reject(message, true);
}

void Server::run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (changed_.wait(lock, stop, [this] { return !inbox_.empty(); })) {
        if (stop.stop_requested())
            return;
        const amqp::Incoming message = std::move(inbox_.front());
        inbox_.pop_front();
        busy_ = true;
        lock.unlock();
        accept(message);
        lock.lock();
        busy_ = false;
        if (stopped_)
            changed_.notify_all();
    }
}

/// One line for each reason, and again when it was silent for a minute.
void Server::log_refused(const std::string& reason, std::size_t bytes) {
    const auto now = system_clock().monotonic();
    if (reason == last_reason_ && now - last_logged_ < same_reason_silence)
        return;
    last_reason_ = reason;
    last_logged_ = now;
    log::error("a message from the bus was rejected",
               {{"topic", topic_}, {"reason", reason}, {"bytes", bytes}});
}

void Server::refuse(const amqp::Incoming& message,
                    const std::optional<ReturnAddress>& caller,
                    const Error& error) {
    metrics::counter("novalet_rpc_rejected_total", "Messages that could not be understood").add();
    log_refused(error.text, message.bytes);
    if (!caller) {
        session_.reject(message, false);
        return;
    }
    session_.acknowledge(message);
    Request unread;
    unread.message_id = caller->message_id;
    unread.reply_queue = caller->reply_queue;
    Error answer = error;
    answer.exception = "TypeError";
    answer.module = "builtins";
    replier_.responder_for(unread).reply(Failure(std::move(answer)));
}

/// Not durable, so not ours yet: back to the broker. The pause keeps this from spinning.
void Server::give_back(const amqp::Incoming& message, const Request& request, const Error& error) {
    metrics::counter("novalet_rpc_given_back_total", "Requests that could not be written down")
        .add();
    log::error("a request could not be written down and goes back to the queue",
               {{"method", request.method}, {"error", error.text}});
    recent_.forget(request.unique_id);
    {
        std::unique_lock lock(mutex_);
        changed_.wait_for(
            lock, thread_.get_stop_token(), redelivery_pause, [this] { return stopped_; });
    }
    session_.reject(message, true);
}

void Server::accept(const amqp::Incoming& message) {
    auto content = unwrap(message.body);
    if (!content) {
        refuse(message, std::nullopt, content.error());
        return;
    }
    const auto caller = return_address(*content);
    auto request = parse_request(std::move(*content));
    if (!request) {
        refuse(message, caller, request.error());
        return;
    }
    if (!recent_.insert(request->unique_id)) {
        metrics::counter("novalet_rpc_duplicates_total", "Requests that came twice").add();
        session_.acknowledge(message);
        return;
    }
    const auto admission = dispatcher_.accept(*request);
    if (!admission) {
        give_back(message, *request, admission.error());
        return;
    }
    session_.acknowledge(message);
    if (!admission->fresh) {
        metrics::counter("novalet_rpc_duplicates_total", "Requests that came twice").add();
        return;
    }
    static metrics::Series& taken =
        metrics::counter("novalet_rpc_requests_total", "Requests taken");
    taken.add();
    auto responder = replier_.responder_for(*request);
    dispatcher_.dispatch(std::move(*request), std::move(responder));
}

} // namespace novalet::rpc
