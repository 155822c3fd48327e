#pragma once
// One reader per image format that carries a header. Each returns the virtual size in bytes, or why
// the image is refused (plain words, put behind "Image <id> is unacceptable: " by the caller).
#include "hypervisor/storage/image_sample.hpp"

#include <string>
#include <vector>

namespace novalet::hypervisor::storage {

/// Larger is no disk: 8 PiB.
constexpr std::uint64_t max_virtual_size = std::uint64_t{1} << 53U;

/// QEMU docs/interop/qcow2.txt. Refused: backing file, external data file, encryption, unknown
/// incompatible features, tables outside of the file.
[[nodiscard]] Result<std::uint64_t> read_qcow2(const ImageSample& image);
/// VMware's "Virtual Disk Format". Refused: text descriptors, types not in `allowed`, extents that
/// name other files, parents, lines that are not understood.
[[nodiscard]] Result<std::uint64_t> read_vmdk(const ImageSample& image,
                                              const std::vector<std::string>& allowed);
/// Microsoft "Virtual Hard Disk Image Format": fixed (footer only) and dynamic; no differencing.
[[nodiscard]] Result<std::uint64_t> read_vhd(const ImageSample& image);
/// Microsoft [MS-VHDX]; no parents.
[[nodiscard]] Result<std::uint64_t> read_vhdx(const ImageSample& image);
/// VirtualBox: dynamic and static; no differencing.
[[nodiscard]] Result<std::uint64_t> read_vdi(const ImageSample& image);

} // namespace novalet::hypervisor::storage
