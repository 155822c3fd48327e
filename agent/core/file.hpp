#pragma once
// Files: whole reads with a limit, atomic writes, owned descriptors. Any thread.
#include "agent/core/result.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace novalet {

/// Owner of a file descriptor.
class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) noexcept : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept;
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd();
    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

/// Text of the current errno-style number.
[[nodiscard]] std::string errno_text(int number);
/// Whole file of at most `max_bytes` bytes. NotFound when there is none.
[[nodiscard]] Result<std::string> read_file(const std::filesystem::path& path,
                                            std::size_t max_bytes = 16U << 20U);
/// All or nothing: temporary file beside it, fdatasync, rename, fsync of the directory.
[[nodiscard]] Result<void> write_file_atomically(const std::filesystem::path& path,
                                                 std::string_view content,
                                                 unsigned mode = 0644);

} // namespace novalet
