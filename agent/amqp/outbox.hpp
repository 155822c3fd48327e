#pragma once
// Publications on their way: waiting, sent, confirmed. Bookkeeping only, no I/O, so that every
// story of a broker can be told in a unit test; `Session` does what it says.
#include "agent/amqp/link.hpp"
#include "agent/core/clock.hpp"

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace novalet::amqp {

/// What is declared (and, by `Session::subscribe`, consumed).
struct Declaration {
    ExchangeSpec exchange; ///< name empty: no exchange and no binding
    QueueSpec queue;       ///< name empty: the exchange alone
    std::string binding_key;
};

/// One message to be published and confirmed.
struct Publication {
    Message message;
    std::vector<Declaration> declare_first; ///< once for each connection
    Milliseconds patience{60000};           ///< then it fails as Unavailable; also over reconnects
    /// On the I/O thread, exactly once, must not block: ok = confirmed by the broker; NotFound =
    /// nobody listens (mandatory) or no such exchange; InvalidArgument = the broker refuses this
    /// message; Unavailable = patience over; Cancelled = the session ends.
    std::function<void(Result<void>)> done;
};

/// Thread safe. Callbacks are handed out as completions, to be run without any lock.
class Outbox {
  public:
    struct Entry {
        Publication publication;
        MonotonicTime give_up;
        MonotonicTime not_before;
        bool returned = false;
        bool suspect = false;   ///< was under way when the broker closed the channel
        bool abandoned = false; ///< completed already; kept for the broker's numbering
    };
    using Completions = std::vector<std::function<void()>>;
    static void run(const Completions& completions);

    explicit Outbox(std::size_t limit, const Clock& clock = system_clock())
        : limit_(limit), clock_(clock) {}

    /// ResourceExhausted when `limit` publications wait already (sent ones count).
    [[nodiscard]] Result<void> add(Publication publication);
    /// The next one that may be sent now. A suspect is sent alone, so that the broker's next
    /// channel error names it.
    [[nodiscard]] std::optional<Entry> take();
    /// It was written on the publish channel: the broker's next sequence number is its.
    void sent(Entry entry);
    /// It could not be written: first again.
    void put_back(Entry entry);
    [[nodiscard]] Completions fail_entry(Entry entry, Error error);

    [[nodiscard]] Completions confirmed(const Confirm& confirm);
    void returned(const Returned& returned);
    /// Everything under way is sent again, one by one; the one that was alone and a suspect fails.
    [[nodiscard]] Completions channel_closed(unsigned code, const std::string& text);
    /// Everything under way is sent again, before the later ones.
    void connection_lost();
    /// Those whose patience is over, sent or not.
    [[nodiscard]] Completions expire();
    /// All, because the session ends.
    [[nodiscard]] Completions cancel_all();

    [[nodiscard]] std::size_t size() const;
    /// Something could be sent now.
    [[nodiscard]] bool ready() const;

  private:
    [[nodiscard]] static std::function<void()> complete(Entry entry, Result<void> result);
    [[nodiscard]] bool may_send(const Entry& entry) const;
    void requeue_all(bool suspect);

    const std::size_t limit_;
    const Clock& clock_;
    mutable std::mutex mutex_;
    std::deque<Entry> waiting_;
    std::map<std::uint64_t, Entry> under_way_; ///< by publish sequence
    std::uint64_t sequence_ = 0;
};

} // namespace novalet::amqp
