#pragma once
// qemu-img with explicit formats and under limits (reference 07 §3.1).
#include "agent/core/process.hpp"

#include <cstdint>
#include <filesystem>
#include <string>

namespace novalet::hypervisor::storage {

/// Thread safe. The format is always said: qemu-img never guesses.
class QemuImg {
  public:
    explicit QemuImg(ProcessRunner& processes) : processes_(processes) {}
    [[nodiscard]] Result<void> convert(const std::filesystem::path& from,
                                       const std::string& from_format,
                                       const std::filesystem::path& to,
                                       const std::string& to_format);
    /// qcow2 whose unwritten parts come from `backing`; 0 bytes = as large as the backing file.
    [[nodiscard]] Result<void> create_overlay(const std::filesystem::path& disk,
                                              const std::filesystem::path& backing,
                                              const std::string& backing_format,
                                              std::uint64_t bytes);
    [[nodiscard]] Result<void>
    create(const std::filesystem::path& disk, const std::string& format, std::uint64_t bytes);
    [[nodiscard]] Result<void>
    resize(const std::filesystem::path& disk, const std::string& format, std::uint64_t bytes);

  private:
    ProcessRunner& processes_;
};

} // namespace novalet::hypervisor::storage
