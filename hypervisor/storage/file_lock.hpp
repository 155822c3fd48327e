#pragma once
// An exclusive fcntl lock on a file, as oslo.concurrency takes it (reference 07 §14.1): it keeps
// other processes out, on this host and on others that share the folder. Threads of this process
// are kept out as well: the lock belongs to the open file.
#include "agent/core/clock.hpp"
#include "agent/core/file.hpp"
#include "agent/core/result.hpp"

#include <filesystem>
#include <stop_token>

namespace novalet::hypervisor::storage {

/// The lock lives as long as the object; the file stays. Its holder may remove it: who waited for
/// that file makes another one.
class FileLock {
  public:
    FileLock() = default;
    /// Conflict when somebody else holds it.
    [[nodiscard]] static Result<FileLock> try_take(const std::filesystem::path& path);
    /// Waits for it: Cancelled by the token, Timeout at the deadline.
    [[nodiscard]] static Result<FileLock>
    take(const std::filesystem::path& path, const std::stop_token& stop, const Deadline& deadline);

  private:
    explicit FileLock(Fd file) : file_(std::move(file)) {}
    Fd file_;
};

} // namespace novalet::hypervisor::storage
