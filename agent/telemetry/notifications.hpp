#pragma once
// Bodies of Nova's notifications about instances, unversioned and versioned (reference 03 §1.3 and
// §9; nova.notifications.base, nova.notifications.objects, Zed). Pure functions over the
// documents; any thread. Sending them is the transport's business.
#include "agent/core/clock.hpp"
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

#include <optional>
#include <string>

namespace novalet::telemetry {

/// Who asked. Periodic work has neither user nor project.
struct Actor {
    std::string request_id;
    std::string user_id;
    std::string project_id;
};

/// What is told. `instance` is the data of an Instance ("nova_object.data") with flavor,
/// system_metadata and, for the versioned form, info_cache; create also reads keypairs and tags.
struct InstanceNews {
    std::string action; ///< versioned name: "create", "delete", "power_off", "live_migration_post"
    std::string legacy_action; ///< unversioned name where it differs: "live_migration._post"
    std::string phase;         ///< "start", "end", "error"; empty = none
    Json instance;
    std::optional<Error> error; ///< of phase "error"
    std::string where;          ///< "module.function" that the error came from
    std::string instance_name;  ///< domain name, for create
    /// Unversioned only: NetworkInfo list (null = left out), and members to add: "message",
    /// "image_name".
    Json network_info;
    Json extra = Json::object();
    std::string image_url; ///< URL of the image, or its id where there is no endpoint
    /// Versioned only: data of the block device mappings; null = not told (the default).
    Json block_devices;
};

struct Notification {
    std::string priority; ///< "INFO", "ERROR": the topic's suffix is its lower case
    Json body;            ///< message_id, publisher_id, event_type, priority, payload, timestamp
};

/// compute.instance.<legacy action>.<phase>, publisher compute.<host>. `level` is the priority of
/// what is no error (default_level).
[[nodiscard]] Notification unversioned(const InstanceNews& news,
                                       const std::string& host,
                                       const std::string& level,
                                       const Clock& clock = system_clock());
/// instance.<action>.<phase>, publisher nova-compute:<host>.
[[nodiscard]] Notification versioned(const InstanceNews& news,
                                     const Actor& actor,
                                     const std::string& host,
                                     const Clock& clock = system_clock());

} // namespace novalet::telemetry
