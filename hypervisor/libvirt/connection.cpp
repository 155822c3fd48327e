#include "hypervisor/libvirt/connection.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/libvirt/stop_delay.hpp"
#include "hypervisor/libvirt/translate.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace novalet::hypervisor::libvirt {
namespace {

constexpr int keepalive_seconds = 15;
constexpr unsigned keepalive_count = 2;
constexpr int first_retry_ms = 1000;
constexpr int longest_retry_ms = 30000;
constexpr Milliseconds open_patience{60000};

struct DomainDeleter {
    void operator()(virDomainPtr domain) const { virDomainFree(domain); }
};
using ConnectPtr = std::shared_ptr<virConnect>;
using DomainPtr = std::unique_ptr<virDomain, DomainDeleter>;

std::string uuid_of(virDomainPtr domain) {
    std::array<char, VIR_UUID_STRING_BUFLEN> text{};
    virDomainGetUUIDString(domain, text.data());
    return text.data();
}

Result<GuestInfo> describe(virDomainPtr domain) {
    virDomainInfo raw{};
    if (virDomainGetInfo(domain, &raw) != 0)
        return last_error("domain info");
    GuestInfo info;
    info.uuid = InstanceUuid(uuid_of(domain));
    info.name = virDomainGetName(domain);
    info.state = power_state(raw.state);
    info.memory_mib = raw.maxMem >> 10U;
    info.vcpus = raw.nrVirtCpu;
    return info;
}

/// libvirt prints errors to stderr unless somebody takes them.
void quiet(void* /*data*/, virErrorPtr /*error*/) {}

/// Once in a process: the event loop cannot be registered again.
Result<void> initialise() {
    static const bool ready = [] {
        virSetErrorFunc(nullptr, quiet);
        return virInitialize() == 0 && virEventRegisterDefaultImpl() == 0;
    }();
    if (!ready)
        return last_error("libvirt cannot be initialised");
    return {};
}

} // namespace

/// `mutex` guards `connection`, `opening` and `down`; no call to libvirt is made under it.
/// `delay` and the timers belong to the event thread once it runs.
struct Connection::State {
    explicit State(ConnectionOptions wanted)
        : options(std::move(wanted)), delay(options.stop_event_delay) {}

    const ConnectionOptions options;
    std::mutex mutex;
    std::condition_variable opened;
    ConnectPtr connection;
    bool opening = false;
    bool down = false;
    std::atomic<bool> lost{false};
    std::atomic<std::uint64_t> generation{0};
    std::function<void(const GuestEvent&)> sink;
    std::function<void(bool, const std::string&)> link;
    StopDelay delay;
    int wake_timer = -1;
    int stop_timer = -1;
    int retry_timer = -1;
    int retry_pause = first_retry_ms;
    std::jthread events;

    Result<ConnectPtr> get();
    Result<ConnectPtr> open();
    Result<DomainPtr> domain(const InstanceUuid& uuid);
    void arm_stop_timer();
    void add_timers();
    static int
    on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail, void* self);
    static void on_close(virConnectPtr connection, int reason, void* self);
    static void on_stop_timer(int timer, void* self);
    static void on_retry_timer(int timer, void* self);
};

int Connection::State::on_lifecycle(
    virConnectPtr /*connection*/, virDomainPtr domain, int event, int /*detail*/, void* opaque) {
    auto& self = *static_cast<State*>(opaque);
    const auto kind = kind_of(event);
    if (!kind)
        return 0;
    const GuestEvent out{InstanceUuid(uuid_of(domain)), *kind};
    if (const auto now = self.delay.take(out, system_clock().monotonic()); now && self.sink)
        self.sink(*now);
    self.arm_stop_timer();
    return 0;
}

void Connection::State::arm_stop_timer() {
    const auto next = delay.next();
    if (!next) {
        virEventUpdateTimeout(stop_timer, -1);
        return;
    }
    const auto left = std::chrono::duration_cast<Milliseconds>(*next - system_clock().monotonic()) +
                      Milliseconds(1); // rounded up, so that it never fires just before its time
    virEventUpdateTimeout(stop_timer,
                          static_cast<int>(std::max<Milliseconds::rep>(1, left.count())));
}

void Connection::State::on_stop_timer(int /*timer*/, void* opaque) {
    auto& self = *static_cast<State*>(opaque);
    for (const auto& event : self.delay.due(system_clock().monotonic()))
        if (self.sink)
            self.sink(event);
    self.arm_stop_timer();
}

