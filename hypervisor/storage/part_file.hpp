#pragma once
// A file that is being made beside its final place and disappears unless it was kept.
#include "agent/core/file.hpp"
#include "agent/core/result.hpp"

#include <filesystem>
#include <string>
#include <string_view>

namespace novalet::hypervisor::storage {

constexpr std::string_view part_mark = ".part-";

/// The failure of a call on a file, from errno: ResourceExhausted when there is no space.
[[nodiscard]] Failure file_failure(const std::string& what);

/// Written to the disk and put under its final name, and that as well. A file that is there is
/// replaced.
[[nodiscard]] Result<void> keep_file(const std::filesystem::path& unfinished,
                                     const std::filesystem::path& target);

/// One thread.
class PartFile {
  public:
    /// `<target>.part-<random>`; nothing is made yet.
    explicit PartFile(const std::filesystem::path& target);
    PartFile(const PartFile&) = delete;
    PartFile& operator=(const PartFile&) = delete;
    ~PartFile();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }
    /// Makes it: fails when it is there, follows no symbolic link.
    [[nodiscard]] Result<Fd> create() const;
    /// keep_file().
    [[nodiscard]] Result<void> keep_as(const std::filesystem::path& target) const {
        return keep_file(path_, target);
    }

  private:
    std::filesystem::path path_;
};

} // namespace novalet::hypervisor::storage
