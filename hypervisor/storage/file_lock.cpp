#include "hypervisor/storage/file_lock.hpp"

#include "agent/core/text.hpp"

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <fcntl.h>
#include <mutex>
#include <sys/stat.h>

namespace novalet::hypervisor::storage {
namespace {

constexpr Milliseconds retry{100}; // the kernel can wait, but not for a stop token
constexpr unsigned most_attempts = 8;

/// A lock on a file that has meanwhile lost its name keeps nobody out.
bool still_named(const Fd& file, const std::filesystem::path& path) {
    struct stat held {};
    struct stat named {};
    return fstat(file.get(), &held) == 0 && lstat(path.c_str(), &named) == 0 &&
           held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

} // namespace

Result<FileLock> FileLock::try_take(const std::filesystem::path& path) {
    for (unsigned attempt = 0; attempt < most_attempts; ++attempt) {
        Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
        if (!file)
            return fail(Code::Unavailable,
                        cat("lock file ", path.string(), ": ", errno_text(errno)));
        struct flock whole {};
        whole.l_type = F_WRLCK;
        whole.l_whence = SEEK_SET;
        if (fcntl(file.get(), F_OFD_SETLK, &whole) != 0) {
            if (errno == EAGAIN || errno == EACCES)
                break;
            return fail(Code::Unavailable, cat("lock of ", path.string(), ": ", errno_text(errno)));
        }
        if (still_named(file, path))
            return FileLock(std::move(file));
    }
    return fail(Code::Conflict, cat(path.string(), " is locked by another process"));
}

Result<FileLock> FileLock::take(const std::filesystem::path& path,
                                const std::stop_token& stop,
                                const Deadline& deadline) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any wake;
    for (;;) {
        auto taken = try_take(path);
        if (taken || taken.error().code != Code::Conflict)
            return taken;
        if (stop.stop_requested())
            return fail(Code::Cancelled, "stopped while waiting for the lock " + path.string());
        if (deadline.passed())
            return fail(Code::Timeout,
                        cat(path.string(), " was not given free by another process in time"));
        wake.wait_for(lock, stop, std::min(retry, deadline.left()), [] { return false; });
    }
}

} // namespace novalet::hypervisor::storage
