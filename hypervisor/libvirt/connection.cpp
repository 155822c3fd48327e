#include "hypervisor/libvirt/connection.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"

#include <array>
#include <atomic>
#include <cstdlib>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

namespace novalet::hypervisor::libvirt {
namespace {

constexpr int keepalive_seconds = 5;
constexpr unsigned keepalive_count = 5;

struct DomainDeleter {
    void operator()(virDomainPtr domain) const { virDomainFree(domain); }
};
using ConnectPtr = std::shared_ptr<virConnect>;
using DomainPtr = std::unique_ptr<virDomain, DomainDeleter>;

/// Text that libvirt allocated.
std::string take(char* text) {
    std::string out = text != nullptr ? text : "";
    std::free(text);
    return out;
}

Failure last_error(const std::string& what) {
    const virError* error = virGetLastError();
    const int number = error != nullptr ? error->code : 0;
    const std::string text = error != nullptr && error->message != nullptr ? error->message : "?";
    switch (number) {
    case VIR_ERR_NO_DOMAIN:
        return fail_as("InstanceNotFound", Code::NotFound, cat(what, ": ", text));
    case VIR_ERR_OPERATION_TIMEOUT:
        return fail(Code::Timeout, cat(what, ": ", text));
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_RPC:
    case VIR_ERR_SYSTEM_ERROR:
        return fail(Code::Unavailable, cat(what, ": ", text));
    case VIR_ERR_OPERATION_INVALID:
        return fail(Code::Conflict, cat(what, ": ", text));
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_CONFIG_UNSUPPORTED:
        return fail(Code::Unsupported, cat(what, ": ", text));
    default:
        return fail(Code::Internal, cat(what, ": ", text));
    }
}

PowerState power_state(int state) {
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        return PowerState::Running;
    case VIR_DOMAIN_PAUSED:
        return PowerState::Paused;
    case VIR_DOMAIN_SHUTDOWN:
    case VIR_DOMAIN_SHUTOFF:
        return PowerState::Shutdown;
    case VIR_DOMAIN_CRASHED:
        return PowerState::Crashed;
    case VIR_DOMAIN_PMSUSPENDED:
        return PowerState::Suspended;
    default:
        return PowerState::NoState;
    }
}

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

} // namespace

struct Connection::State {
    std::string uri;
    std::mutex mutex;
    ConnectPtr connection;
    std::function<void(const GuestEvent&)> sink;
    std::jthread events;
    std::atomic<bool> lost{false};
    int timer = -1;

    Result<ConnectPtr> get();
    Result<ConnectPtr> open();
    Result<DomainPtr> domain(const InstanceUuid& uuid);
    static int
    on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail, void* self);
    static void on_close(virConnectPtr connection, int reason, void* self);
};

int Connection::State::on_lifecycle(
    virConnectPtr /*connection*/, virDomainPtr domain, int event, int /*detail*/, void* self) {
    GuestEvent out;
    out.uuid = InstanceUuid(uuid_of(domain));
    switch (event) {
    case VIR_DOMAIN_EVENT_STARTED:
        out.kind = GuestEvent::Kind::Started;
        break;
    case VIR_DOMAIN_EVENT_STOPPED:
        out.kind = GuestEvent::Kind::Stopped;
        break;
    case VIR_DOMAIN_EVENT_SUSPENDED:
        out.kind = GuestEvent::Kind::Paused;
        break;
    case VIR_DOMAIN_EVENT_RESUMED:
        out.kind = GuestEvent::Kind::Resumed;
        break;
    case VIR_DOMAIN_EVENT_PMSUSPENDED:
        out.kind = GuestEvent::Kind::Suspended;
        break;
    default:
        return 0;
    }
    const auto& sink = static_cast<State*>(self)->sink;
    if (sink)
        sink(out);
    return 0;
}

void Connection::State::on_close(virConnectPtr /*connection*/, int reason, void* self) {
    static_cast<State*>(self)->lost = true;
    metrics::counter("novalet_libvirt_connections_lost_total", "Connections to libvirtd lost")
        .add();
    log::error("connection to libvirt lost; it is opened again with the next request",
               {{"reason", reason}});
}

