#pragma once
// What an image file really is, found out before any external program touches it. Images are
// hostile: every offset and size is checked, and only a bounded part of the file is read.
#include "agent/core/result.hpp"

#include <cstdint>
#include <string>

namespace novalet::hypervisor::storage {

struct InspectedImage {
    std::string format; ///< "raw", "qcow2", "iso", "vmdk", "vhd", "vhdx", "vdi", "qed", "luks"
    std::uint64_t virtual_size = 0; ///< bytes as the guest sees them
};

/// Format by content, compared with what Glance claims ("raw", "qcow2", "ami", …). Refused, with
/// Nova's exceptions (InvalidDiskInfo, ImageUnacceptable):
/// - content and claim differ, or the file matches more than one format (polyglot),
/// - qcow2 with a backing file, an external data file or unknown incompatible features,
/// - VMDK other than streamOptimized / monolithicSparse without foreign extents,
/// - headers that are cut off or whose sizes make no sense.
/// `fd` is read with pread and not moved.
[[nodiscard]] Result<InspectedImage>
inspect_image(int fd, const std::string& claimed_format, const std::string& image_id);

} // namespace novalet::hypervisor::storage
