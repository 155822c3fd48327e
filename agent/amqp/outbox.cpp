#include "agent/amqp/outbox.hpp"

#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"

#include <algorithm>

namespace novalet::amqp {
namespace {

constexpr Milliseconds refused_pause{1000}; ///< a broker that says no is asked once a second

} // namespace

void Outbox::run(const Completions& completions) {
    for (const auto& completion : completions)
        completion();
}

std::function<void()> Outbox::complete(Entry entry, Result<void> result) {
    if (!entry.publication.done)
        return [] {};
    return [done = std::move(entry.publication.done), result = std::move(result)] { done(result); };
}

Result<void> Outbox::add(Publication publication) {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() + under_way_.size() >= limit_)
        return fail(Code::ResourceExhausted,
                    cat("the message bus does not keep up: ", limit_, " messages wait for it"));
    const auto now = clock_.monotonic();
    Entry entry;
    entry.give_up = now + publication.patience;
    entry.not_before = now;
    entry.publication = std::move(publication);
    waiting_.push_back(std::move(entry));
    return {};
}

bool Outbox::may_send(const Entry& entry) const {
    if (entry.not_before > clock_.monotonic())
        return false;
    if (under_way_.empty())
        return true;
    return !entry.suspect && !under_way_.begin()->second.suspect;
}

std::optional<Outbox::Entry> Outbox::take() {
    const std::lock_guard lock(mutex_);
    for (auto entry = waiting_.begin(); entry != waiting_.end(); ++entry) {
        if (may_send(*entry)) {
            Entry taken = std::move(*entry);
            waiting_.erase(entry);
            return taken;
        }
        // Order is kept, except that a pausing one lets the others pass.
        if (entry->not_before <= clock_.monotonic())
            break;
    }
    return std::nullopt;
}

bool Outbox::ready() const {
    const std::lock_guard lock(mutex_);
    return std::any_of(
        waiting_.begin(), waiting_.end(), [this](const Entry& entry) { return may_send(entry); });
}

void Outbox::sent(Entry entry) {
    const std::lock_guard lock(mutex_);
    entry.returned = false;
    under_way_.emplace(++sequence_, std::move(entry));
}

void Outbox::put_back(Entry entry) {
    const std::lock_guard lock(mutex_);
    waiting_.push_front(std::move(entry));
}

Outbox::Completions Outbox::fail_entry(Entry entry, Error error) {
    return {complete(std::move(entry), Failure(std::move(error)))};
}

Outbox::Completions Outbox::confirmed(const Confirm& confirm) {
    Completions out;
    const std::lock_guard lock(mutex_);
    auto entry = confirm.multiple ? under_way_.begin() : under_way_.find(confirm.tag);
    // Tag 0 with multiple: all of them (AMQP 0-9-1, basic.ack).
    while (entry != under_way_.end() && (entry->first <= confirm.tag || confirm.tag == 0)) {
        Entry done = std::move(entry->second);
        entry = under_way_.erase(entry);
        if (!confirm.positive) { // the broker could not store it
            metrics::counter("novalet_amqp_nacked_total",
                             "Publications that the broker could not take for now")
                .add();
            done.not_before = clock_.monotonic() + refused_pause;
            if (!done.abandoned)
                waiting_.push_back(std::move(done));
        } else if (done.abandoned) {
            continue;
        } else if (done.returned) {
            const std::string key = done.publication.message.routing_key;
            out.push_back(complete(std::move(done),
                                   fail(Code::NotFound, cat("nobody listens on '", key, "'"))));
        } else {
            out.push_back(complete(std::move(done), {}));
        }
    }
    return out;
}

void Outbox::returned(const Returned& returned) {
    // basic.return comes before the acknowledgement of the same publication, in publish order.
    const std::lock_guard lock(mutex_);
    for (auto& [sequence, entry] : under_way_)
        if (!entry.returned && entry.publication.message.mandatory &&
            entry.publication.message.routing_key == returned.routing_key) {
            entry.returned = true;
            return;
        }
}

void Outbox::requeue_all(bool suspect) {
    for (auto entry = under_way_.rbegin(); entry != under_way_.rend(); ++entry) {
        if (entry->second.abandoned)
            continue; // nobody waits for it any more
        entry->second.suspect = entry->second.suspect || suspect;
        waiting_.push_front(std::move(entry->second));
    }
    under_way_.clear();
    sequence_ = 0;
}

Outbox::Completions Outbox::channel_closed(unsigned code, const std::string& text) {
    const std::lock_guard lock(mutex_);
    Completions out;
    if (under_way_.size() == 1 && under_way_.begin()->second.suspect) {
        constexpr unsigned not_found = 404;
        const auto& message = under_way_.begin()->second.publication.message;
        auto error = fail(code == not_found ? Code::NotFound : Code::InvalidArgument,
                          cat("the broker refuses a message of ",
                              message.body.size(),
                              " bytes to exchange '",
                              message.exchange,
                              "', key '",
                              message.routing_key,
                              "': ",
                              code,
                              ' ',
                              text));
        if (!under_way_.begin()->second.abandoned)
            out.push_back(complete(std::move(under_way_.begin()->second), std::move(error)));
        under_way_.clear();
    }
    requeue_all(true);
    return out;
}

void Outbox::connection_lost() {
    const std::lock_guard lock(mutex_);
    requeue_all(false);
}

Outbox::Completions Outbox::expire() {
    const auto now = clock_.monotonic();
    Completions out;
    const std::lock_guard lock(mutex_);
    const auto late = [&out](Entry& entry, const char* state) {
        out.push_back(
            complete(std::move(entry),
                     fail(Code::Unavailable,
                          cat("the message bus did not take the message in time (", state, ')'))));
    };
    for (auto& [sequence, entry] : under_way_)
        if (entry.give_up <= now && !entry.abandoned) {
            late(entry, "sent, not confirmed");
            entry.abandoned = true;
        }
    const auto first =
        std::stable_partition(waiting_.begin(), waiting_.end(), [now](const Entry& entry) {
            return entry.give_up > now;
        });
    for (auto entry = first; entry != waiting_.end(); ++entry)
        late(*entry, "not sent");
    waiting_.erase(first, waiting_.end());
    return out;
}

Outbox::Completions Outbox::cancel_all() {
    const std::lock_guard lock(mutex_);
    requeue_all(false);
    Completions out;
    for (auto& entry : waiting_)
        out.push_back(complete(std::move(entry), fail(Code::Cancelled, "the agent stops")));
    waiting_.clear();
    return out;
}

std::size_t Outbox::size() const {
    const std::lock_guard lock(mutex_);
    return waiting_.size() + under_way_.size();
}

} // namespace novalet::amqp
