#pragma once
// What the head of a qcow2 file says, read without any program: nothing that it names is opened.
#include "agent/core/result.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace novalet::hypervisor::storage {

struct Qcow2Header {
    std::uint64_t virtual_size = 0; ///< bytes
    std::string backing_file;       ///< as it is written there; empty = it stands on none
};

/// None for a file that does not begin as qcow2 does, that is gone, or that is a link. The guest
/// writes behind the header of its qcow2 disk but can write any header into its raw disk: what this
/// says of a disk counts only where its format is known.
[[nodiscard]] Result<std::optional<Qcow2Header>>
read_qcow2_header(const std::filesystem::path& disk);

} // namespace novalet::hypervisor::storage
