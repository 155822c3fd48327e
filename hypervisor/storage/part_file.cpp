#include "hypervisor/storage/part_file.hpp"

#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

namespace novalet::hypervisor::storage {

Failure file_failure(const std::string& what) {
    const int number = errno;
    return fail(number == ENOSPC || number == EDQUOT ? Code::ResourceExhausted : Code::Unavailable,
                cat(what, ": ", errno_text(number)));
}

PartFile::PartFile(const std::filesystem::path& target)
    : path_(cat(target.string(), part_mark, new_uuid_hex().substr(0, 8))) {}

PartFile::~PartFile() {
    unlink(path_.c_str()); // ENOENT when it was kept
}

Result<Fd> PartFile::create() const {
    Fd file(open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!file)
        return file_failure("create " + path_.string());
    return file;
}

Result<void> keep_file(const std::filesystem::path& unfinished,
                       const std::filesystem::path& target) {
    const Fd file(open(unfinished.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!file || fdatasync(file.get()) != 0)
        return file_failure("sync of " + unfinished.string());
    if (rename(unfinished.c_str(), target.c_str()) != 0)
        return file_failure("rename to " + target.string());
    const Fd folder(open(target.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder || fsync(folder.get()) != 0)
        return file_failure("sync of " + target.parent_path().string());
    return {};
}

} // namespace novalet::hypervisor::storage
