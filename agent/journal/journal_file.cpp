#include "agent/journal/journal_file.hpp"

#include "agent/core/text.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace novalet::journal {
namespace {

constexpr std::array companions{"-wal", "-journal", "-shm"};

Failure system_failure(const std::string& verb, const std::filesystem::path& path, int number) {
    const Code code = number == ENOSPC || number == EDQUOT || number == EFBIG
                          ? Code::ResourceExhausted
                      : number == EACCES || number == EPERM || number == EROFS ? Code::Unauthorized
                                                                               : Code::Unavailable;
    return fail(code, cat(verb, ' ', path.string(), ": ", errno_text(number)));
}

Result<void> narrow(const Fd& file, const std::filesystem::path& path) {
    struct stat now {};
    if (fstat(file.get(), &now) != 0)
        return system_failure("stat", path, errno);
    if (!S_ISREG(now.st_mode))
        return fail(Code::Unavailable, cat(path.string(), " is not a regular file; move it away"));
    if ((now.st_mode & 0777U) != 0600U && fchmod(file.get(), 0600) != 0)
        return system_failure("set mode 0600 of", path, errno);
    return {};
}

Result<void> sync_folder(const std::filesystem::path& path) {
    const auto folder = path.parent_path();
    const Fd file(
        ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!file || fsync(file.get()) != 0)
        return system_failure("sync folder", folder, errno);
    return {};
}

bool is_there(const std::filesystem::path& path) {
    struct stat now {};
    return lstat(path.c_str(), &now) == 0;
}

Footprint::Part part_of(const std::filesystem::path& path) {
    struct stat now {};
    if (lstat(path.c_str(), &now) != 0)
        return {};
    return {true, now.st_dev, now.st_ino, static_cast<std::uint64_t>(now.st_size)};
}

std::string change_of(const char* name, const Footprint::Part& before, const Footprint::Part& now) {
    if (before.there && !now.there)
        return cat(name, " was removed");
    if (before.there && (before.device != now.device || before.inode != now.inode))
        return cat(name, " was replaced by another one");
    if (before.there && now.bytes < before.bytes)
        return cat(name, " was cut from ", before.bytes, " to ", now.bytes, " bytes");
    if (!before.there && now.there)
        return cat(name, " was put there");
    return {};
}

std::uint32_t big_endian(const unsigned char* at) {
    return std::uint32_t{at[0]} << 24U | std::uint32_t{at[1]} << 16U | std::uint32_t{at[2]} << 8U |
           std::uint32_t{at[3]};
}

/// The running checksum of a WAL over 32-bit words in the order of bytes that its header names.
struct WalSum {
    bool big = false;
    std::uint32_t first = 0;
    std::uint32_t second = 0;

    void add(const unsigned char* at, std::size_t bytes) {
        const auto word = [&](std::size_t offset) {
            const auto value = big_endian(at + offset);
            return big ? value : __builtin_bswap32(value);
        };
        for (std::size_t i = 0; i + 8 <= bytes; i += 8) {
            first += word(i) + second;
            second += word(i + 4) + first;
        }
    }
    [[nodiscard]] bool is(const unsigned char* at) const {
        return first == big_endian(at) && second == big_endian(at + 4);
    }
};

bool read_exactly(const Fd& file, unsigned char* to, std::size_t bytes) {
    while (bytes > 0) {
        const auto got = read(file.get(), to, bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to += got;
        bytes -= static_cast<std::size_t>(got);
    }
    return true;
}

} // namespace

Result<FileLock> FileLock::take(const std::filesystem::path& path) {
    const std::filesystem::path name = path.string() + ".lock";
    Fd file(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
    if (!file)
        return system_failure("open lock", name, errno);
    NOVALET_TRY(narrow(file, name));
    if (flock(file.get(), LOCK_EX | LOCK_NB) == 0)
        return FileLock(std::move(file));
    if (errno == EWOULDBLOCK)
        return fail(Code::Conflict, cat(name.string(), " is locked"));
    return system_failure("lock", name, errno);
}

Result<void> prepare_folder(const std::filesystem::path& path) {
    std::error_code error;
    const auto folder = path.parent_path();
    if (std::filesystem::exists(folder, error))
        return {};
    std::filesystem::create_directories(folder.parent_path(), error);
    if (error)
        return system_failure("make folder", folder.parent_path(), error.value());
    if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
        return system_failure("make folder", folder, errno);
    return {};
}

Result<bool> prepare_file(const std::filesystem::path& path) {
    const Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file && errno == ENOENT)
        return false;
    if (!file && errno == EISDIR)
        return fail(
            Code::Unavailable,
            cat(path.string(), " is a folder; move it away, or name another file in journal.path"));
    if (!file)
        return system_failure("open", path, errno);
    NOVALET_TRY(narrow(file, path));
    return true;
}

Result<void> begin_file(const std::filesystem::path& path) {
    remove_files(path);
    const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file)
        return system_failure("make", path, errno);
    return narrow(file, path);
}

