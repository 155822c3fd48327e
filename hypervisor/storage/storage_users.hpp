#pragma once
// <instances_path>/compute_nodes: which hosts use the folder (nova.virt.storage_users). Hosts on
// shared storage find each other there before they clean the image cache.
#include "agent/core/clock.hpp"
#include "agent/core/result.hpp"

#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

namespace novalet::hypervisor::storage {

/// Notes `host` as a user as of now and returns all hosts seen within 24 hours, `host` among them,
/// in order. Under the lock that nova-compute takes for this; Cancelled by the token, Timeout when
/// another host holds it for a minute. A file that is no JSON is written anew, as Nova does.
[[nodiscard]] Result<std::vector<std::string>>
register_storage_use(const std::filesystem::path& instances_path,
                     const std::string& host,
                     const std::stop_token& stop,
                     const Clock& clock = system_clock());

} // namespace novalet::hypervisor::storage
