#pragma once
// libvirt's numbers and texts in the project's words; internal to this folder.
#include "agent/core/result.hpp"
#include "hypervisor/hypervisor.hpp"

#include <optional>
#include <string>

namespace novalet::hypervisor::libvirt {

/// Text that libvirt allocated; it is freed.
[[nodiscard]] std::string take(char* text);
/// This thread's last failure, `what` was tried. Callers over RPC know it as libvirt.libvirtError.
[[nodiscard]] Failure last_error(const std::string& what);
/// Whether this thread's last failure, of a detach, says that there is nothing (more) to ask for.
[[nodiscard]] bool is_detached_or_detaching();
/// Of a virDomainState.
[[nodiscard]] PowerState power_state(int state);
/// Of a virDomainEventType; empty for those that change no power state.
[[nodiscard]] std::optional<GuestEvent::Kind> kind_of(int event);
/// Of a virConnectCloseReason.
[[nodiscard]] const char* reason_text(int reason);

} // namespace novalet::hypervisor::libvirt
