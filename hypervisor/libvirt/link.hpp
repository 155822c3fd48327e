#pragma once
// The connection to libvirtd itself: who opens it, who may use it and what is known when it breaks.
// Internal to this folder.
#include "hypervisor/libvirt/call_gate.hpp"
#include "hypervisor/libvirt/connection.hpp"
#include "hypervisor/libvirt/event_loop.hpp"
#include "hypervisor/libvirt/translate.hpp"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

// libvirt.h stays out of headers: its virConnectPtr and virDomainPtr point to these.
struct _virConnect;
struct _virDomain;

namespace novalet::hypervisor::libvirt {

struct DomainDeleter {
    void operator()(_virDomain* domain) const;
};
using DomainPtr = std::unique_ptr<_virDomain, DomainDeleter>;
[[nodiscard]] InstanceUuid uuid_of(_virDomain* domain);

class Link;

/// The connections to libvirtd, lost and opened together: one for events, and one for each call
/// that may be under way. Threads never share one: libvirt 9.0 crashes when a thread takes over the
/// dispatch of a connection from another one (virNetClientIOEventLoop leaves a source behind that
/// points into the stack of a call that has ended), and leaves calls hanging (socket_cut.hpp).
class Session {
  public:
    static constexpr std::size_t connections = 1 + CallGate::limits[0];

    explicit Session(const std::shared_ptr<Link>& link) : link_(link) {}
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session(); ///< goes over the wire; at once where the connections are lost

    /// Takes over a connection and watches it; the first one carries the events.
    void add(_virConnect* host, const ConnectionOptions& options, EventLoop& events);
    /// For the call in this place of the gate.
    [[nodiscard]] _virConnect* host(std::size_t place) const { return hosts_.at(1 + place); }
    [[nodiscard]] bool lost() const noexcept { return lost_; }

  private:
    friend class Link;
    static void on_close(_virConnect* host, int reason, void* self);

    const std::weak_ptr<Link> link_;
    std::vector<_virConnect*> hosts_;
    int events_id_ = -1;
    std::atomic<bool> lost_{false}; ///< set by the link only
};

/// One thread opens the connections, and opens them again when one was lost: at once when somebody
/// asks for them, otherwise with growing pauses. virConnectOpen has no deadline of its own, so
/// nobody else ever calls it: who needs the connection waits for that thread until a deadline, and
/// may then cut short an attempt that hangs. Thread safe.
class Link : public std::enable_shared_from_this<Link> {
  public:
    explicit Link(ConnectionOptions options);
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;
    ~Link() = default; ///< after stop()

    [[nodiscard]] Result<void> start(std::function<void(const GuestEvent&)> events,
                                     std::function<void(bool, const std::string&)> listener);
    void stop();
    [[nodiscard]] bool reachable() const;
    [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }

    /// What a verb gets to ask with.
    struct Call {
        _virConnect* host;
        const std::string& what;
        /// Of the call to libvirt that this thread has just made.
        [[nodiscard]] Failure failed() const;
        [[nodiscard]] Result<DomainPtr> domain(const InstanceUuid& uuid) const;
    };

    /// A question, which changes nothing and is asked once more when the link broke meanwhile.
    template <class Ask> [[nodiscard]] auto ask(const std::string& what, const Ask& ask_it) {
        return run(CallKind::Question, what, 2, ask_it);
    }
    /// Something with an effect: done once, however it ends.
    template <class Do>
    [[nodiscard]] auto act(CallKind kind, const std::string& what, const Do& do_it) {
        return run(kind, what, 1, do_it);
    }

  private:
    friend class Session;
    struct Entered {
        CallGate::Place place; // given back last
        std::shared_ptr<Session> session;
        [[nodiscard]] _virConnect* host() const { return session->host(place.number()); }
    };
    using Outcome = Result<std::shared_ptr<Session>>;

    template <class Work>
    [[nodiscard]] std::invoke_result_t<Work, const Call&>
    run(CallKind kind, const std::string& what, int times, const Work& work) {
        const auto until = Deadline::after(options_.patience);
        for (;;) {
            NOVALET_ASSIGN(const auto entered, enter(kind, what, until));
            auto answer = work(Call{entered.host(), what});
            if (answer || !link_lost(answer.error()))
                return answer;
            notice_loss(entered);
            if (--times == 0)
                return answer;
        }
    }
    /// A living connection and a place on it, both until `until`.
    [[nodiscard]] Result<Entered>
    enter(CallKind kind, const std::string& what, const Deadline& until);
    [[nodiscard]] Result<void> connected(const std::string& what, const Deadline& until);
    [[nodiscard]] Failure lost_at_once(const std::string& what) const;
    [[nodiscard]] bool lives() const { return session_ && !session_->lost(); }
    void notice_loss(const Entered& entered);
    void broke(Session& session, int reason);

    void keep_open();
    void tell_loss(std::unique_lock<std::mutex>& lock);
    void attempt(std::unique_lock<std::mutex>& lock);
    [[nodiscard]] Outcome open();

    const ConnectionOptions options_;
    CallGate gate_;
    EventLoop loop_;
    std::atomic<std::uint64_t> generation_{0};
    std::function<void(bool, const std::string&)> listener_; ///< called by the opener only

    mutable std::mutex mutex_; ///< guards all below; no call to libvirt is made under it
    std::condition_variable changed_;
    std::shared_ptr<Session> session_;
    std::optional<std::string> loss_; ///< why it was lost; not told yet
    bool down_ = false;               ///< the listener was told of a loss last
    std::uint64_t wanted_ = 0;        ///< the attempt that somebody waits for
    std::uint64_t begun_ = 0;         ///< attempts, counted
    std::uint64_t ended_ = 0;
    std::optional<Deadline> attempt_ends_; ///< when an attempt may be cut short
    std::optional<Error> failure_;         ///< of the last attempt; empty when it was successful
    Milliseconds pause_{0};
    bool closed_ = true; ///< before start() and from stop() on
    bool opener_ended_ = false;
    std::jthread opener_;
};

} // namespace novalet::hypervisor::libvirt
