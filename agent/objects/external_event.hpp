#pragma once
// InstanceExternalEvent: what Neutron, Cinder and the API tell about an instance
// (reference 02 §6, 03 §1).
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

#include <string>
#include <vector>

namespace novalet::objects {

struct ExternalEvent {
    std::string instance_uuid;
    std::string name; ///< "network-vif-plugged", "network-changed", "power-update"…
    std::string status = "completed"; ///< "failed", "completed" or "in-progress"
    std::string tag;                  ///< port or volume id; empty = null
    Json data = Json::object();       ///< texts
    /// "network-vif-plugged-<tag>": what a waiter waits for; the name alone without a tag.
    [[nodiscard]] std::string key() const;
};

/// `events` argument of external_instance_event: a list of primitives. InvalidArgument names the
/// position and the field that is missing.
[[nodiscard]] Result<std::vector<ExternalEvent>> parse_external_events(const Json& events);

} // namespace novalet::objects
