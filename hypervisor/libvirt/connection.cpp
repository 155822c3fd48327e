#include "hypervisor/libvirt/connection.hpp"

#include "agent/core/text.hpp"
#include "hypervisor/libvirt/link.hpp"

#include <cstdlib>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <utility>

namespace novalet::hypervisor::libvirt {
namespace {

using Call = Link::Call;

Result<GuestInfo> describe(const Call& call, virDomainPtr domain) {
    virDomainInfo raw{};
    if (virDomainGetInfo(domain, &raw) != 0)
        return call.failed();
    GuestInfo info;
    info.uuid = uuid_of(domain);
    info.name = virDomainGetName(domain);
    info.state = power_state(raw.state);
    info.memory_mib = raw.maxMem >> 10U;
    info.vcpus = raw.nrVirtCpu;
    return info;
}

/// A text that libvirt allocated, or the failure of the call that should have made it.
Result<std::string> text_of(const Call& call, char* text) {
    if (text == nullptr)
        return call.failed();
    return take(text);
}

/// A call that says no more than whether it worked.
Result<void> done(const Call& call, int answer) {
    if (answer != 0)
        return call.failed();
    return {};
}

} // namespace

Connection::Connection(ConnectionOptions options)
    : link_(std::make_shared<Link>(std::move(options))) {}

Connection::~Connection() {
    stop();
}

Result<void> Connection::start(std::function<void(const GuestEvent&)> events,
                               std::function<void(bool, const std::string&)> link) {
    return link_->start(std::move(events), std::move(link));
}

void Connection::stop() {
    link_->stop();
}

bool Connection::reachable() const {
    return link_->reachable();
}

std::uint64_t Connection::generation() const noexcept {
    return link_->generation();
}

Result<std::string> Connection::host_name() {
    return link_->ask("host name", [](const Call& call) {
        return text_of(call, virConnectGetHostname(call.host));
    });
}

Result<std::string> Connection::type() {
    return link_->ask("hypervisor type", [](const Call& call) -> Result<std::string> {
        const char* type = virConnectGetType(call.host);
        if (type == nullptr)
            return call.failed();
        return std::string(type);
    });
}

Result<std::int64_t> Connection::hypervisor_version() {
    return link_->ask("hypervisor version", [](const Call& call) -> Result<std::int64_t> {
        unsigned long version = 0;
        if (virConnectGetVersion(call.host, &version) != 0)
            return call.failed();
        return static_cast<std::int64_t>(version);
    });
}

Result<std::int64_t> Connection::library_version() {
    return link_->ask("libvirt version", [](const Call& call) -> Result<std::int64_t> {
        unsigned long version = 0;
        if (virConnectGetLibVersion(call.host, &version) != 0)
            return call.failed();
        return static_cast<std::int64_t>(version);
    });
}

Result<std::string> Connection::capabilities() {
    return link_->ask("capabilities", [](const Call& call) {
        return text_of(call, virConnectGetCapabilities(call.host));
    });
}

Result<std::string> Connection::domain_capabilities(const std::string& arch,
                                                    const std::string& machine,
                                                    const std::string& virt_type) {
    const auto what = cat("domain capabilities of ", arch, '/', machine, '/', virt_type);
    return link_->ask(what, [&](const Call& call) {
        return text_of(
            call,
            virConnectGetDomainCapabilities(
                call.host, nullptr, arch.c_str(), machine.c_str(), virt_type.c_str(), 0));
    });
}

Result<std::string> Connection::baseline_cpu(const std::string& cpu_xml) {
    return link_->ask("baseline CPU", [&](const Call& call) {
        const char* one = cpu_xml.c_str();
        return text_of(
            call,
            virConnectBaselineCPU(call.host, &one, 1, VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES));
    });
}

Result<std::uint64_t> Connection::memory_mib() {
    return link_->ask("node info", [](const Call& call) -> Result<std::uint64_t> {
        virNodeInfo raw{};
        if (virNodeGetInfo(call.host, &raw) != 0)
            return call.failed();
        return std::uint64_t{raw.memory} >> 10U;
    });
}

Result<std::vector<GuestInfo>> Connection::guests() {
    return link_->ask("list of domains", [](const Call& call) -> Result<std::vector<GuestInfo>> {
        virDomainPtr* list = nullptr;
        const int count = virConnectListAllDomains(call.host, &list, 0);
        if (count < 0)
            return call.failed();
        std::vector<DomainPtr> domains(list, list + count);
        std::free(list);
        std::vector<GuestInfo> out;
        for (const auto& domain : domains) {
            auto info = describe(call, domain.get());
            if (info)
                out.push_back(std::move(*info));
            else if (info.error().code != Code::NotFound)
                return Failure(std::move(info).error()); // a short list would say that it is gone
        }
        return out;
    });
}

Result<GuestInfo> Connection::info(const InstanceUuid& uuid) {
    return link_->ask("state of domain " + uuid.str(), [&](const Call& call) -> Result<GuestInfo> {
        NOVALET_ASSIGN(const auto domain, call.domain(uuid));
        return describe(call, domain.get());
    });
}

Result<std::string> Connection::xml(const InstanceUuid& uuid) {
    return link_->ask("XML of domain " + uuid.str(), [&](const Call& call) -> Result<std::string> {
        NOVALET_ASSIGN(const auto domain, call.domain(uuid));
        return text_of(call, virDomainGetXMLDesc(domain.get(), 0));
    });
}

Result<std::string> Connection::definition(const InstanceUuid& uuid) {
    const auto what = "definition of domain " + uuid.str();
    return link_->ask(what, [&](const Call& call) -> Result<std::string> {
        NOVALET_ASSIGN(const auto domain, call.domain(uuid));
        return text_of(call, virDomainGetXMLDesc(domain.get(), VIR_DOMAIN_XML_INACTIVE));
    });
}

Result<void>
Connection::detach(const InstanceUuid& uuid, const std::string& device_xml, bool running) {
    const auto what = "detach a device of domain " + uuid.str();
    return link_->act(CallKind::Change, what, [&](const Call& call) -> Result<void> {
        NOVALET_ASSIGN(const auto domain, call.domain(uuid));
        const unsigned where = running ? VIR_DOMAIN_AFFECT_LIVE : VIR_DOMAIN_AFFECT_CONFIG;
        if (virDomainDetachDeviceFlags(domain.get(), device_xml.c_str(), where) != 0 &&
            !is_detached_or_detaching())
            return call.failed();
        return {};
    });
}

Result<void> Connection::define(const std::string& xml) {
    return link_->act(CallKind::Change, "define domain", [&](const Call& call) -> Result<void> {
        const DomainPtr domain(virDomainDefineXML(call.host, xml.c_str()));
        if (!domain)
            return call.failed();
        return {};
    });
}

Result<void> Connection::undefine(const InstanceUuid& uuid) {
    const unsigned nvram = VIR_DOMAIN_UNDEFINE_NVRAM;
    const unsigned known = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
                           VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                           VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
    const auto what = "undefine domain " + uuid.str();
    return link_->act(CallKind::Change, what, [&](const Call& call) -> Result<void> {
        NOVALET_ASSIGN(const auto domain, call.domain(uuid));
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
        return call.failed();
    });
}

Result<void> Connection::launch(const InstanceUuid& uuid, bool paused) {
    return link_->act(
        CallKind::Change, "start domain " + uuid.str(), [&](const Call& call) -> Result<void> {
            NOVALET_ASSIGN(const auto domain, call.domain(uuid));
            const unsigned flags = paused ? VIR_DOMAIN_START_PAUSED : 0;
            return done(call, virDomainCreateWithFlags(domain.get(), flags));
        });
}

Result<void> Connection::destroy(const InstanceUuid& uuid) {
    return link_->act(
        CallKind::Change, "destroy domain " + uuid.str(), [&](const Call& call) -> Result<void> {
            NOVALET_ASSIGN(const auto domain, call.domain(uuid));
            if (virDomainDestroy(domain.get()) == 0)
                return {};
            auto failed = call.failed();
            // It may have ended, or been removed, by itself in the same moment.
            if (failed.value().code == Code::NotFound || virDomainIsActive(domain.get()) == 0)
                return {};
            return failed;
        });
}

Result<void> Connection::shutdown(const InstanceUuid& uuid) {
    return link_->act(
        CallKind::Change, "shut down domain " + uuid.str(), [&](const Call& call) -> Result<void> {
            NOVALET_ASSIGN(const auto domain, call.domain(uuid));
            return done(call, virDomainShutdown(domain.get()));
        });
}

Result<void> Connection::suspend(const InstanceUuid& uuid) {
    return link_->act(
        CallKind::Change, "pause domain " + uuid.str(), [&](const Call& call) -> Result<void> {
            NOVALET_ASSIGN(const auto domain, call.domain(uuid));
            return done(call, virDomainSuspend(domain.get()));
        });
}

Result<void> Connection::resume(const InstanceUuid& uuid) {
    return link_->act(
        CallKind::Change, "resume domain " + uuid.str(), [&](const Call& call) -> Result<void> {
            NOVALET_ASSIGN(const auto domain, call.domain(uuid));
            return done(call, virDomainResume(domain.get()));
        });
}

Result<void> Connection::managed_save(const InstanceUuid& uuid) {
    return link_->act(
        CallKind::Long, "save domain " + uuid.str(), [&](const Call& call) -> Result<void> {
            NOVALET_ASSIGN(const auto domain, call.domain(uuid));
            return done(call, virDomainManagedSave(domain.get(), 0));
        });
}

Result<bool> Connection::has_managed_save(const InstanceUuid& uuid) {
    const auto what = "saved state of domain " + uuid.str();
    return link_->ask(what, [&](const Call& call) -> Result<bool> {
        NOVALET_ASSIGN(const auto domain, call.domain(uuid));
        const int has = virDomainHasManagedSaveImage(domain.get(), 0);
        if (has < 0)
            return call.failed();
        return has == 1;
    });
}

Result<void> Connection::drop_managed_save(const InstanceUuid& uuid) {
    const auto what = "give up the saved state of domain " + uuid.str();
    return link_->act(CallKind::Change, what, [&](const Call& call) -> Result<void> {
        NOVALET_ASSIGN(const auto domain, call.domain(uuid));
        if (virDomainHasManagedSaveImage(domain.get(), 0) == 0)
            return {};
        return done(call, virDomainManagedSaveRemove(domain.get(), 0));
    });
}

Result<void> Connection::sync_time(const InstanceUuid& uuid) {
    const auto what = "set the clock of domain " + uuid.str();
    return link_->act(CallKind::Long, what, [&](const Call& call) -> Result<void> {
        NOVALET_ASSIGN(const auto domain, call.domain(uuid));
        return done(call, virDomainSetTime(domain.get(), 0, 0, VIR_DOMAIN_TIME_SYNC));
    });
}

Result<int> Connection::running_id(const InstanceUuid& uuid) {
    return link_->ask("id of domain " + uuid.str(), [&](const Call& call) -> Result<int> {
        NOVALET_ASSIGN(const auto domain, call.domain(uuid));
        const auto id = virDomainGetID(domain.get());
        return id == static_cast<unsigned>(-1) ? -1 : static_cast<int>(id);
    });
}

} // namespace novalet::hypervisor::libvirt
