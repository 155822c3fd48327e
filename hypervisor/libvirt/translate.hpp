#pragma once
// libvirt's numbers and texts in the project's words; internal to this folder.
#include "agent/core/result.hpp"
#include "hypervisor/hypervisor.hpp"

#include <optional>
#include <string>

namespace novalet::hypervisor::libvirt {

/// Text that libvirt allocated; it is freed.
[[nodiscard]] std::string take(char* text);
/// What libvirt says of a failed call.
struct Reason {
    int code = 0;   ///< a virErrorNumber; 0 when libvirt gives none
    int domain = 0; ///< a virErrorDomain: which part of libvirt it comes from
    std::string text = "libvirt gives no reason";
};
/// Of this thread's last failed call. Any other call to libvirt may forget it.
[[nodiscard]] Reason last_reason();
/// Did the call not fail, but the connection to libvirtd below it? The part that carries calls says
/// so under the numbers of ordinary failures (VIR_ERR_SYSTEM_ERROR "Cannot recv data",
/// VIR_ERR_INTERNAL_ERROR "client socket is closed" or "connection closed due to keepalive
/// timeout", VIR_ERR_RPC); libvirtd hands on the same ones from links of its own (a migration).
/// `alive` tells them apart: whether the connection that was asked is open still.
[[nodiscard]] bool is_link_loss(const Reason& reason, bool alive);
/// `what` was tried. A lost link as hypervisor.hpp's link_lost() knows it; callers over RPC know
/// everything else as libvirt.libvirtError.
[[nodiscard]] Failure failure_of(const Reason& reason, const std::string& what, bool alive);
/// Whether this thread's last failure, of a detach, says that there is nothing (more) to ask for.
[[nodiscard]] bool is_detached_or_detaching();
/// Of a virDomainState.
[[nodiscard]] PowerState power_state(int state);
/// Of a virDomainEventType; empty for those that change no power state.
[[nodiscard]] std::optional<GuestEvent::Kind> kind_of(int event);
/// Of a virConnectCloseReason.
[[nodiscard]] const char* reason_text(int reason);

} // namespace novalet::hypervisor::libvirt
