#include "hypervisor/storage/file_lock.hpp"

#include "agent/core/text.hpp"

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <fcntl.h>
#include <mutex>

namespace novalet::hypervisor::storage {
namespace {

constexpr Milliseconds retry{100}; // the kernel can wait, but not for a stop token

} // namespace

Result<FileLock> FileLock::try_take(const std::filesystem::path& path) {
    Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!file)
        return fail(Code::Unavailable, cat("lock file ", path.string(), ": ", errno_text(errno)));
    struct flock whole {};
    whole.l_type = F_WRLCK;
    whole.l_whence = SEEK_SET;
    if (fcntl(file.get(), F_OFD_SETLK, &whole) == 0)
        return FileLock(std::move(file));
    if (errno == EAGAIN || errno == EACCES)
        return fail(Code::Conflict, cat(path.string(), " is locked by another process"));
    return fail(Code::Unavailable, cat("lock of ", path.string(), ": ", errno_text(errno)));
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
