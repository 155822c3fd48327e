#pragma once
// libvirt's C API behind RAII and Result. Nothing of libvirt.h shows in headers.
#include "agent/core/result.hpp"
#include "hypervisor/hypervisor.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace novalet::hypervisor::libvirt {

/// One connection, opened again when it was lost. Thread safe.
class Connection {
  public:
    explicit Connection(std::string uri);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection();

    /// Starts the event thread and connects; `sink` hears lifecycle events on that thread.
    [[nodiscard]] Result<void> start(std::function<void(const GuestEvent&)> sink);
    void stop();

    [[nodiscard]] Result<std::string> host_name();
    [[nodiscard]] Result<std::string> type();
    [[nodiscard]] Result<std::int64_t> hypervisor_version();
    [[nodiscard]] Result<std::int64_t> library_version();
    [[nodiscard]] Result<std::string> capabilities();
    [[nodiscard]] Result<std::string> domain_capabilities(const std::string& arch,
                                                          const std::string& machine,
                                                          const std::string& virt_type);
    /// Expanded baseline of one CPU document.
    [[nodiscard]] Result<std::string> baseline_cpu(const std::string& cpu_xml);
    struct NodeInfo {
        std::uint64_t memory_mib = 0;
        unsigned cpus = 0;
    };
    [[nodiscard]] Result<NodeInfo> node_info();
    [[nodiscard]] Result<std::string> online_cpus();
    [[nodiscard]] Result<std::vector<GuestInfo>> guests();

    // Verbs on one domain. InstanceNotFound when there is none.
    [[nodiscard]] Result<GuestInfo> info(const InstanceUuid& uuid);
    [[nodiscard]] Result<std::string> xml(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> define(const std::string& xml);
    [[nodiscard]] Result<void> undefine(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> launch(const InstanceUuid& uuid, bool paused);
    [[nodiscard]] Result<void> destroy(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> shutdown(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> suspend(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> resume(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> managed_save(const InstanceUuid& uuid);
    /// The id of a running domain changes with every start; -1 when it does not run.
    [[nodiscard]] Result<int> running_id(const InstanceUuid& uuid);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

} // namespace novalet::hypervisor::libvirt
