#pragma once
// libvirt's answers in the project's words; internal to this folder, the only one that includes
// libvirt.h.
#include "agent/core/result.hpp"
#include "hypervisor/hypervisor.hpp"

#include <libvirt/libvirt.h>
#include <memory>
#include <optional>
#include <string>

namespace novalet::hypervisor::libvirt {

struct DomainDeleter {
    void operator()(virDomainPtr domain) const { virDomainFree(domain); }
};
using ConnectPtr = std::shared_ptr<virConnect>;
using DomainPtr = std::unique_ptr<virDomain, DomainDeleter>;

/// Text that libvirt allocated; it is freed.
[[nodiscard]] std::string take(char* text);
/// This thread's last failure, `what` was tried. Callers over RPC know it as libvirt.libvirtError.
[[nodiscard]] Failure last_error(const std::string& what);
/// Of a virDomainState.
[[nodiscard]] PowerState power_state(int state);
/// Of a virDomainEventType; empty for those that change no power state.
[[nodiscard]] std::optional<GuestEvent::Kind> kind_of(int event);
/// Of a virConnectCloseReason.
[[nodiscard]] const char* reason_text(int reason);
[[nodiscard]] std::string uuid_of(virDomainPtr domain);
[[nodiscard]] Result<GuestInfo> describe(virDomainPtr domain);

} // namespace novalet::hypervisor::libvirt