void remove_files(const std::filesystem::path& path) {
    unlink(path.c_str());
    for (const char* suffix : companions)
        unlink((path.string() + suffix).c_str());
}

Footprint Footprint::of(const std::filesystem::path& path) {
    return {part_of(path), part_of(path.string() + "-wal")};
}

std::string Footprint::changes_since(const Footprint& earlier) const {
    const auto file_change = change_of("the file", earlier.file, file);
    return file_change.empty() ? change_of("its WAL", earlier.wal, wal) : file_change;
}

std::optional<WalContent> examine_wal(const std::filesystem::path& wal) {
    constexpr std::size_t header_bytes = 32;
    constexpr std::size_t frame_header_bytes = 24;
    const auto part = part_of(wal);
    if (!part.there || part.bytes == 0)
        return std::nullopt;
    WalContent content;
    const Fd file(::open(wal.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    std::array<unsigned char, header_bytes> header{};
    content.readable = file && read_exactly(file, header.data(), header.size());
    if (!content.readable)
        return content;
    const auto magic = big_endian(header.data());
    const std::size_t page = big_endian(header.data() + 8);
    WalSum sum{(magic & 1U) != 0};
    sum.add(header.data(), header_bytes - 8);
    content.readable = (magic & ~1U) == 0x377f0682U && sum.is(header.data() + 24) && page >= 512 &&
                       page <= 65536 && (page & (page - 1)) == 0;
    if (!content.readable)
        return content;
    std::vector<unsigned char> frame(frame_header_bytes + page);
    bool good = true;
    // SQLite reads up to the first frame whose checksum does not continue the one before. Beyond
    // it lie frames of earlier runs, with other salts, and pages of transactions that ended in
    // a rollback, none of which has the mark of a commit (the size of the database).
    for (std::size_t after = 0; read_exactly(file, frame.data(), frame.size());) {
        const bool same_run = std::equal(frame.data() + 8, frame.data() + 16, header.data() + 16);
        sum.add(frame.data(), 8);
        sum.add(frame.data() + frame_header_bytes, page);
        good = good && same_run && sum.is(frame.data() + 16);
        if (good) {
            ++content.frames;
            continue;
        }
        after += same_run ? 1U : 0U;
        if (same_run && big_endian(frame.data() + 4) != 0)
            content.lost = after;
    }
    return content;
}

std::filesystem::path name_aside(const std::filesystem::path& path, const Clock& clock) {
    const std::string base = cat(path.string(), ".damaged-", to_iso(clock.wall()));
    std::string aside = base;
    for (int i = 2; is_there(aside) || is_there(aside + "-wal"); ++i)
        aside = cat(base, '-', i);
    return aside;
}

Result<void> move_companion(const std::filesystem::path& path,
                            const std::string& suffix,
                            const std::filesystem::path& aside) {
    const std::string from = path.string() + suffix;
    if (rename(from.c_str(), (aside.string() + suffix).c_str()) != 0 && errno != ENOENT)
        return system_failure("move aside", from, errno);
    return {};
}

Result<void> exchange(const std::filesystem::path& path,
                      const std::filesystem::path& fresh,
                      const std::filesystem::path& aside) {
    // A second name first: at no moment is there no journal.
    if (link(path.c_str(), aside.c_str()) != 0 && errno != ENOENT &&
        rename(path.c_str(), aside.c_str()) != 0) // a file system without hard links
        return system_failure("move aside", path, errno);
    for (const char* suffix : companions)
        NOVALET_TRY(move_companion(path, suffix, aside));
    if (rename(fresh.c_str(), path.c_str()) != 0)
        return system_failure("put in place", fresh, errno);
    return sync_folder(path);
}

} // namespace novalet::journal
