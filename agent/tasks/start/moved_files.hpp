#pragma once
// The files of a server whose resize was cut off on its source side.
#include "agent/core/result.hpp"
#include "agent/core/uuid.hpp"

#include <filesystem>

namespace novalet::tasks {

/// A resize keeps them as <uuid>_resize until it is confirmed; they get their name back, in place
/// of what a copy that was cut off may have left under it (nova.virt.libvirt.driver
/// finish_revert_migration). Ok when there is nothing to be renamed, and on a host without files.
/// The guest must not run.
[[nodiscard]] Result<void> take_back_files(const std::filesystem::path& instances_path,
                                           const InstanceUuid& uuid);

} // namespace novalet::tasks
