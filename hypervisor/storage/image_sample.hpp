#pragma once
// The bounded part of an image file that the inspection looks at. Not for use outside of it.
#include "agent/core/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace novalet::hypervisor::storage {

/// Reads with pread and never past `max_bytes`. One thread.
class ImageSample {
  public:
    static constexpr std::size_t head_bytes = 64 * 1024;

    /// An error when the file cannot be read.
    [[nodiscard]] static Result<ImageSample> take(int fd);

    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
    /// The first 64 KiB, or all of a smaller file.
    [[nodiscard]] const std::string& head() const noexcept { return head_; }
    [[nodiscard]] bool has(std::size_t at, std::string_view magic) const noexcept;
    /// Number of `bytes` bytes in the head; 0 past its end (check size() first).
    [[nodiscard]] std::uint64_t big(std::size_t at, std::size_t bytes) const noexcept;
    [[nodiscard]] std::uint64_t little(std::size_t at, std::size_t bytes) const noexcept;
    /// Exactly `bytes` bytes from somewhere in the file, at most 64 KiB; DataLoss when the file
    /// ends before them.
    [[nodiscard]] Result<std::string> part(std::uint64_t offset, std::size_t bytes) const;
    /// True when [offset, offset + bytes) lies in the file.
    [[nodiscard]] bool holds(std::uint64_t offset, std::uint64_t bytes) const noexcept {
        return offset <= size_ && bytes <= size_ - offset;
    }

  private:
    ImageSample(int fd, std::uint64_t size, std::string head)
        : fd_(fd), size_(size), head_(std::move(head)) {}
    int fd_;
    std::uint64_t size_;
    std::string head_;
};

[[nodiscard]] std::uint64_t big_endian(std::string_view bytes) noexcept;
[[nodiscard]] std::uint64_t little_endian(std::string_view bytes) noexcept;

} // namespace novalet::hypervisor::storage