Result<ConnectPtr> Connection::State::open() {
    ConnectPtr fresh(virConnectOpen(uri.c_str()), [](virConnectPtr c) {
        if (c != nullptr)
            virConnectClose(c);
    });
    if (!fresh)
        return last_error(cat("connect to libvirt at ",
                              uri,
                              " (is libvirtd running, and may this user use its socket?)"));
    virConnectSetKeepAlive(fresh.get(), keepalive_seconds, keepalive_count);
    virConnectRegisterCloseCallback(fresh.get(), &State::on_close, this, nullptr);
    if (virConnectDomainEventRegisterAny(fresh.get(),
                                         nullptr,
                                         VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                         VIR_DOMAIN_EVENT_CALLBACK(&State::on_lifecycle),
                                         this,
                                         nullptr) < 0)
        log::warning("libvirt sends no lifecycle events; power states follow the periodic sync");
    return fresh;
}

Result<ConnectPtr> Connection::State::get() {
    const std::lock_guard lock(mutex);
    if (connection && !lost)
        return connection;
    NOVALET_ASSIGN(connection, open());
    lost = false;
    return connection;
}

Result<DomainPtr> Connection::State::domain(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto host, get());
    DomainPtr found(virDomainLookupByUUIDString(host.get(), uuid.str().c_str()));
    if (!found)
        return last_error("domain " + uuid.str());
    return found;
}

Connection::Connection(std::string uri) : state_(std::make_unique<State>()) {
    state_->uri = std::move(uri);
}

Connection::~Connection() {
    stop();
}

Result<void> Connection::start(std::function<void(const GuestEvent&)> sink) {
    virSetErrorFunc(nullptr, quiet);
    if (virInitialize() != 0 || virEventRegisterDefaultImpl() != 0)
        return last_error("libvirt cannot be initialised");
    state_->sink = std::move(sink);
    // The loop sleeps in poll; this timer never fires, stop() makes it fire once.
    state_->timer = virEventAddTimeout(
        -1, [](int, void*) {}, nullptr, nullptr);
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
    state_->events.request_stop();
    virEventUpdateTimeout(state_->timer, 0);
    state_->events.join();
    const std::lock_guard lock(state_->mutex);
    state_->connection.reset();
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

Result<Connection::NodeInfo> Connection::node_info() {
    NOVALET_ASSIGN(const auto host, state_->get());
    virNodeInfo raw{};
    if (virNodeGetInfo(host.get(), &raw) != 0)
        return last_error("node info");
    return NodeInfo{raw.memory >> 10U, raw.cpus};
}

Result<std::string> Connection::online_cpus() {
    NOVALET_ASSIGN(const auto host, state_->get());
    unsigned char* map = nullptr;
    unsigned online = 0;
    const int present = virNodeGetCPUMap(host.get(), &map, &online, 0);
    if (present < 0)
        return last_error("CPU map");
    std::vector<std::string> cpus;
    for (int cpu = 0; cpu < present; ++cpu)
        if ((map[cpu / 8] & (1U << (static_cast<unsigned>(cpu) % 8U))) != 0)
            cpus.push_back(std::to_string(cpu));
    std::free(map);
    return join(cpus, ",");
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

Result<void> Connection::define(const std::string& xml) {
    NOVALET_ASSIGN(const auto host, state_->get());
    const DomainPtr domain(virDomainDefineXML(host.get(), xml.c_str()));
    if (!domain)
        return last_error("define domain");
    return {};
}

Result<void> Connection::undefine(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    constexpr unsigned flags = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_NVRAM;
    if (virDomainUndefineFlags(domain.get(), flags) != 0)
        return last_error("undefine domain " + uuid.str());
    return {};
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
    // It may have ended by itself in the same moment.
    if (virDomainIsActive(domain.get()) == 0)
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

Result<int> Connection::running_id(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto domain, state_->domain(uuid));
    const auto id = virDomainGetID(domain.get());
    return id == static_cast<unsigned>(-1) ? -1 : static_cast<int>(id);
}

} // namespace novalet::hypervisor::libvirt