void Connection::State::on_close(virConnectPtr closed, int reason, void* opaque) {
    auto& self = *static_cast<State*>(opaque);
    {
        const std::lock_guard lock(self.mutex);
        if (self.connection && self.connection.get() != closed)
            return; // an old one that a slow request still held
        self.down = true;
    }
    self.lost = true;
    metrics::counter("novalet_libvirt_connections_lost_total", "Connections to libvirtd lost")
        .add();
    log::error("connection to libvirt lost; it is tried again until libvirtd answers",
               {{"uri", self.options.uri}, {"reason", reason_text(reason)}});
    if (self.link)
        self.link(false, reason_text(reason));
    self.retry_pause = first_retry_ms;
    virEventUpdateTimeout(self.retry_timer, self.retry_pause);
}

void Connection::State::on_retry_timer(int timer, void* opaque) {
    auto& self = *static_cast<State*>(opaque);
    if (const auto again = self.get()) {
        virEventUpdateTimeout(timer, -1);
        return;
    }
    self.retry_pause = std::min(self.retry_pause * 2, longest_retry_ms);
    virEventUpdateTimeout(timer, self.retry_pause);
}

Result<ConnectPtr> Connection::State::open() {
    int events_id = -1;
    virConnectPtr raw = virConnectOpen(options.uri.c_str());
    if (raw == nullptr)
        return last_error(cat("connect to libvirt at ",
                              options.uri,
                              " (is libvirtd running, and may this user use its socket?)"));
    if (virConnectSetKeepAlive(raw, keepalive_seconds, keepalive_count) < 0)
        log::warning("libvirt cannot watch over this connection", {{"uri", options.uri}});
    virConnectRegisterCloseCallback(raw, &State::on_close, this, nullptr);
    events_id = virConnectDomainEventRegisterAny(raw,
                                                 nullptr,
                                                 VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                                 VIR_DOMAIN_EVENT_CALLBACK(&State::on_lifecycle),
                                                 this,
                                                 nullptr);
    if (events_id < 0)
        log::warning("libvirt sends no lifecycle events; power states follow the periodic sync");
    // The callbacks hold a reference of their own: without this the connection would never close.
    return ConnectPtr(raw, [events_id](virConnectPtr c) {
        if (events_id >= 0)
            virConnectDomainEventDeregisterAny(c, events_id);
        virConnectUnregisterCloseCallback(c, &State::on_close);
        virConnectClose(c);
    });
}

/// The living connection; one thread opens a new one, the others wait for it.
Result<ConnectPtr> Connection::State::get() {
    ConnectPtr old;
    std::unique_lock lock(mutex);
    for (;;) {
        const ConnectPtr current = connection;
        if (current && !lost)
            return current;
        if (!opening)
            break;
        if (opened.wait_until(lock, Deadline::after(open_patience).time()) ==
            std::cv_status::timeout)
            return fail(Code::Unavailable,
                        cat("libvirt at ", options.uri, " does not answer a new connection"));
    }
    opening = true;
    old = std::move(connection);
    lock.unlock();
    old.reset();
    lost = false;
    auto fresh = open();
    lock.lock();
    opening = false;
    bool returned = false;
    if (fresh) {
        connection = *fresh;
        ++generation;
        returned = std::exchange(down, false);
    }
    lock.unlock();
    opened.notify_all();
    if (returned) {
        log::info("connected to libvirt again", {{"uri", options.uri}});
        if (link)
            link(true, "");
    }
    return fresh;
}

Result<DomainPtr> Connection::State::domain(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto host, get());
    DomainPtr found(virDomainLookupByUUIDString(host.get(), uuid.str().c_str()));
    if (!found) {
        const virError* error = virGetLastError();
        if (error != nullptr && error->code == VIR_ERR_NO_DOMAIN)
            return fail_as("InstanceNotFound",
                           Code::NotFound,
                           cat("Instance ", uuid.str(), " could not be found."));
        return last_error("domain " + uuid.str());
    }
    return found;
}

void Connection::State::add_timers() {
    constexpr int never = -1;
    wake_timer = virEventAddTimeout(
        never, [](int, void*) {}, nullptr, nullptr);
    stop_timer = virEventAddTimeout(never, &State::on_stop_timer, this, nullptr);
    retry_timer = virEventAddTimeout(never, &State::on_retry_timer, this, nullptr);
}

