#include "agent/core/file.hpp"

#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace novalet {
namespace {

Failure file_error(const char* verb, const std::filesystem::path& path, int number) {
    const Code code = number == ENOENT                       ? Code::NotFound
                      : number == EEXIST                     ? Code::AlreadyExists
                      : number == EACCES || number == EPERM  ? Code::Unauthorized
                      : number == ENOSPC || number == EDQUOT ? Code::ResourceExhausted
                                                             : Code::Unavailable;
    return fail(code, cat(verb, ' ', path.string(), ": ", errno_text(number)));
}

} // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
}

Fd::~Fd() {
    if (fd_ >= 0)
        close(fd_);
}

std::string errno_text(int number) {
    return std::generic_category().message(number);
}

Result<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes) {
    const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file)
        return file_error("open", path, errno);
    std::string content;
    std::string buffer(65536, '\0');
    for (;;) {
        const auto got = read(file.get(), buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return file_error("read", path, errno);
        if (got == 0)
            return content;
        content.append(buffer, 0, static_cast<std::size_t>(got));
        if (content.size() > max_bytes)
            return fail(Code::InvalidArgument,
                        cat("read ", path.string(), ": more than ", max_bytes, " bytes"));
    }
}

Result<void>
write_file_atomically(const std::filesystem::path& path, std::string_view content, unsigned mode) {
    const std::filesystem::path temporary = path.string() + ".new-" + new_uuid_hex().substr(0, 8);
    {
        const Fd file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
        if (!file)
            return file_error("create", temporary, errno);
        while (!content.empty()) {
            const auto put = write(file.get(), content.data(), content.size());
            if (put < 0 && errno == EINTR)
                continue;
            if (put < 0) {
                const int number = errno;
                unlink(temporary.c_str());
                return file_error("write", temporary, number);
            }
            content.remove_prefix(static_cast<std::size_t>(put));
        }
        if (fdatasync(file.get()) != 0) {
            const int number = errno;
            unlink(temporary.c_str());
            return file_error("sync", temporary, number);
        }
    }
    if (rename(temporary.c_str(), path.c_str()) != 0) {
        const int number = errno;
        unlink(temporary.c_str());
        return file_error("rename to", path, number);
    }
    const Fd directory(open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory || fsync(directory.get()) != 0)
        return file_error("sync directory of", path, errno);
    return {};
}

} // namespace novalet
