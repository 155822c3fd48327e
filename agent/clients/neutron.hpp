#pragma once
// Neutron: ports of an instance made, bound, read and removed, and the NetworkInfo document of the
// info cache.
#include "agent/clients/keystone.hpp"

#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace novalet::clients {

/// The instance as Neutron needs to know it.
struct NetworkOwner {
    std::string instance_uuid;
    std::string project_id;
    std::string availability_zone;
    std::string hostname;
    std::string host; ///< CONF.host; must equal the L2 agent's host
    /// Port id, or id of a request group of a port, → the provider in Placement that fulfils its
    /// minimum bandwidth: goes into the binding profile.
    std::map<std::string, std::string> providers;
};

/// One entry of requested_networks. The word "auto" as the only network asks for the project's own
/// network, made when there is none.
struct NetworkWish {
    std::string network_id;
    std::string port_id; ///< existing port of the user; empty = make one
    std::string fixed_ip;
    Json tag;
};

/// Nova's records that go along with ports: kept by the caller through the conductor.
class PortRecords {
  public:
    virtual ~PortRecords() = default;
    /// Ports that have a record, each with its tag (null = none).
    [[nodiscard]] virtual Result<std::map<std::string, Json>> taken() = 0;
    [[nodiscard]] virtual Result<void>
    port_taken(const std::string& port_id, const std::string& mac, const Json& tag) = 0;
    /// The record of port_taken is of no use: the allocation failed later.
    [[nodiscard]] virtual Result<void> port_given_back(const std::string& port_id) = 0;
};

struct NeutronOptions {
    std::string ovs_bridge = "br-int";
    bool flat_injected = false;
    /// allocate() is tried again so often after failures that may pass, with 1, 2, 4 … at most 30
    /// seconds between (`network_allocate_retries`).
    unsigned allocate_retries = 0;
};

/// Thread safe.
class Neutron {
  public:
    Neutron(ServiceClient service, NeutronOptions options);

    /// Ports made (user's token) or taken and bound to the host (agent's account); the NetworkInfo
    /// list of these ports in the order asked for. `wishes` empty: the project's only network, or
    /// none. On failure what was made is removed and what was taken is free again. Errors carry
    /// Nova's exception names.
    /// For a server that is being built: what an attempt that ended abruptly made for it is looked
    /// for first and taken, so that a repeat does what is missing, and further ports that Nova made
    /// for it on the same networks are removed. When `records` cannot be reached (MessagingTimeout,
    /// MessageDeliveryFailure) nothing is undone: a repeat goes on from there.
    [[nodiscard]] Result<Json> allocate(const rpc::Context& context,
                                        const NetworkOwner& owner,
                                        const std::vector<NetworkWish>& wishes,
                                        const std::vector<std::string>& security_groups,
                                        PortRecords& records);
    /// Ports of the instance deleted, those of `keep` (the user's own) unbound; can be repeated.
    /// All are tried; the error is that of the first port that could not be deleted, or of which
    /// Neutron did not say whether it is unbound. A port that Neutron refused to unbind is logged
    /// and given back: it does not keep the instance.
    [[nodiscard]] Result<std::set<std::string>> deallocate(const rpc::Context& context,
                                                           const NetworkOwner& owner,
                                                           const std::set<std::string>& keep);
    /// The list built anew from Neutron for the ports of `cached` in their order; those that are no
    /// longer the instance's leave it. preserve_on_delete is always that of `cached`.
    [[nodiscard]] Result<Json>
    network_info(const rpc::Context& context, const NetworkOwner& owner, const Json& cached);
    /// `cached` with one port anew: in its place, at the end, or not at all. An empty list stays
    /// empty, as Nova's does.
    [[nodiscard]] Result<Json> network_info_with(const rpc::Context& context,
                                                 const NetworkOwner& owner,
                                                 const Json& cached,
                                                 const std::string& port_id);
    /// The list of all ports that Neutron has for the instance (Nova's force_refresh): in the order
    /// of `recorded`, then of `cached`, then of Neutron.
    [[nodiscard]] Result<Json> whole_network_info(const rpc::Context& context,
                                                  const NetworkOwner& owner,
                                                  const Json& cached,
                                                  const std::vector<std::string>& recorded);
    /// Every port of the instance that is bound elsewhere, or badly, is bound to this host.
    [[nodiscard]] Result<void> bind_to_host(const rpc::Context& context, const NetworkOwner& owner);

  private:
    using Call = ServiceClient::Call;
    using NetworksById = std::map<std::string, Json>;
    enum class As { Agent, User };
    class Allocation;

    // neutron.cpp
    [[nodiscard]] Result<HttpResponse> send(const rpc::Context& context, As who, Call call);
    [[nodiscard]] Result<Json> get(const rpc::Context& context, As who, const std::string& path);
    [[nodiscard]] Result<bool> has_extension(const rpc::Context& context, const std::string& alias);
    [[nodiscard]] Result<NetworksById>
    networks(const rpc::Context& context, As who, const std::set<std::string>& ids);
    [[nodiscard]] Result<Json>
    update_port(const rpc::Context& context, As who, const std::string& id, Json changes);
    [[nodiscard]] Result<void> delete_port(const rpc::Context& context, const std::string& id);
    /// No longer bound to a host nor used by the instance.
    [[nodiscard]] Result<void> unbind(const rpc::Context& context, const std::string& id);
    [[nodiscard]] Result<void> clear_dns_name(const rpc::Context& context, const std::string& id);

    // network_info.cpp
    [[nodiscard]] Result<Json> ports_of(const rpc::Context& context, const NetworkOwner& owner);
    [[nodiscard]] Result<Json> info_in_order(const rpc::Context& context,
                                             const Json& ports,
                                             const Json& cached,
                                             const std::vector<std::string>& order);
    [[nodiscard]] Result<Json> info_of(const rpc::Context& context,
                                       const std::vector<std::pair<Json, bool>>& ports,
                                       const NetworksById& networks);
    [[nodiscard]] Result<Json> vif_of(const rpc::Context& context,
                                      const Json& port,
                                      bool preserve_on_delete,
                                      const NetworksById& networks);
    [[nodiscard]] Result<Json>
    network_of(const rpc::Context& context, const Json& port, const NetworksById& networks);
    /// physical_network and tunneled of a network's meta.
    [[nodiscard]] Result<void>
    add_provider(const rpc::Context& context, const std::string& network, Json& meta);
    [[nodiscard]] Result<Json> subnets_of(const rpc::Context& context, const Json& port);
    [[nodiscard]] Result<Json>
    fixed_ip(const rpc::Context& context, const Json& port, const std::string& address);

    ServiceClient service_;
    const NeutronOptions options_;
    std::mutex mutex_; ///< guards the two below; never held over a request
    std::set<std::string> extensions_;
    std::optional<MonotonicTime> extensions_read_;
};

/// Neutron's error type ("IpAddressInUse", "OverQuota", …) of an answer.
[[nodiscard]] std::string neutron_type(const HttpResponse& response);
/// A status that has no better name, as Nova's client calls it.
[[nodiscard]] Error
neutron_error(const std::string& what, const HttpResponse& response, bool as_agent);
/// `name=value` pairs as a query, values escaped.
[[nodiscard]] std::string query(const std::vector<std::pair<std::string, std::string>>& parameters);

} // namespace novalet::clients