Connection::Connection(ConnectionOptions options)
    : state_(std::make_unique<State>(std::move(options))) {}

Connection::~Connection() {
    stop();
}

Result<void> Connection::start(std::function<void(const GuestEvent&)> events,
                               std::function<void(bool, const std::string&)> link) {
    NOVALET_TRY(initialise());
    state_->sink = std::move(events);
    state_->link = std::move(link);
    state_->add_timers();
    // The loop sleeps in poll; stop() makes the first timer fire.
    state_->events = std::jthread([](const std::stop_token& stop) {
        while (!stop.stop_requested())
            if (virEventRunDefaultImpl() < 0)
                log::warning("libvirt's event loop reports an error");
    });
    NOVALET_TRY(state_->get());
    return {};
}

void Connection::stop() {
    if (!state_->events.joinable())
        return;
    for (const int timer : {state_->stop_timer, state_->retry_timer})
        virEventRemoveTimeout(timer);
    ConnectPtr last;
    {
        const std::lock_guard lock(state_->mutex);
        last = std::move(state_->connection);
    }
    last.reset(); // while the loop runs, which frees what belongs to it
    state_->events.request_stop();
    virEventUpdateTimeout(state_->wake_timer, 0);
    state_->events.join();
    virEventRemoveTimeout(state_->wake_timer);
}

std::uint64_t Connection::generation() const noexcept {
    return state_->generation;
}

Result<std::string> Connection::host_name() {
    NOVALET_ASSIGN(const auto host, state_->get());
    char* name = virConnectGetHostname(host.get());
    if (name == nullptr)
        return last_error("host name");
    return take(name);
}

Result<std::string> Connection::type() {
    NOVALET_ASSIGN(const auto host, state_->get());
    const char* type = virConnectGetType(host.get());
    if (type == nullptr)
        return last_error("hypervisor type");
    return std::string(type);
}

Result<std::int64_t> Connection::hypervisor_version() {
    NOVALET_ASSIGN(const auto host, state_->get());
    unsigned long version = 0;
    if (virConnectGetVersion(host.get(), &version) != 0)
        return last_error("hypervisor version");
    return static_cast<std::int64_t>(version);
}

Result<std::int64_t> Connection::library_version() {
    NOVALET_ASSIGN(const auto host, state_->get());
    unsigned long version = 0;
    if (virConnectGetLibVersion(host.get(), &version) != 0)
        return last_error("libvirt version");
    return static_cast<std::int64_t>(version);
}

Result<std::string> Connection::capabilities() {
    NOVALET_ASSIGN(const auto host, state_->get());
    char* xml = virConnectGetCapabilities(host.get());
    if (xml == nullptr)
        return last_error("capabilities");
    return take(xml);
}

Result<std::string> Connection::domain_capabilities(const std::string& arch,
                                                    const std::string& machine,
                                                    const std::string& virt_type) {
    NOVALET_ASSIGN(const auto host, state_->get());
    char* xml = virConnectGetDomainCapabilities(
        host.get(), nullptr, arch.c_str(), machine.c_str(), virt_type.c_str(), 0);
    if (xml == nullptr)
        return last_error(cat("domain capabilities of ", arch, '/', machine, '/', virt_type));
    return take(xml);
}

Result<std::string> Connection::baseline_cpu(const std::string& cpu_xml) {
    NOVALET_ASSIGN(const auto host, state_->get());
    const char* one = cpu_xml.c_str();
    char* xml =
        virConnectBaselineCPU(host.get(), &one, 1, VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES);
    if (xml == nullptr)
        return last_error("baseline CPU");
    return take(xml);
}

Result<std::uint64_t> Connection::memory_mib() {
    NOVALET_ASSIGN(const auto host, state_->get());
    virNodeInfo raw{};
    if (virNodeGetInfo(host.get(), &raw) != 0)
        return last_error("node info");
    return std::uint64_t{raw.memory} >> 10U;
}

Result<std::vector<GuestInfo>> Connection::guests() {
    NOVALET_ASSIGN(const auto host, state_->get());
    virDomainPtr* list = nullptr;
    const int count = virConnectListAllDomains(host.get(), &list, 0);
    if (count < 0)
        return last_error("list of domains");
    std::vector<GuestInfo> out;
    for (int i = 0; i < count; ++i) {
        const DomainPtr domain(list[i]);
        // One that vanished meanwhile is left out.
        if (auto info = describe(domain.get()))
            out.push_back(std::move(*info));
    }
    std::free(list);
    return out;
}

