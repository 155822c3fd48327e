#include "hypervisor/libvirt/link.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/libvirt/socket_cut.hpp"

#include <algorithm>
#include <array>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <utility>

namespace novalet::hypervisor::libvirt {
namespace {

constexpr Milliseconds first_pause{1000};
constexpr Milliseconds longest_pause{30000};
constexpr Milliseconds cut_pause{100};

int on_lifecycle(
    virConnectPtr /*host*/, virDomainPtr domain, int event, int /*detail*/, void* loop) {
    if (const auto kind = kind_of(event))
        static_cast<EventLoop*>(loop)->take({uuid_of(domain), *kind});
    return 0;
}

} // namespace

void DomainDeleter::operator()(virDomainPtr domain) const {
    virDomainFree(domain);
}

InstanceUuid uuid_of(virDomainPtr domain) {
    std::array<char, VIR_UUID_STRING_BUFLEN> text{};
    virDomainGetUUIDString(domain, text.data());
    return InstanceUuid(text.data());
}

void Session::add(virConnectPtr host, const ConnectionOptions& options, EventLoop& events) {
    hosts_.push_back(host);
    const bool watched =
        virConnectSetKeepAlive(host,
                               static_cast<int>(options.keepalive_interval.count()),
                               options.keepalive_count) >= 0;
    virConnectRegisterCloseCallback(host, &Session::on_close, this, nullptr);
    if (hosts_.size() > 1)
        return;
    if (!watched)
        log::warning("libvirt cannot watch over this connection", {{"uri", options.uri}});
    events_id_ = virConnectDomainEventRegisterAny(host,
                                                  nullptr,
                                                  VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                                  VIR_DOMAIN_EVENT_CALLBACK(&on_lifecycle),
                                                  &events,
                                                  nullptr);
    if (events_id_ < 0)
        log::warning("libvirt sends no lifecycle events; power states follow the periodic sync");
}

/// The callbacks hold references of their own: no connection would ever close with them.
Session::~Session() {
    if (events_id_ >= 0)
        virConnectDomainEventDeregisterAny(hosts_.front(), events_id_);
    for (const auto host : hosts_) {
        virConnectUnregisterCloseCallback(host, &Session::on_close); // waits for one that runs
        virConnectClose(host);
    }
}

void Session::on_close(virConnectPtr /*host*/, int reason, void* opaque) {
    auto& self = *static_cast<Session*>(opaque);
    if (const auto link = self.link_.lock())
        link->broke(self, reason);
}

Failure Link::Call::failed() const {
    const auto reason = last_reason();
    return failure_of(reason, what, virConnectIsAlive(host) == 1); // looks at the socket only
}

Result<DomainPtr> Link::Call::domain(const InstanceUuid& uuid) const {
    DomainPtr found(virDomainLookupByUUIDString(host, uuid.str().c_str()));
    if (found)
        return found;
    auto failure = failed();
    if (failure.value().code == Code::NotFound)
        failure.value().text = cat("Instance ", uuid.str(), " could not be found.");
    return failure;
}

Link::Link(ConnectionOptions options)
    : options_(std::move(options)), loop_(options_.stop_event_delay), pause_(first_pause) {}

Result<void> Link::start(std::function<void(const GuestEvent&)> events,
                         std::function<void(bool, const std::string&)> listener) {
    NOVALET_TRY(loop_.start(std::move(events)));
    listener_ = std::move(listener);
    {
        const std::lock_guard lock(mutex_);
        closed_ = false;
    }
    opener_ = std::jthread([self = shared_from_this()] { self->keep_open(); });
    return connected("start", Deadline::after(options_.patience));
}

void Link::stop() {
    if (!loop_.runs())
        return;
    std::shared_ptr<Session> last;
    {
        std::unique_lock lock(mutex_);
        closed_ = true;
        changed_.notify_all();
        last = std::move(session_);
        session_.reset();
        // An attempt that hangs is cut short; one that begins just now, in the next round.
        while (!changed_.wait_until(
            lock, Deadline::after(cut_pause).time(), [&] { return opener_ended_; })) {
            lock.unlock();
            if (!last)
                cut_sockets(options_.uri);
            lock.lock();
        }
    }
    opener_.join();
    last.reset(); // while the loop runs, which frees what belongs to it
    loop_.stop();
}

bool Link::reachable() const {
    const std::lock_guard lock(mutex_);
    return lives();
}

Result<Link::Entered> Link::enter(CallKind kind, const std::string& what, const Deadline& until) {
    for (;;) {
        NOVALET_TRY(connected(what, until)); // nobody waits for a connection in a place
        NOVALET_ASSIGN(auto place, gate_.enter(kind, what, until));
        const std::lock_guard lock(mutex_);
        if (lives())
            return Entered{std::move(place), session_};
    }
}

Failure Link::lost_at_once(const std::string& what) const {
    return link_failure(
        cat(what, ": not asked, because libvirt at ", options_.uri, " closed a new connection"));
}

/// Waits for an attempt that begins after the question: one under way may have missed a libvirtd
/// that has just come back.
Result<void> Link::connected(const std::string& what, const Deadline& until) {
    std::unique_lock lock(mutex_);
    const auto mine = begun_ + 1;
    const auto decided = [&] { return closed_ || lives() || ended_ >= mine; };
    if (!decided()) {
        wanted_ = std::max(wanted_, mine);
        changed_.notify_all();
        if (!changed_.wait_until(lock, until.time(), decided)) {
            // The libvirtd that is waited for may have been replaced meanwhile.
            if (begun_ != ended_ && attempt_ends_ && attempt_ends_->passed())
                cut_sockets(options_.uri);
            return link_failure(cat(what,
                                    ": not asked, because libvirt at ",
                                    options_.uri,
                                    " does not answer a new connection"));
        }
    }
    if (closed_)
        return link_failure(cat(what, ": not asked, because the connection to libvirt is closed"));
    if (lives())
        return {};
    return failure_ ? Failure(failure_->in(what)) : lost_at_once(what);
}

/// At once after a call that broke off: libvirt tells of the loss later.
void Link::notice_loss(const Entered& entered) {
    if (virConnectIsAlive(entered.host()) != 1)
        broke(*entered.session, VIR_CONNECT_CLOSE_REASON_ERROR);
}

/// On any thread, in the middle of a call to libvirt.
void Link::broke(Session& session, int reason) {
    const std::lock_guard lock(mutex_);
    if (session.lost_.exchange(true) || session_.get() != &session)
        return; // known, or one that is being opened, or an old one that a slow call still held
    loss_ = reason_text(reason);
    pause_ = first_pause;
    changed_.notify_all();
}

/// The opener's life.
void Link::keep_open() {
    std::unique_lock lock(mutex_);
    auto again = Deadline::after(first_pause);
    while (!closed_) {
        if (lives()) {
            changed_.wait(lock, [&] { return closed_ || !lives() || loss_; });
            again = Deadline::after(pause_);
        }
        if (loss_)
            tell_loss(lock);
        if (lives() || closed_)
            continue;
        changed_.wait_until(lock, again.time(), [&] { return closed_ || wanted_ > begun_; });
        if (closed_)
            break;
        if (wanted_ <= begun_) // nobody asked: the next time later
            pause_ = std::min(pause_ * 2, longest_pause);
        attempt(lock);
        again = Deadline::after(pause_);
    }
    opener_ended_ = true;
    changed_.notify_all();
}

void Link::tell_loss(std::unique_lock<std::mutex>& lock) {
    const std::string why = *loss_;
    loss_.reset();
    down_ = true;
    lock.unlock();
    metrics::counter("novalet_libvirt_connections_lost_total", "Connections to libvirtd lost")
        .add();
    log::error("connection to libvirt lost; it is tried again until libvirtd answers",
               {{"uri", options_.uri}, {"reason", why}});
    if (listener_)
        listener_(false, why);
    lock.lock();
}

void Link::attempt(std::unique_lock<std::mutex>& lock) {
    ++begun_;
    attempt_ends_ = Deadline::after(options_.patience / 2);
    auto old = std::move(session_);
    session_.reset();
    lock.unlock();
    if (old)
        cut_sockets(options_.uri); // calls that are under way on it still
    old.reset();
    auto fresh = open();
    lock.lock();
    ++ended_;
    failure_.reset();
    if (!fresh) {
        failure_ = fresh.error();
    } else if (!closed_ && !(*fresh)->lost()) {
        session_ = *fresh;
        ++generation_;
        pause_ = first_pause;
    }
    const bool returned = lives() && std::exchange(down_, false);
    changed_.notify_all();
    lock.unlock();
    fresh = Outcome(); // one that is not kept goes over the wire to close
    if (returned) {
        log::info("connected to libvirt again", {{"uri", options_.uri}});
        if (listener_)
            listener_(true, "");
    }
    lock.lock();
}

Link::Outcome Link::open() {
    auto fresh = std::make_shared<Session>(shared_from_this());
    for (std::size_t i = 0; i < Session::connections; ++i) {
        const virConnectPtr host = virConnectOpen(options_.uri.c_str());
        if (host == nullptr)
            return link_failure(cat("connect to libvirt at ",
                                    options_.uri,
                                    " (is libvirtd running, and may this user use its socket?): ",
                                    last_reason().text));
        fresh->add(host, options_, loop_);
    }
    return fresh;
}

} // namespace novalet::hypervisor::libvirt
