#include "agent/app/control_plane.hpp"

#include "agent/app/options.hpp"
#include "agent/core/log.hpp"

namespace novalet::app {

ControlPlane::ControlPlane(const config::Config& c)
    : config(c), http(clients::make_http_client()),
      placement_account(*http, auth_options(c.placement)),
      neutron_account(*http, auth_options(c.neutron)),
      glance_account(*http, auth_options(c.glance)), cinder_account(*http, auth_options(c.cinder)),
      service_account(*http, auth_options(c.service_user)),
      placement(clients::ServiceClient(
          *http,
          placement_account,
          service_options(c.placement, c.placement.endpoint_override, {"placement"}),
          nullptr)),
      neutron(clients::ServiceClient(
                  *http,
                  neutron_account,
                  service_options(c.neutron, c.neutron.endpoint_override, {"network"}),
                  service_user()),
              {c.neutron.ovs_bridge, false, c.networking.network_allocate_retries}),
      glance(
          clients::ServiceClient(*http,
                                 glance_account,
                                 service_options(c.glance, c.glance.endpoint_override, {"image"}),
                                 service_user()),
          c.glance.num_retries),
      cinder(
          clients::ServiceClient(*http, cinder_account, cinder_options(c.cinder), service_user())) {
}

ControlPlane::~ControlPlane() = default;

clients::Keystone* ControlPlane::service_user() {
    return config.service_user.send_service_user_token ? &service_account : nullptr;
}

Result<void> ControlPlane::connect(const std::stop_token& stop) {
    // Keystone needs longer for a login (the hash of a password is meant to be slow) than anything
    // else that the start waits for; the first request to Placement joins this one.
    early_login = std::jthread([this] {
        discard(placement_account.token(), "that first request asks again and tells why");
    });
    NOVALET_ASSIGN(const auto options, amqp_options(config));
    NOVALET_ASSIGN(const auto topology, topology_options(config));
    calls = std::make_unique<amqp::Session>(options, "calls");
    begun_ = true;
    bus = std::make_unique<rpc::BusCaller>(*calls, topology);
    replier = std::make_unique<rpc::Replier>(*calls, timer);
    conductor = std::make_unique<objects::Conductor>(
        *bus, objects::releases().front(), config.transport.rpc_response_timeout);
    NOVALET_TRY(conductor->wait_until_alive(stop));
    objects::ReleaseWish wish;
    wish.release = config.compat.release;
    wish.service_version = static_cast<int>(config.compat.service_version);
    NOVALET_ASSIGN(release,
                   objects::detect_release(*conductor, wish, config.intervals.service_down_time));
    conductor->adopt(release.release);
    log::info("control plane found",
              {{"release", release.release.name}, {"source", release.source}});
    return {};
}

bool ControlPlane::connected() const {
    return begun_ && calls->connected();
}

} // namespace novalet::app
