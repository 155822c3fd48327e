#include "hypervisor/storage/instance_files.hpp"

#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/storage/config_drive_image.hpp"
#include "hypervisor/storage/part_file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace novalet::hypervisor::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t console_bytes = 100 * 1024; // nova.virt.libvirt.driver MAX_CONSOLE_BYTES

std::string gib(std::uint64_t bytes) {
    return cat((bytes + (1U << 30U) - 1) >> 30U, " GiB");
}

/// "disk", "disk.local", "disk.eph0", "disk.swap": what a guest's disks are called, and nothing
/// that leaves its folder or is one of the folder's other files.
bool is_disk_name(const std::string& name) {
    if (name == "disk")
        return true;
    if (!name.starts_with("disk.") || name.size() == 5 || name == "disk.info" ||
        name == "disk.config")
        return false;
    return std::all_of(name.begin() + 5, name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    });
}

/// Virtual size in the header of a file that is known to be qcow2. The header is QEMU's alone: the
/// guest writes behind it.
std::uint64_t qcow2_size(const fs::path& path) {
    const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    std::array<unsigned char, 32> head{};
    if (!file ||
        pread(file.get(), head.data(), head.size(), 0) != static_cast<ssize_t>(head.size()) ||
        head[0] != 'Q' || head[1] != 'F' || head[2] != 'I' || head[3] != 0xfb)
        return 0;
    std::uint64_t size = 0;
    for (std::size_t i = 24; i < 32; ++i)
        size = (size << 8U) | head[i];
    return size;
}

/// Takes the room of the whole disk without changing its length. Where the file system cannot do
/// that the disk stays sparse, as with nova-compute.
Result<void> take_room(const fs::path& path, std::uint64_t bytes) {
    const Fd file(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!file)
        return file_failure("open " + path.string());
    if (fallocate(file.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) == 0)
        return {};
    if (errno != EOPNOTSUPP)
        return file_failure("room for " + path.string());
    log::warning("the file system cannot preallocate disks; this one is sparse",
                 {{"disk", path.string()}});
    return {};
}

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

std::string InstanceFiles::usual_format(const std::string& file_name) const {
    return options_.copy_on_write && file_name != "disk.config" ? "qcow2" : "raw";
}

Result<std::string> InstanceFiles::format_of(const InstanceUuid& uuid,
                                             const std::string& file_name) const {
    NOVALET_ASSIGN(const auto home, checked_folder(uuid));
    NOVALET_ASSIGN(const auto formats, DiskFormats::read(home));
    return formats.of(home / file_name).value_or(usual_format(file_name));
}

Result<BaseImage> InstanceFiles::base_of(const GuestSpec& guest,
                                         const DiskSpec& disk,
                                         ImageSource& images,
                                         const std::stop_token& stop) {
    if (disk.source != DiskSource::Image)
        return cache_.blank_base(
            disk.size_bytes, disk.source == DiskSource::Swap ? "swap" : disk.filesystem, stop);
    NOVALET_ASSIGN(auto base, cache_.base(ImageId(guest.image.id), images, stop));
    if (disk.size_bytes > 0 && base.virtual_size > disk.size_bytes)
        return fail_as("FlavorDiskSmallerThanImage",
                       Code::InvalidArgument,
                       cat("Flavor's disk is too small for requested image. Flavor disk is ",
                           disk.size_bytes,
                           " bytes, image is ",
                           base.virtual_size,
                           " bytes; choose a flavor with at least ",
                           gib(base.virtual_size),
                           " of disk."));
    return base;
}

Result<void> InstanceFiles::copy_raw(const BaseImage& base,
                                     const fs::path& disk,
                                     std::uint64_t bytes,
                                     const std::stop_token& stop) {
    NOVALET_TRY(qemu_img_.convert(base.path, base.format, disk, "raw", cache_.direct_io(), stop));
    if (bytes > base.virtual_size)
        return qemu_img_.resize(disk, "raw", bytes);
    return {};
}

