#pragma once
// qemu-img with explicit formats and under limits (reference 07 §3.1).
#include "agent/core/process.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace novalet::hypervisor::storage {

/// What one run may take of the host. An image that wants more is taken for an attack.
struct QemuImgLimits {
    std::uint64_t address_space = std::uint64_t{1} << 30U; ///< bytes
    std::uint64_t cpu_seconds = 30;                        ///< of what only reads or writes headers
    Seconds copy_timeout{3600}; ///< convert: as long as the disk is large
};

/// What qemu-img says of a disk.
struct DiskInfo {
    std::string format;
    std::uint64_t virtual_size = 0;          ///< bytes
    std::uint64_t actual_size = 0;           ///< bytes of the file system
    std::optional<std::string> backing_file; ///< full name as QEMU would open it
    std::optional<std::string> data_file;
};

/// Thread safe. The format is always said: qemu-img never guesses. Paths are absolute. Errors carry
/// the program's reason: ResourceExhausted when the disk of the host is full, InvalidArgument when
/// a limit ended it, Cancelled when the token did.
class QemuImg {
  public:
    explicit QemuImg(ProcessRunner& processes, QemuImgLimits limits = {})
        : processes_(processes), limits_(limits) {}

    /// Also while a guest uses the disk. InvalidDiskInfo when it cannot be read.
    [[nodiscard]] Result<DiskInfo> info(const std::filesystem::path& disk,
                                        const std::string& format);
    /// `direct`: without the page cache, where the file system can do that.
    [[nodiscard]] Result<void> convert(const std::filesystem::path& from,
                                       const std::string& from_format,
                                       const std::filesystem::path& to,
                                       const std::string& to_format,
                                       bool direct = true,
                                       const std::stop_token& stop = {});
    /// qcow2 whose unwritten parts come from `backing`; 0 bytes = as large as the backing file.
    [[nodiscard]] Result<void> create_overlay(const std::filesystem::path& disk,
                                              const std::filesystem::path& backing,
                                              const std::string& backing_format,
                                              std::uint64_t bytes);
    [[nodiscard]] Result<void>
    create(const std::filesystem::path& disk, const std::string& format, std::uint64_t bytes);
    /// Larger only: qemu-img refuses to shrink without being told twice.
    [[nodiscard]] Result<void>
    resize(const std::filesystem::path& disk, const std::string& format, std::uint64_t bytes);

  private:
    [[nodiscard]] Result<std::string> header_work(std::vector<std::string> argv);
    [[nodiscard]] Result<std::string> run(ProcessRequest request);

    ProcessRunner& processes_;
    const QemuImgLimits limits_;
};

} // namespace novalet::hypervisor::storage
