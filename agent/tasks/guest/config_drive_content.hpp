#pragma once
// The files of a config drive (reference 07 §4): what guests read as metadata. Which key is in
// which version of meta_data.json is a promise to guests: rules of nova/api/metadata/base.py.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"
#include "agent/core/secret.hpp"
#include "hypervisor/guest_spec.hpp"

#include <string>
#include <vector>

namespace novalet::tasks {

struct TaskOptions;

/// What a config drive is made from. Documents are the data of Nova's objects.
struct ConfigDriveSource {
    Json instance;     ///< with keypairs, numa_topology, device_metadata, ec2_ids, flavor
    Json network_info; ///< list of VIFs
    std::vector<Json> block_device_mappings;
    Json injected_files;                      ///< of the request: [[path, base64 text], …]
    Secret admin_password;                    ///< empty = none is set
    std::vector<std::string> security_groups; ///< names, in the order of the ports
    Json vendor_data = Json::object();        ///< vendordata_jsonfile_path's document
};

/// Any thread. InvalidArgument when user data or an injected file is not base64, or a subnet is no
/// IP network.
[[nodiscard]] Result<hypervisor::ConfigDrive> config_drive_content(const ConfigDriveSource& source,
                                                                   const TaskOptions& options);

} // namespace novalet::tasks
