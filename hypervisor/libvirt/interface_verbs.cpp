// Verbs on the interfaces of a guest that exists (nova.virt.libvirt.driver.detach_interface and its
// _detach_with_retry).
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/libvirt/libvirt_hypervisor.hpp"

#include <condition_variable>

namespace novalet::hypervisor::libvirt {
namespace {

constexpr Milliseconds look_pause{500};

/// False when it was cut short.
bool nap(Milliseconds span, const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any wake;
    wake.wait_until(lock, stop, Deadline::after(span).time(), [] { return false; });
    return !stop.stop_requested();
}

} // namespace

Result<void> LibvirtHypervisor::detach_from_definition(const InstanceUuid& uuid,
                                                       const std::string& mac) {
    NOVALET_ASSIGN(const auto xml, connection_.definition(uuid));
    NOVALET_ASSIGN(const auto device, domain::interface_xml(xml, mac));
    return device.empty() ? Result<void>() : connection_.detach(uuid, device, false);
}

/// Looks until the interface is gone or the guest's time is over. libvirt's event of it would be
/// lost with the connection; the document is the truth in any case.
Result<bool> LibvirtHypervisor::has_left(const InstanceUuid& uuid,
                                         const std::string& mac,
                                         const std::stop_token& stop) {
    const auto deadline = Deadline::after(options_.device_detach_timeout);
    for (;;) {
        const auto xml = connection_.xml(uuid);
        if (!xml && xml.error().code == Code::NotFound)
            return true;
        if (!xml)
            return Failure(xml.error());
        NOVALET_ASSIGN(const auto device, domain::interface_xml(*xml, mac));
        if (device.empty() || deadline.passed())
            return device.empty();
        if (!nap(std::min(look_pause, deadline.left()), stop))
            return fail(Code::Cancelled, "the detach of an interface was interrupted");
    }
}

Result<void> LibvirtHypervisor::detach_from_running(const InstanceUuid& uuid,
                                                    const InterfaceSpec& interface,
                                                    const std::stop_token& stop) {
    for (unsigned attempt = 0; attempt < options_.device_detach_attempts; ++attempt) {
        NOVALET_ASSIGN(const auto xml, connection_.xml(uuid));
        NOVALET_ASSIGN(const auto device, domain::interface_xml(xml, interface.mac));
        if (device.empty())
            return {};
        NOVALET_TRY(connection_.detach(uuid, device, true));
        NOVALET_ASSIGN(const bool gone, has_left(uuid, interface.mac, stop));
        if (gone)
            return {};
        log::info("the guest has not let go of an interface yet",
                  {{"instance", uuid.str()}, {"port", interface.port.str()}});
    }
    return fail_as("DeviceDetachFailed",
                   Code::Timeout,
                   cat("Device detach failed for ",
                       interface.device,
                       ": the guest did not let go of it in ",
                       options_.device_detach_attempts,
                       " attempts of ",
                       options_.device_detach_timeout.count(),
                       " s; it is gone with the next power cycle"));
}

Result<void> LibvirtHypervisor::detach_interface(const InstanceUuid& uuid,
                                                 const InterfaceSpec& interface,
                                                 const std::stop_token& stop) {
    const auto guest = connection_.info(uuid);
    if (!guest && guest.error().code != Code::NotFound)
        return Failure(guest.error());
    Result<void> detached;
    if (guest)
        detached = detach_from_definition(uuid, interface.mac);
    else
        detached = Failure(guest.error());
    if (detached && (guest->state == PowerState::Running || guest->state == PowerState::Paused))
        detached = detach_from_running(uuid, interface, stop);
    // Afterwards, also of a guest that holds on to its side: libvirt would still manage it before.
    auto unplugged = plugger_.unplug(interface);
    return detached ? unplugged : detached;
}

} // namespace novalet::hypervisor::libvirt
