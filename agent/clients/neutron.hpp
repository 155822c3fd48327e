#pragma once
// Neutron: ports of an instance made, bound, read and removed, and the NetworkInfo document of the
// info cache (reference 06 §1).
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
};

/// One entry of requested_networks.
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
    [[nodiscard]] virtual Result<void>
    port_taken(const std::string& port_id, const std::string& mac, const Json& tag) = 0;
};

struct NeutronOptions {
    std::string ovs_bridge = "br-int";
    bool flat_injected = false;
};

/// Thread safe.
class Neutron {
  public:
    Neutron(ServiceClient service, NeutronOptions options);

    /// Ports made (user's token) or taken and bound to the host (agent's account); the NetworkInfo
    /// list in the order asked for. `wishes` empty: the project's only network, or none. What was
    /// made is removed again on failure. Errors carry Nova's exception names.
    [[nodiscard]] Result<Json> allocate(const rpc::Context& context,
                                        const NetworkOwner& owner,
                                        std::vector<NetworkWish> wishes,
                                        const std::vector<std::string>& security_groups,
                                        PortRecords& records);
    /// Ports of the instance deleted, those of `keep` (the user's own) unbound.
    [[nodiscard]] Result<void> deallocate(const rpc::Context& context,
                                          const NetworkOwner& owner,
                                          const std::set<std::string>& keep);
    /// The list built anew from Neutron's ports; order and preserve_on_delete follow `cached`.
    /// Ports unknown to `cached` are left out unless `adopt_unknown`.
    [[nodiscard]] Result<Json> network_info(const rpc::Context& context,
                                            const NetworkOwner& owner,
                                            const Json& cached,
                                            bool adopt_unknown);
    /// Every port of the instance is bound to this host.
    [[nodiscard]] Result<void> bind_to_host(const rpc::Context& context, const NetworkOwner& owner);

  private:
    using Call = ServiceClient::Call;
    [[nodiscard]] Result<Json> get(const rpc::Context& context, const std::string& path);
    [[nodiscard]] Result<Json> ports_of(const rpc::Context& context, const NetworkOwner& owner);
    [[nodiscard]] Result<std::vector<NetworkWish>> resolve(const rpc::Context& context,
                                                           const NetworkOwner& owner,
                                                           std::vector<NetworkWish> wishes);
    [[nodiscard]] Result<Json>
    take_port(const rpc::Context& context, const NetworkOwner& owner, const NetworkWish& wish);
    [[nodiscard]] Result<Json> make_port(const rpc::Context& context,
                                         const NetworkOwner& owner,
                                         const NetworkWish& wish,
                                         const std::vector<std::string>& security_groups);
    [[nodiscard]] Result<std::vector<std::string>>
    security_group_ids(const rpc::Context& context,
                       const NetworkOwner& owner,
                       const std::vector<std::string>& names);
    [[nodiscard]] Result<Json>
    update_port(const rpc::Context& context, const std::string& id, Json changes);
    [[nodiscard]] Result<void> unbind(const rpc::Context& context, const Json& port);
    [[nodiscard]] Result<void> delete_port(const rpc::Context& context, const std::string& id);
    [[nodiscard]] Result<bool> has_extension(const rpc::Context& context, const std::string& alias);
    [[nodiscard]] Result<Json>
    vif_of(const rpc::Context& context, const Json& port, bool preserve_on_delete);
    [[nodiscard]] Result<Json> network_of(const rpc::Context& context, const Json& port);
    [[nodiscard]] Result<Json> subnets_of(const rpc::Context& context, const Json& port);

    ServiceClient service_;
    const NeutronOptions options_;
    std::mutex mutex_;
    std::set<std::string> extensions_;
    std::optional<MonotonicTime> extensions_read_;
};

} // namespace novalet::clients
