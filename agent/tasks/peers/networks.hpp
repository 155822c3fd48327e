#pragma once
// Neutron as operations need it.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"
#include "agent/objects/object.hpp"
#include "agent/rpc/context.hpp"

#include <string>

namespace novalet::tasks {

/// Neutron as operations see it. NetworkInfo lists as Json. Thread safe; work on one server is
/// serialised by the caller, because each verb reads and writes its info cache.
class Networks {
  public:
    virtual ~Networks() = default;
    /// Ports of a server that is being built: made or taken, bound to this host, info cache saved.
    /// Undone on failure. Can be repeated after a crash at any point: what is there already is
    /// taken. When the control plane does not answer nothing is undone, so that a repeat goes on.
    [[nodiscard]] virtual Result<Json> allocate(const rpc::Context& context,
                                                objects::Object& instance,
                                                const Json& requested_networks,
                                                const Json& security_groups) = 0;
    /// Ports that Nova made deleted, the user's own unbound, records removed, info cache emptied.
    /// Ok when there was nothing. After an error it is to be repeated: the cache still says which
    /// ports are the user's.
    [[nodiscard]] virtual Result<void> deallocate(const rpc::Context& context,
                                                  objects::Object& instance,
                                                  const Json& requested_networks) = 0;
    /// The ports of the info cache read anew from Neutron and saved. `port`: only this one, which
    /// joins the list when it is new. (nova.network.neutron.API.get_instance_nw_info)
    [[nodiscard]] virtual Result<Json> refresh(const rpc::Context& context,
                                               objects::Object& instance,
                                               const std::string& port = {}) = 0;
    /// The info cache made anew of all ports that Neutron has for the server, so that one that the
    /// cache lost returns: in the order of the VirtualInterface records, newcomers behind them.
    /// (get_instance_nw_info with force_refresh)
    [[nodiscard]] virtual Result<Json> heal(const rpc::Context& context,
                                            objects::Object& instance) = 0;
    /// Ports that are bound elsewhere, or badly, are bound to this host; then heal. Not while
    /// another host has a share in the server: its migrations bind ports themselves.
    /// (nova.compute.manager._heal_instance_info_cache)
    [[nodiscard]] virtual Result<Json> bind_to_host(const rpc::Context& context,
                                                    objects::Object& instance) = 0;
    /// One port taken out of the info cache, which is saved. Its VIF document; null when the cache
    /// does not have it.
    [[nodiscard]] virtual Result<Json>
    forget(const rpc::Context& context, objects::Object& instance, const std::string& port) = 0;
};

/// Whether the list has a VIF whose port is not bound (binding_failed, unbound).
[[nodiscard]] bool badly_bound(const Json& network_info);

} // namespace novalet::tasks
