#pragma once
// Removal of base files that nobody needs any more (nova.virt.libvirt.imagecache, reference 07
// §3.1). Works on the files alone, by the locks that builds of this and of other hosts take, so it
// may run beside an ImageCache on the same folder. Any thread, one pass at a time.
#include "agent/core/clock.hpp"
#include "agent/core/result.hpp"

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace novalet::hypervisor::storage {

struct CleaningOptions {
    std::filesystem::path instances_path = "/var/lib/nova/instances";
    std::string subdirectory = "_base";
    bool remove_unused = true; ///< false: uses are noted, nothing is removed
    /// Seconds since the last noted use, of images, ephemeral and swap bases.
    Seconds original_minimum_age{86400};
    Seconds resized_minimum_age{3600}; ///< of legacy <base>_<GiB> and <base>_sm
};

/// What the records of all instances on all hosts that share the folder name.
struct CacheUse {
    std::set<std::string> images;      ///< Glance ids: image_ref, kernel_id, ramdisk_id
    std::set<std::string> blank_bases; ///< blank_base_name() of their ephemeral and swap disks
};

/// Names of base files, in their order.
struct CleaningReport {
    std::vector<std::string> used; ///< named by a record or backing a disk in the folder
    std::vector<std::string> kept; ///< unused, but too young, or somebody is at work on them
    std::vector<std::string> removed;
    std::uint64_t freed_bytes = 0; ///< of the file system
};

/// Unused is a base that neither a record names nor any disk below the instances' folder has as its
/// backing file, whoever's disk it is. Uses that records name are noted in the mtime. Files of
/// other names (unfinished ones, what an operator put there) are left alone. An error, and nothing
/// is removed, when a disk cannot be read: it may need any of them.
[[nodiscard]] Result<CleaningReport> clean_image_cache(const CleaningOptions& options,
                                                       const CacheUse& use,
                                                       const Clock& clock = system_clock());

/// Bytes that the cache takes of the instances' file system; 0 when it is on another one or there
/// is none (for the reserved disk of the inventory).
[[nodiscard]] std::uint64_t image_cache_bytes(const std::filesystem::path& instances_path,
                                              const std::string& subdirectory);

} // namespace novalet::hypervisor::storage
