#pragma once
// What the operator left open and the host or another option decides.
#include "agent/core/result.hpp"
#include "config/schema/config.hpp"

#include <string>

namespace novalet::config {

/// What this host says of itself. Empty = not known.
struct HostIdentity {
    std::string host_name;
    std::string address; ///< source address of the default route
};

/// Asks the kernel; sends nothing.
[[nodiscard]] HostIdentity host_identity();

/// host, my_ip, instances_path and journal.path where they are empty; accounts of the services
/// where they are as in `keystone`. Pure.
void complete(Config& config, const HostIdentity& identity);

} // namespace novalet::config
