#pragma once
// One compute host as the control plane sees it: its queues, records, journal, hypervisor and
// periodic work. A process has one, or many simulated ones.
#include "agent/app/control_plane.hpp"
#include "agent/app/huge_pages.hpp"
#include "agent/journal/journal.hpp"
#include "agent/rpc/server.hpp"
#include "agent/tasks/books/resource_tracker.hpp"
#include "agent/tasks/catalogue/router.hpp"
#include "agent/tasks/engine/periodic.hpp"
#include "agent/tasks/peers/bus_notifier.hpp"
#include "agent/tasks/peers/nova_peers.hpp"
#include "agent/tasks/peers/nova_volumes.hpp"
#include "agent/tasks/start/evacuations.hpp"
#include "agent/tasks/start/interrupted_builds.hpp"
#include "agent/tasks/upkeep/upkeep.hpp"
#include "hypervisor/hypervisor.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

namespace novalet::app {

class ComputeHost {
  public:
    /// `config`: this host's own (name, paths). The control plane is connected and outlives it.
    ComputeHost(config::Config config, ControlPlane& shared);
    ComputeHost(const ComputeHost&) = delete;
    ComputeHost& operator=(const ComputeHost&) = delete;
    ~ComputeHost();

    /// Nova's order (reference 04 §2): hypervisor, service record, resources, what was accepted
    /// before, then new requests and the first heartbeat.
    [[nodiscard]] Result<void> start();
    /// No new requests and no new periodic work. Continuations of other hosts' operations
    /// (compute-alt) are still heard until `finish`.
    void stop_consuming();
    /// Waits for running work; false when some is left for the next start.
    [[nodiscard]] bool finish(const Deadline& deadline);

    [[nodiscard]] const std::string& name() const noexcept { return config_.host; }
    [[nodiscard]] bool reported_up() const noexcept { return reporting_; }
    [[nodiscard]] bool connected() const;
    [[nodiscard]] std::size_t running_tasks() const;

  private:
    [[nodiscard]] Result<void> open_journal();
    [[nodiscard]] Result<void> start_hypervisor();
    [[nodiscard]] Result<void> register_service();
    [[nodiscard]] Result<void> check_guests();
    [[nodiscard]] Result<void> compose();
    void start_servers();
    void start_periodic();
    void heartbeat();
    void make_pools();
    void follow_link(bool reachable, const std::string& reason);
    void clean_image_cache();

    const config::Config config_;
    ControlPlane& shared_;
    std::unique_ptr<journal::Journal> journal_;
    std::unique_ptr<hypervisor::Hypervisor> hypervisor_;
    std::unique_ptr<TaskPool> network_pool_;
    std::unique_ptr<TaskPool> question_pool_;
    std::unique_ptr<TaskPool> pool_;
    /// Operations whose call waits for a peer hold threads of `pool_`: periodic work has its own,
    /// or a host with many of them would look dead.
    std::unique_ptr<TaskPool> periodic_pool_;
    std::unique_ptr<tasks::InstanceQueues> queues_;
    tasks::EventWaiters waiters_;
    std::unique_ptr<tasks::NovaNetworks> networks_;
    std::unique_ptr<tasks::NovaImages> images_;
    std::unique_ptr<tasks::NovaVolumes> volumes_;
    std::unique_ptr<tasks::Notifier> notifier_;
    std::unique_ptr<HugePages> huge_pages_; ///< none where the host is simulated
    std::unique_ptr<tasks::ResourceTracker> tracker_;
    std::unique_ptr<tasks::Services> services_;
    std::unique_ptr<tasks::Upkeep> upkeep_;
    std::unique_ptr<tasks::Evacuations> evacuations_;
    std::unique_ptr<tasks::InterruptedBuilds> interrupted_builds_;
    std::unique_ptr<tasks::Router> router_;
    /// A connection for each topic: stopping one leaves the other.
    std::unique_ptr<amqp::Session> requests_, alt_requests_;
    std::unique_ptr<rpc::Server> server_, alt_server_;
    std::unique_ptr<tasks::Periodic> periodic_;
    std::mutex service_mutex_; ///< guards service_ and its use
    objects::Object service_;
    std::atomic<bool> reporting_{false};
    std::atomic<bool> composed_{false}; ///< what health asks about is there
    std::atomic<bool> serving_{false};  ///< guest events are followed
};

} // namespace novalet::app
