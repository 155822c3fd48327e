#pragma once
// The files of a config drive (reference 07 §4): what guests read as metadata.
#include "agent/core/json.hpp"
#include "hypervisor/guest_spec.hpp"

namespace novalet::tasks {

struct TaskOptions;

/// `instance`: data of the Instance; `args`: the build request (admin_password, injected_files).
[[nodiscard]] hypervisor::ConfigDrive config_drive_content(const Json& instance,
                                                           const Json& network_info,
                                                           const Json& args,
                                                           const TaskOptions& options);

/// network_data.json: links, networks and services.
[[nodiscard]] Json network_data(const Json& network_info);

} // namespace novalet::tasks
