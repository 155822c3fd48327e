#include "hypervisor/storage/instance_files.hpp"

#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/storage/part_file.hpp"
#include "hypervisor/storage/qcow2_header.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace novalet::hypervisor::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t console_bytes = 100 * 1024; // nova.virt.libvirt.driver MAX_CONSOLE_BYTES
constexpr const char* claim_file = "novalet.building";
constexpr std::string_view removed_mark = "_del"; // nova.virt.libvirt.driver delete_instance_files

/// Last `limit` bytes of a file; empty when it cannot be read.
std::string tail_of(const fs::path& path, std::size_t limit) {
    const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat about {};
    if (!file || fstat(file.get(), &about) != 0)
        return {};
    const auto size = static_cast<std::size_t>(about.st_size);
    const auto begin = size > limit ? size - limit : 0;
    std::string out(size - begin, '\0');
    const auto got = pread(file.get(), out.data(), out.size(), static_cast<off_t>(begin));
    out.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return out;
}

WallTime changed_at(const struct stat& about) {
    return WallTime(std::chrono::seconds(about.st_mtim.tv_sec));
}

} // namespace

InstanceFiles::InstanceFiles(InstanceFilesOptions options,
                             ImageCache& cache,
                             ProcessRunner& processes)
    : options_(std::move(options)), cache_(cache), processes_(processes),
      qemu_img_(processes, options_.qemu_img) {}

fs::path InstanceFiles::folder(const InstanceUuid& uuid) const {
    return options_.instances_path / uuid.str();
}

Result<fs::path> InstanceFiles::checked_folder(const InstanceUuid& uuid) const {
    if (!is_uuid(uuid.str())) // a path is never built from an unchecked text
        return fail(Code::InvalidArgument,
                    cat("'", cut_utf8(uuid.str(), 64), "' is no instance uuid"));
    return folder(uuid);
}

bool InstanceFiles::exists(const InstanceUuid& uuid) const {
    const auto home = checked_folder(uuid);
    std::error_code error;
    return home && fs::exists(*home, error);
}

Result<bool> InstanceFiles::claim(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto home, checked_folder(uuid));
    const auto mark = home / claim_file;
    std::error_code error;
    const bool made = fs::create_directory(home, error);
    if (error)
        return fail(Code::Unavailable,
                    cat("folder ", home.string(), " cannot be made: ", error.message()));
    if (made)
        NOVALET_TRY(write_file_atomically(mark, options_.host + "\n"));
    const auto owner = read_file(mark);
    if (!owner && owner.error().code != Code::NotFound)
        return Failure(owner.error());
    return owner && trim(*owner) == options_.host;
}

Result<void> InstanceFiles::release(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto home, checked_folder(uuid));
    std::error_code error;
    fs::remove(home / claim_file, error);
    if (error)
        return fail(Code::Unavailable,
                    cat("removal of ", (home / claim_file).string(), ": ", error.message()));
    return {};
}

Result<std::vector<InstanceFiles::Folder>> InstanceFiles::folders() const {
    std::vector<Folder> out;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(options_.instances_path, error)) {
        std::string name = entry.path().filename().string();
        if (name.ends_with(removed_mark))
            name.resize(name.size() - removed_mark.size());
        struct stat about {};
        if (!is_uuid(name) || lstat(entry.path().c_str(), &about) != 0 || !S_ISDIR(about.st_mode))
            continue;
        Folder folder;
        folder.uuid = InstanceUuid(name);
        folder.path = entry.path();
        const auto owner = read_file(entry.path() / claim_file);
        folder.claimed = owner && trim(*owner) == options_.host;
        folder.changed = changed_at(about);
        std::error_code gone; // meanwhile: what was seen of it is told
        for (const auto& file : fs::directory_iterator(entry.path(), gone))
            if (lstat(file.path().c_str(), &about) == 0)
                folder.changed = std::max(folder.changed, changed_at(about));
        out.push_back(std::move(folder));
    }
    if (error)
        return fail(Code::Unavailable,
                    cat("list of ", options_.instances_path.string(), ": ", error.message()));
    return out;
}

Result<void> InstanceFiles::remove(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto home, checked_folder(uuid));
    const fs::path doomed = cat(home.string(), removed_mark);
    std::error_code error;
    fs::remove_all(doomed, error); // of an earlier attempt
    if (error)
        return fail(Code::Unavailable, cat("removal of ", doomed.string(), ": ", error.message()));
    if (!fs::exists(fs::symlink_status(home, error)))
        return {};
    // Renamed first: after a crash nobody takes a half-removed folder for a guest.
    fs::rename(home, doomed, error);
    if (error)
        return fail(Code::Unavailable, cat("rename of ", home.string(), ": ", error.message()));
    fs::remove_all(doomed, error); // does not follow symbolic links
    if (error)
        return fail(Code::Unavailable, cat("removal of ", doomed.string(), ": ", error.message()));
    return {};
}

Result<std::string> InstanceFiles::console_tail(const InstanceUuid& uuid) const {
    NOVALET_ASSIGN(const auto home, checked_folder(uuid));
    const auto log_path = home / "console.log";
    std::error_code error;
    if (!fs::exists(log_path, error))
        return fail_as(
            "ConsoleNotAvailable", Code::NotFound, "Guest does not have a console available.");
    // virtlogd rotates: console.log is the newest, then console.log.0, console.log.1 …
    std::string out = tail_of(log_path, console_bytes);
    for (unsigned i = 0; out.size() < console_bytes; ++i) {
        const fs::path older = cat(log_path.string(), '.', i);
        if (!fs::exists(older, error))
            break;
        out.insert(0, tail_of(older, console_bytes - out.size()));
    }
    return out;
}

std::uint64_t InstanceFiles::growth(const InstanceUuid& uuid) const {
    const auto home = checked_folder(uuid);
    const auto formats = home ? DiskFormats::read(*home) : Failure(home.error());
    if (!formats) {
        log::warning("the disks of a guest are not counted into disk_available_least",
                     {{"instance", uuid.str()}, {"error", formats.error().text}});
        return 0;
    }
    std::uint64_t total = 0;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(*home, error)) {
        const auto name = entry.path().filename().string();
        struct stat about {};
        if ((name != "disk.config" && !is_disk_name(name)) ||
            lstat(entry.path().c_str(), &about) != 0 || !S_ISREG(about.st_mode))
            continue;
        // Only counted: a disk that nobody noted may look like what it likes.
        const auto header = read_qcow2_header(entry.path());
        const bool qcow2 =
            header && *header && formats->of(entry.path()).value_or("qcow2") == "qcow2";
        const auto size =
            qcow2 ? (*header)->virtual_size : static_cast<std::uint64_t>(about.st_size);
        const auto allocated = static_cast<std::uint64_t>(about.st_blocks) * 512;
        total += size > allocated ? size - allocated : 0;
    }
    return total;
}

} // namespace novalet::hypervisor::storage
