#pragma once
// The image of a config drive from its files (reference 07 §4).
#include "agent/core/process.hpp"
#include "hypervisor/guest_spec.hpp"

#include <filesystem>
#include <string>

namespace novalet::hypervisor::storage {

/// Makes `image` (an ISO 9660 or a VFAT file system of 64 MiB, label config-2), all or nothing and
/// on the disk when this returns. The drive holds the guest's password: image and everything on
/// the way to it are for this user only (0600, folders 0700); libvirt hands the image to QEMU.
/// What an earlier attempt left behind beside `image` is removed. One thread per image.
/// InvalidArgument when a file would leave the drive.
[[nodiscard]] Result<void> make_config_drive(ProcessRunner& processes,
                                             const ConfigDrive& drive,
                                             const std::string& publisher,
                                             const std::filesystem::path& image);

} // namespace novalet::hypervisor::storage
