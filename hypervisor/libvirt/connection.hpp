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
};

/// One connection, opened again when it was lost: at once by the next request, otherwise by the
/// event thread, which tries with growing pauses. Thread safe.
/// A request to a libvirtd that hangs ends with Unavailable when its keepalive is not answered
/// (45 s). libvirt's event loop is the process's: start only one Connection at a time.
class Connection {
  public:
    explicit Connection(ConnectionOptions options);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection();

    /// Starts the event thread and connects. `events` hears lifecycle events on that thread; `link`
    /// hears of losses and returns on any thread.
    [[nodiscard]] Result<void> start(std::function<void(const GuestEvent&)> events,
                                     std::function<void(bool, const std::string&)> link);
    void stop();
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
    /// All defined domains.
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
    struct State;
    std::unique_ptr<State> state_;
};

} // namespace novalet::hypervisor::libvirt
