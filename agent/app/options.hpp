#pragma once
// From the configuration to the options of each part: the only place where both are known.
#include "agent/amqp/options.hpp"
#include "agent/clients/keystone.hpp"
#include "agent/objects/release.hpp"
#include "agent/rpc/topology.hpp"
#include "agent/tasks/books/resource_tracker.hpp"
#include "agent/tasks/guest/task_options.hpp"
#include "config/schema/config.hpp"
#include "hypervisor/libvirt/options.hpp"
#include "hypervisor/simulated/simulated_hypervisor.hpp"

namespace novalet::app {

[[nodiscard]] Result<amqp::Options> amqp_options(const config::Config& config);
[[nodiscard]] Result<rpc::TopologyOptions> topology_options(const config::Config& config);
[[nodiscard]] clients::AuthOptions auth_options(const config::Access& access);
[[nodiscard]] clients::ServiceOptions cinder_options(const config::Cinder& cinder);
[[nodiscard]] clients::ServiceOptions service_options(const config::Access& access,
                                                      const std::string& endpoint_override,
                                                      std::vector<std::string> types);
[[nodiscard]] hypervisor::libvirt::Options libvirt_options(const config::Config& config,
                                                           const std::string& release);
[[nodiscard]] hypervisor::simulated::Options simulated_options(const config::Config& config);
[[nodiscard]] tasks::TaskOptions task_options(const config::Config& config,
                                              const objects::Release& release);
[[nodiscard]] tasks::TrackerOptions tracker_options(const config::Config& config);

} // namespace novalet::app
