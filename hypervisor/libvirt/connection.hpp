#pragma once
// libvirt's C API behind RAII and Result. Nothing of libvirt.h shows in headers.
#include "agent/core/result.hpp"
#include "hypervisor/hypervisor.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace novalet::hypervisor::libvirt {

struct ConnectionOptions {
    std::string uri = "qemu:///system";
    Seconds stop_event_delay{15};
    /// A verb waits so long in all for a connection and for its place among the calls under way.
    Milliseconds patience{60000};
    /// libvirtd is asked for a sign of life so often, and given up when so many are missing.
    Seconds keepalive_interval{15};
    unsigned keepalive_count = 2;
};

class Link;

/// The way to libvirtd, opened again when it was lost: at once for the next request, otherwise with
/// growing pauses. Thread safe.
///
/// At most four calls are under way (call_gate.hpp says why four, and what leaves places to whom),
/// each on a connection of its own (link.hpp says why). A verb whose connection breaks, does not
/// come within `patience`, or has no place within it fails so that link_lost() knows it. A libvirtd
/// that hangs breaks the connections when its keepalive is not answered (45 s), all of them when
/// one breaks. Verbs that change something are never repeated here: whether they took effect is for
/// the caller to look at. Questions are asked once more over a new connection.
///
/// Before start() and after stop() every verb fails at once, as with a lost link.
///
/// Events and timers never wait for libvirtd. libvirt's event loop is the process's: start only
/// one Connection at a time.
class Connection {
  public:
    explicit Connection(ConnectionOptions options);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection();

    /// Starts the event thread and connects, within `patience`. `events` hears lifecycle events on
    /// that thread; `link` hears of losses and returns, in order, on the thread that opens the
    /// connection: it must not wait for this object.
    [[nodiscard]] Result<void> start(std::function<void(const GuestEvent&)> events,
                                     std::function<void(bool, const std::string&)> link);
    void stop();
    /// Is there a connection now, as far as is known?
    [[nodiscard]] bool reachable() const;
    /// Grows with each new connection: what was asked of an older one may be out of date.
    [[nodiscard]] std::uint64_t generation() const noexcept;

    [[nodiscard]] Result<std::string> host_name();
    [[nodiscard]] Result<std::string> type();
    [[nodiscard]] Result<std::int64_t> hypervisor_version();
    [[nodiscard]] Result<std::int64_t> library_version();
    [[nodiscard]] Result<std::string> capabilities();
    [[nodiscard]] Result<std::string> domain_capabilities(const std::string& arch,
                                                          const std::string& machine,
                                                          const std::string& virt_type);
    /// Expanded baseline of one CPU document. Unsupported where libvirt cannot say.
    [[nodiscard]] Result<std::string> baseline_cpu(const std::string& cpu_xml);
    [[nodiscard]] Result<std::uint64_t> memory_mib();
    /// All defined domains; one that goes away meanwhile is left out.
    [[nodiscard]] Result<std::vector<GuestInfo>> guests();

    // Verbs on one domain. InstanceNotFound when there is none.
    [[nodiscard]] Result<GuestInfo> info(const InstanceUuid& uuid);
    [[nodiscard]] Result<std::string> xml(const InstanceUuid& uuid);
    /// As it is defined, whether it runs or not.
    [[nodiscard]] Result<std::string> definition(const InstanceUuid& uuid);
    /// Takes a device, given by its XML, out of the running domain or out of its definition.
    /// `running`: the guest is only asked; whether the device is gone, its XML tells. Ok when the
    /// domain has no such device, is gone, or was asked before.
    [[nodiscard]] Result<void>
    detach(const InstanceUuid& uuid, const std::string& device_xml, bool running);
    /// A domain of the same uuid and name is replaced; one that runs goes on as it is until it
    /// ends.
    [[nodiscard]] Result<void> define(const std::string& xml);
    /// Forgets the domain with its saved state, its UEFI variables and its TPM.
    [[nodiscard]] Result<void> undefine(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> launch(const InstanceUuid& uuid, bool paused);
    /// Ok when it does not run (any more). Timeout: QEMU does not go away yet.
    [[nodiscard]] Result<void> destroy(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> shutdown(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> suspend(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> resume(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> managed_save(const InstanceUuid& uuid);
    [[nodiscard]] Result<bool> has_managed_save(const InstanceUuid& uuid);
    /// Saved memory is given up: the next start is a cold one. Ok when there is none.
    [[nodiscard]] Result<void> drop_managed_save(const InstanceUuid& uuid);
    /// The guest agent sets the guest's clock; an error where there is no agent.
    [[nodiscard]] Result<void> sync_time(const InstanceUuid& uuid);
    /// The id of a running domain changes with every start; -1 when it does not run.
    [[nodiscard]] Result<int> running_id(const InstanceUuid& uuid);

  private:
    std::shared_ptr<Link> link_;
};

} // namespace novalet::hypervisor::libvirt
