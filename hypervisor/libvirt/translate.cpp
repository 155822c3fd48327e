#include "hypervisor/libvirt/translate.hpp"

#include "agent/core/text.hpp"

#include <cstdlib>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

namespace novalet::hypervisor::libvirt {
namespace {

Code code_of(int number) {
    switch (number) {
    case VIR_ERR_OPERATION_TIMEOUT:
        return Code::Timeout;
    case VIR_ERR_SYSTEM_ERROR:
    case VIR_ERR_AGENT_UNRESPONSIVE:
        return Code::Unavailable;
    case VIR_ERR_OPERATION_INVALID:
        return Code::Conflict;
    case VIR_ERR_DOM_EXIST:
        return Code::AlreadyExists;
    case VIR_ERR_NO_MEMORY:
    case VIR_ERR_RESOURCE_BUSY:
        return Code::ResourceExhausted;
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_CANCELLED:
    case VIR_ERR_AUTH_UNAVAILABLE:
    case VIR_ERR_ACCESS_DENIED:
    case VIR_ERR_OPERATION_DENIED:
        return Code::Unauthorized;
    case VIR_ERR_XML_ERROR:
    case VIR_ERR_XML_DETAIL:
    case VIR_ERR_XML_INVALID_SCHEMA:
    case VIR_ERR_INVALID_ARG:
        return Code::InvalidArgument;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_OPERATION_UNSUPPORTED:
        return Code::Unsupported;
    default:
        return Code::Internal;
    }
}

} // namespace

std::string take(char* text) {
    std::string out = text != nullptr ? text : "";
    std::free(text);
    return out;
}

Reason last_reason() {
    Reason out;
    const virError* error = virGetLastError();
    if (error == nullptr)
        return out;
    out.code = error->code;
    out.domain = error->domain;
    if (error->message != nullptr)
        out.text = error->message;
    return out;
}

bool is_link_loss(const Reason& reason, bool alive) {
    if (reason.code == VIR_ERR_NO_CONNECT || reason.code == VIR_ERR_INVALID_CONN)
        return true;
    if (alive)
        return false;
    return reason.code == VIR_ERR_OK || reason.domain == VIR_FROM_RPC ||
           reason.domain == VIR_FROM_REMOTE;
}

Failure failure_of(const Reason& reason, const std::string& what, bool alive) {
    if (is_link_loss(reason, alive))
        return link_failure(cat(what, ": the connection to libvirtd was lost: ", reason.text));
    if (reason.code == VIR_ERR_NO_DOMAIN)
        return fail_as("InstanceNotFound", Code::NotFound, cat(what, ": ", reason.text));
    auto failure = fail(code_of(reason.code), cat(what, ": ", reason.text));
    failure.value().exception = "libvirtError";
    failure.value().module = "libvirt";
    return failure;
}

bool is_detached_or_detaching() {
    const virError* error = virGetLastError();
    if (error == nullptr)
        return false;
    const std::string_view text = error->message != nullptr ? error->message : "";
    switch (error->code) {
    case VIR_ERR_DEVICE_MISSING:
    case VIR_ERR_NO_DOMAIN:
        return true;
    case VIR_ERR_OPERATION_FAILED: // of versions that have no code for it
        return text.find("not found") != std::string_view::npos;
    case VIR_ERR_INTERNAL_ERROR: // QEMU's own words
        return text.find("already in the process of unplug") != std::string_view::npos;
    default:
        return false;
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

std::optional<GuestEvent::Kind> kind_of(int event) {
    switch (event) {
    case VIR_DOMAIN_EVENT_STARTED:
        return GuestEvent::Kind::Started;
    case VIR_DOMAIN_EVENT_STOPPED:
        return GuestEvent::Kind::Stopped;
    case VIR_DOMAIN_EVENT_SUSPENDED:
        return GuestEvent::Kind::Paused;
    case VIR_DOMAIN_EVENT_RESUMED:
        return GuestEvent::Kind::Resumed;
    case VIR_DOMAIN_EVENT_PMSUSPENDED:
        return GuestEvent::Kind::Suspended;
    default:
        return std::nullopt;
    }
}

const char* reason_text(int reason) {
    switch (reason) {
    case VIR_CONNECT_CLOSE_REASON_EOF:
        return "libvirtd closed it";
    case VIR_CONNECT_CLOSE_REASON_KEEPALIVE:
        return "libvirtd does not answer keepalives";
    case VIR_CONNECT_CLOSE_REASON_CLIENT:
        return "closed by this side";
    default:
        return "I/O error";
    }
}

} // namespace novalet::hypervisor::libvirt
