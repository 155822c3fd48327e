#pragma once
// What all compute hosts of the process share: the connection for calls and replies, accounts and
// REST clients, and what is known of the control plane's release.
#include "agent/amqp/session.hpp"
#include "agent/clients/cinder.hpp"
#include "agent/clients/glance.hpp"
#include "agent/clients/http.hpp"
#include "agent/clients/keystone.hpp"
#include "agent/clients/neutron.hpp"
#include "agent/clients/placement.hpp"
#include "agent/core/timer.hpp"
#include "agent/objects/conductor.hpp"
#include "agent/objects/detect_release.hpp"
#include "agent/rpc/bus_caller.hpp"
#include "agent/rpc/replier.hpp"
#include "config/schema/config.hpp"

#include <atomic>
#include <memory>
#include <stop_token>
#include <thread>

namespace novalet::app {

/// Members in the order of construction; destroyed the other way round. What `connect` makes is
/// null before it.
struct ControlPlane {
    explicit ControlPlane(const config::Config& config);
    ControlPlane(const ControlPlane&) = delete;
    ControlPlane& operator=(const ControlPlane&) = delete;
    ~ControlPlane();

    /// Waits for broker and conductor as long as they need; Cancelled when stopped meanwhile. The
    /// release is found then and stays for the life of the process.
    [[nodiscard]] Result<void> connect(const std::stop_token& stop);
    /// Any thread.
    [[nodiscard]] bool connected() const;

    const config::Config& config;
    std::unique_ptr<clients::HttpClient> http;
    clients::Keystone placement_account, neutron_account, glance_account, cinder_account,
        service_account;
    std::jthread early_login;
    clients::Placement placement;
    clients::Neutron neutron;
    clients::Glance glance;
    clients::Cinder cinder;
    Timer timer;
    std::unique_ptr<amqp::Session> calls;
    std::unique_ptr<rpc::BusCaller> bus;
    std::unique_ptr<rpc::Replier> replier;
    std::unique_ptr<objects::Conductor> conductor;
    objects::DetectedRelease release;

  private:
    std::atomic<bool> begun_{false}; ///< `calls` is there, for threads that only look
    clients::Keystone* service_user();
};

} // namespace novalet::app
