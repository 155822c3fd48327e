#pragma once
// What an image file really is, found out before any external program touches it. Images are
// hostile: every offset and size is checked, and only a bounded part of the file is read.
#include "agent/core/result.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace novalet::hypervisor::storage {

struct InspectedImage {
    std::string format;      ///< Glance's word: "raw", "qcow2", "iso", "vmdk", "vhd", "vhdx", "vdi"
    std::string qemu_format; ///< QEMU's word for it: an ISO is read as raw, a VHD as vpc
    std::uint64_t virtual_size = 0; ///< bytes as the guest sees them
};

struct InspectionRules {
    /// compute.vmdk_allowed_types: kinds of VMDK that live in one file.
    std::vector<std::string> vmdk_types{"streamOptimized", "monolithicSparse"};
};

/// Format by content, compared with what Glance claims ("raw", "qcow2", "ami", …; empty = nothing
/// is claimed, only for files that this host made). Refused as ImageUnacceptable:
/// - content and claim differ, or the file matches more than one format (polyglot),
/// - qcow2 with a backing file, an external data file, encryption or unknown features,
/// - VMDK of another type than allowed, or with foreign extents or a parent,
/// - differencing VHD, VHDX and VDI,
/// - headers that are cut off or whose offsets and sizes make no sense,
/// - formats that nobody needs and that QEMU knows (QED, LUKS, parallels, bochs, cloop).
/// `fd` is read with pread and not moved. At most some 200 KiB are read.
[[nodiscard]] Result<InspectedImage> inspect_image(int fd,
                                                   const std::string& claimed_format,
                                                   const std::string& image_id,
                                                   const InspectionRules& rules = {});

} // namespace novalet::hypervisor::storage
