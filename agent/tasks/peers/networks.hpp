#pragma once
// Neutron as operations need it.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"
#include "agent/objects/object.hpp"
#include "agent/rpc/context.hpp"

#include <string>

namespace novalet::tasks {

/// Neutron as operations see it (reference 06 §1). NetworkInfo lists as Json.
class Networks {
  public:
    virtual ~Networks() = default;
    /// Ports made or taken, bound to this host, info cache saved. Undone on failure.
    [[nodiscard]] virtual Result<Json> allocate(const rpc::Context& context,
                                                objects::Object& instance,
                                                const Json& requested_networks,
                                                const Json& security_groups) = 0;
    /// Ports deleted or unbound, records removed. Ok when there was nothing.
    [[nodiscard]] virtual Result<void> deallocate(const rpc::Context& context,
                                                  objects::Object& instance,
                                                  const Json& requested_networks) = 0;
    /// The list read anew from Neutron and saved into the info cache; `port` empty = all.
    [[nodiscard]] virtual Result<Json> refresh(const rpc::Context& context,
                                               objects::Object& instance,
                                               const std::string& port = {}) = 0;
    /// Ports bound to this host where they are not, then refresh.
    [[nodiscard]] virtual Result<Json> bind_to_host(const rpc::Context& context,
                                                    objects::Object& instance) = 0;
};

} // namespace novalet::tasks
