#pragma once
// disk.info of a guest's folder: which format each disk was made with (reference 07 §3). A guest
// that writes a qcow2 header into its raw disk must not make the host believe it, so formats are
// never guessed from content.
#include "agent/core/result.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace novalet::hypervisor::storage {

/// "disk", "disk.local", "disk.eph0", "disk.swap": what a guest's disks are called, and nothing
/// that leaves its folder or is one of the folder's other files.
[[nodiscard]] bool is_disk_name(const std::string& name);

/// Value. One guest's file is used by one thread at a time.
class DiskFormats {
  public:
    /// Of `<folder>/disk.info`; empty when there is no such file. InvalidDiskInfo when it is
    /// damaged or names a format other than raw and qcow2: what it said may not be forgotten.
    [[nodiscard]] static Result<DiskFormats> read(const std::filesystem::path& folder);

    /// "raw" or "qcow2"; none when the disk was never noted.
    [[nodiscard]] std::optional<std::string> of(const std::filesystem::path& disk) const;
    /// Written at once. A disk that is known keeps its format: InvalidDiskInfo when another one is
    /// to be noted.
    [[nodiscard]] Result<void> note(const std::filesystem::path& disk, const std::string& format);

  private:
    DiskFormats(std::filesystem::path file, std::map<std::string, std::string> formats)
        : file_(std::move(file)), formats_(std::move(formats)) {}
    std::filesystem::path file_;
    std::map<std::string, std::string> formats_; ///< by absolute path
};

} // namespace novalet::hypervisor::storage
