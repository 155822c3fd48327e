#pragma once
// The serial number of this host that guests see, by option sysinfo_serial.
#include "agent/core/result.hpp"

#include <filesystem>
#include <string>

namespace novalet::hypervisor::libvirt {

/// What `source` comes to (nova.virt.libvirt.driver _get_host_sysinfo_serial_*): "hardware" = the
/// uuid that libvirt's capabilities give the machine, "os" = /etc/machine-id written as a uuid,
/// "auto" = os where that file is there, else hardware. Empty for other words: unique and none need
/// no host. InternalError when the host does not have what is asked for.
[[nodiscard]] Result<std::string>
host_serial(const std::string& source,
            const std::string& hardware_uuid,
            const std::filesystem::path& machine_id = "/etc/machine-id");

} // namespace novalet::hypervisor::libvirt