Result<GuestInfo> Connection::info(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    return describe(domain.get());
}

Result<std::string> Connection::xml(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    char* text = virDomainGetXMLDesc(domain.get(), 0);
    if (text == nullptr)
        return last_error("XML of domain " + uuid.str());
    return take(text);
}

Result<std::string> Connection::definition(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    char* text = virDomainGetXMLDesc(domain.get(), VIR_DOMAIN_XML_INACTIVE);
    if (text == nullptr)
        return last_error("definition of domain " + uuid.str());
    return take(text);
}

Result<void>
Connection::detach(const InstanceUuid& uuid, const std::string& device_xml, bool running) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    const unsigned where = running ? VIR_DOMAIN_AFFECT_LIVE : VIR_DOMAIN_AFFECT_CONFIG;
    if (virDomainDetachDeviceFlags(domain.get(), device_xml.c_str(), where) != 0 &&
        !is_detached_or_detaching())
        return last_error("detach a device of domain " + uuid.str());
    return {};
}

Result<void> Connection::define(const std::string& xml) {
    NOVALET_ASSIGN(const auto host, state_->get());
    const DomainPtr domain(virDomainDefineXML(host.get(), xml.c_str()));
    if (!domain)
        return last_error("define domain");
    return {};
}

Result<void> Connection::undefine(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    const unsigned nvram = VIR_DOMAIN_UNDEFINE_NVRAM;
    const unsigned known = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
                           VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                           VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
    // A driver that does not know a flag refuses all of them: the next try asks for less.
    for (const unsigned flags : {known | nvram,
                                 unsigned{VIR_DOMAIN_UNDEFINE_MANAGED_SAVE} | nvram,
                                 unsigned{VIR_DOMAIN_UNDEFINE_MANAGED_SAVE}}) {
        if (virDomainUndefineFlags(domain.get(), flags) == 0)
            return {};
        const virError* error = virGetLastError();
        if (error == nullptr ||
            (error->code != VIR_ERR_INVALID_ARG && error->code != VIR_ERR_ARGUMENT_UNSUPPORTED))
            break;
    }
    return last_error("undefine domain " + uuid.str());
}

Result<void> Connection::launch(const InstanceUuid& uuid, bool paused) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    if (virDomainCreateWithFlags(domain.get(), paused ? VIR_DOMAIN_START_PAUSED : 0) != 0)
        return last_error("start domain " + uuid.str());
    return {};
}

Result<void> Connection::destroy(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    if (virDomainDestroy(domain.get()) == 0)
        return {};
    auto failed = last_error("destroy domain " + uuid.str());
    // It may have ended, or been removed, by itself in the same moment.
    if (failed.value().code == Code::NotFound || virDomainIsActive(domain.get()) == 0)
        return {};
    return failed;
}

Result<void> Connection::shutdown(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    if (virDomainShutdown(domain.get()) != 0)
        return last_error("shut down domain " + uuid.str());
    return {};
}

Result<void> Connection::suspend(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    if (virDomainSuspend(domain.get()) != 0)
        return last_error("pause domain " + uuid.str());
    return {};
}

Result<void> Connection::resume(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    if (virDomainResume(domain.get()) != 0)
        return last_error("resume domain " + uuid.str());
    return {};
}

Result<void> Connection::managed_save(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    if (virDomainManagedSave(domain.get(), 0) != 0)
        return last_error("save domain " + uuid.str());
    return {};
}

Result<bool> Connection::has_managed_save(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    const int has = virDomainHasManagedSaveImage(domain.get(), 0);
    if (has < 0)
        return last_error("saved state of domain " + uuid.str());
    return has == 1;
}

Result<void> Connection::drop_managed_save(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    if (virDomainHasManagedSaveImage(domain.get(), 0) == 0)
        return {};
    if (virDomainManagedSaveRemove(domain.get(), 0) != 0)
        return last_error("give up the saved state of domain " + uuid.str());
    return {};
}

Result<void> Connection::sync_time(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    if (virDomainSetTime(domain.get(), 0, 0, VIR_DOMAIN_TIME_SYNC) != 0)
        return last_error("set the clock of domain " + uuid.str());
    return {};
}

Result<int> Connection::running_id(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    const auto id = virDomainGetID(domain.get());
    return id == static_cast<unsigned>(-1) ? -1 : static_cast<int>(id);
}

} // namespace novalet::hypervisor::libvirt