Result<void> InstanceFiles::create_disk(const GuestSpec& guest,
                                        const DiskSpec& disk,
                                        ImageSource& images,
                                        const std::stop_token& stop) {
    if (!is_disk_name(disk.file_name))
        return fail(Code::InvalidArgument,
                    cat("'", cut_utf8(disk.file_name, 64), "' is no name of a disk"));
    const auto path = folder(guest.uuid) / disk.file_name;
    NOVALET_ASSIGN(auto formats, DiskFormats::read(folder(guest.uuid)));
    const auto format = formats.of(path).value_or(usual_format(disk.file_name));
    std::error_code error;
    const bool there = fs::exists(fs::symlink_status(path, error));
    if (there && format == "raw")
        return formats.note(path, format);
    // An overlay needs its base even when it is there itself: a cache on a new disk lost it.
    NOVALET_ASSIGN(const auto base, base_of(guest, disk, images, stop));
    // Noted first: a disk whose format is not known must never be there.
    NOVALET_TRY(formats.note(path, format));
    if (there)
        return {};
    const fs::path unfinished = path.string() + ".new";
    fs::remove(unfinished, error); // of an attempt that was killed
    if (format == "qcow2")
        NOVALET_TRY(qemu_img_.create_overlay(unfinished, base.path, base.format, disk.size_bytes));
    else
        NOVALET_TRY(copy_raw(base, unfinished, disk.size_bytes, stop));
    if (options_.preallocate && disk.size_bytes > 0)
        NOVALET_TRY(take_room(unfinished, disk.size_bytes));
    return keep_file(unfinished, path);
}

Result<void>
InstanceFiles::create(const GuestSpec& guest, ImageSource& images, const std::stop_token& stop) {
    NOVALET_ASSIGN(const auto home, checked_folder(guest.uuid));
    std::error_code error;
    fs::create_directories(home, error);
    if (error)
        return fail(Code::Unavailable,
                    cat("folder ", home.string(), " cannot be made: ", error.message()));
    for (const auto& disk : guest.disks)
        NOVALET_TRY(create_disk(guest, disk, images, stop));
    for (const auto& [id, name] :
         {std::pair{guest.kernel_id, "kernel"}, std::pair{guest.ramdisk_id, "ramdisk"}})
        if (!id.empty() && !fs::exists(home / name, error))
            NOVALET_TRY(cache_.copy_plain(ImageId(id), images, home / name, stop));
    const Fd console(open((home / "console.log").c_str(),
                          O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
                          0644));
    if (!console)
        return fail(Code::Unavailable,
                    cat("console.log of ", guest.uuid.str(), ": ", errno_text(errno)));
    return {};
}

Result<void> InstanceFiles::create_config_drive(const GuestSpec& guest) {
    if (!guest.config_drive)
        return {};
    NOVALET_ASSIGN(const auto home, checked_folder(guest.uuid));
    const auto target = home / "disk.config";
    std::error_code error;
    if (fs::exists(target, error))
        return {};
    NOVALET_ASSIGN(auto formats, DiskFormats::read(home));
    NOVALET_TRY(formats.note(target, "raw"));
    return make_config_drive(
        processes_, *guest.config_drive, options_.config_drive_publisher, target);
}

Result<void> InstanceFiles::remove(const InstanceUuid& uuid) {
    NOVALET_ASSIGN(const auto home, checked_folder(uuid));
    const fs::path doomed = home.string() + "_del";
    std::error_code error;
    fs::remove_all(doomed, error); // of an earlier attempt
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
        const bool qcow2 = formats->of(entry.path()).value_or(usual_format(name)) == "qcow2";
        const auto size =
            qcow2 ? qcow2_size(entry.path()) : static_cast<std::uint64_t>(about.st_size);
        const auto allocated = static_cast<std::uint64_t>(about.st_blocks) * 512;
        total += size > allocated ? size - allocated : 0;
    }
    return total;
}

} // namespace novalet::hypervisor::storage
