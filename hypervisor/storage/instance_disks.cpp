// Disks, config drive and boot files of one guest: made at its first start, looked at before every
// later one.
#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/storage/config_drive_image.hpp"
#include "hypervisor/storage/instance_files.hpp"
#include "hypervisor/storage/part_file.hpp"
#include "hypervisor/storage/qcow2_header.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <string_view>
#include <unistd.h>

namespace novalet::hypervisor::storage {
namespace {

namespace fs = std::filesystem;

constexpr const char* config_drive = "disk.config";

std::string gib(std::uint64_t bytes) {
    return cat((bytes + (1U << 30U) - 1) >> 30U, " GiB");
}

bool is_there(const fs::path& path) {
    std::error_code error;
    return fs::exists(fs::symlink_status(path, error));
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

Failure unknown_format(const fs::path& disk) {
    return fail_as("InvalidDiskInfo",
                   Code::DataLoss,
                   cat("Disk info file is invalid: ",
                       (disk.parent_path() / "disk.info").string(),
                       " says nothing of ",
                       disk.string(),
                       ", which begins like qcow2: it may be one, or a raw disk into which the "
                       "guest wrote this. Note it there as \"qcow2\" or \"raw\""));
}

Failure lost(const fs::path& file, const std::string& why) {
    return fail_as("DiskNotFound",
                   Code::NotFound,
                   cat("No disk at ", file.string(), ": ", why, "; the guest is left as it is"));
}

Failure lost_config_drive(const fs::path& file) {
    return lost(file,
                "the config drive is gone, and what it held is not known any more. Put the file "
                "back");
}

} // namespace

std::string InstanceFiles::usual_format(const std::string& file_name) const {
    return options_.copy_on_write && file_name != config_drive ? "qcow2" : "raw";
}

/// nova-compute notes every disk that it makes. Where a note is missing it takes the configured
/// format (nova.virt.libvirt.imagebackend Qcow2) or lets qemu-img look at the content (Flat). Both
/// can make QEMU open, for a guest, a file of the host that the guest named in its raw disk. Here
/// only what does not begin like qcow2 is settled by its content: that can be nothing but raw.
Result<std::string> InstanceFiles::format_of(const InstanceUuid& uuid,
                                             const std::string& file_name) const {
    NOVALET_ASSIGN(const auto home, checked_folder(uuid));
    NOVALET_ASSIGN(const auto formats, DiskFormats::read(home));
    const auto disk = home / file_name;
    if (auto noted = formats.of(disk))
        return *std::move(noted);
    if (!is_there(disk))
        return usual_format(file_name);
    NOVALET_ASSIGN(const auto header, read_qcow2_header(disk));
    if (header && file_name != config_drive)
        return unknown_format(disk);
    return std::string("raw");
}

Result<void> InstanceFiles::note_formats(const GuestSpec& guest,
                                         const std::map<std::string, std::string>& defined) {
    NOVALET_ASSIGN(const auto home, checked_folder(guest.uuid));
    NOVALET_ASSIGN(auto formats, DiskFormats::read(home));
    for (const auto& spec : guest.disks) {
        const auto disk = home / spec.file_name;
        if (formats.of(disk) || !is_disk_name(spec.file_name) || !is_there(disk))
            continue;
        const auto said = defined.find(spec.file_name);
        NOVALET_ASSIGN(const auto header, read_qcow2_header(disk));
        if (!header)
            NOVALET_TRY(formats.note(disk, "raw"));
        else if (said != defined.end())
            NOVALET_TRY(formats.note(disk, said->second));
        else
            return unknown_format(disk);
    }
    return {};
}

std::optional<bool> InstanceFiles::config_drive_is_vfat(const InstanceUuid& uuid) const {
    constexpr std::string_view iso_mark = "CD001";
    constexpr off_t iso_place = 0x8001;
    const auto home = checked_folder(uuid);
    if (!home)
        return std::nullopt;
    const Fd file(
        open((*home / config_drive).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file)
        return std::nullopt;
    // A guest can write to a VFAT drive. What it gains with another head is a CD-ROM drive with the
    // same raw bytes.
    std::array<char, iso_mark.size()> mark{};
    const auto got = pread(file.get(), mark.data(), mark.size(), iso_place);
    return std::string_view(mark.data(), got > 0 ? static_cast<std::size_t>(got) : 0) != iso_mark;
}

/// The base file of the disk as it is made now.
Result<BaseImage> InstanceFiles::base_of(const GuestSpec& guest,
                                         const DiskSpec& disk,
                                         ImageSource* images,
                                         const std::stop_token& stop) {
    if (disk.source != DiskSource::Image)
        return cache_.blank_base(
            disk.size_bytes, disk.source == DiskSource::Swap ? "swap" : disk.filesystem, stop);
    if (images == nullptr)
        return fail(Code::Internal, cat("no source of image ", guest.image.id));
    return cache_.base(ImageId(guest.image.id), *images, stop);
}

/// An overlay names the file it stands on; the image that the record names may be another one by
/// now, or none may be needed any more. A base that the disk's image or size still leads to is had
/// again when it is gone: a cache on a new disk lost it.
Result<void> InstanceFiles::ensure_base(const GuestSpec& guest,
                                        const DiskSpec& disk,
                                        ImageSource* images,
                                        const std::stop_token& stop) {
    const auto path = folder(guest.uuid) / disk.file_name;
    NOVALET_ASSIGN(const auto header, read_qcow2_header(path));
    if (!header)
        return fail_as("InvalidDiskInfo",
                       Code::DataLoss,
                       cat("Disk info file is invalid: ",
                           path.string(),
                           " is noted as qcow2 and does not begin like it"));
    if (header->backing_file.empty())
        return {};
    const auto base = (path.parent_path() / header->backing_file).lexically_normal();
    const auto usual =
        disk.source == DiskSource::Image
            ? cache_.base_path(ImageId(guest.image.id))
            : cache_.blank_base_path(disk.size_bytes,
                                     disk.source == DiskSource::Swap ? "swap" : disk.filesystem);
    if (base == usual.lexically_normal() && (images != nullptr || !is_there(base))) {
        NOVALET_TRY(base_of(guest, disk, images, stop));
        return {};
    }
    if (is_there(base))
        return {};
    return lost(base,
                cat(path.string(),
                    " stands on this file, and it is not the base of image ",
                    guest.image.id,
                    ". Put it back"));
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
                                        ImageSource* images,
                                        const std::stop_token& stop) {
    if (!is_disk_name(disk.file_name))
        return fail(Code::InvalidArgument,
                    cat("'", cut_utf8(disk.file_name, 64), "' is no name of a disk"));
    const auto path = folder(guest.uuid) / disk.file_name;
    NOVALET_ASSIGN(auto formats, DiskFormats::read(folder(guest.uuid)));
    NOVALET_ASSIGN(const auto format, format_of(guest.uuid, disk.file_name));
    // Noted first: a disk whose format is not known must never be there.
    if (is_there(path)) {
        NOVALET_TRY(formats.note(path, format));
        return format == "qcow2" ? ensure_base(guest, disk, images, stop) : Result<void>();
    }
    NOVALET_ASSIGN(const auto base, base_of(guest, disk, images, stop));
    if (disk.source == DiskSource::Image && disk.size_bytes > 0 &&
        base.virtual_size > disk.size_bytes)
        return fail_as("FlavorDiskSmallerThanImage",
                       Code::InvalidArgument,
                       cat("Flavor's disk is too small for requested image. Flavor disk is ",
                           disk.size_bytes,
                           " bytes, image is ",
                           base.virtual_size,
                           " bytes; choose a flavor with at least ",
                           gib(base.virtual_size),
                           " of disk."));
    NOVALET_TRY(formats.note(path, format));
    const fs::path unfinished = path.string() + ".new";
    std::error_code error;
    fs::remove(unfinished, error); // of an attempt that was killed
    if (format == "qcow2")
        NOVALET_TRY(qemu_img_.create_overlay(unfinished, base.path, base.format, disk.size_bytes));
    else
        NOVALET_TRY(copy_raw(base, unfinished, disk.size_bytes, stop));
    if (options_.preallocate && disk.size_bytes > 0)
        NOVALET_TRY(take_room(unfinished, disk.size_bytes));
    return keep_file(unfinished, path);
}

Result<void> InstanceFiles::create_boot_files(const GuestSpec& guest,
                                              ImageSource& images,
                                              const std::stop_token& stop) {
    const auto home = folder(guest.uuid);
    for (const auto& [id, name] :
         {std::pair{guest.kernel_id, "kernel"}, std::pair{guest.ramdisk_id, "ramdisk"}})
        if (!id.empty() && !is_there(home / name))
            NOVALET_TRY(cache_.copy_plain(ImageId(id), images, home / name, stop));
    return {};
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
        NOVALET_TRY(create_disk(guest, disk, &images, stop));
    NOVALET_TRY(create_boot_files(guest, images, stop));
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
    const auto target = home / config_drive;
    if (is_there(target))
        return {};
    if (guest.config_drive->files.empty())
        return lost_config_drive(target);
    NOVALET_ASSIGN(auto formats, DiskFormats::read(home));
    NOVALET_TRY(formats.note(target, "raw"));
    return make_config_drive(
        processes_, *guest.config_drive, options_.config_drive_publisher, target);
}

Result<void>
InstanceFiles::complete(const GuestSpec& guest, ImageSource* images, const std::stop_token& stop) {
    NOVALET_ASSIGN(const auto home, checked_folder(guest.uuid));
    // Looked for all before the first is made.
    for (const auto& disk : guest.disks)
        if (disk.source != DiskSource::Swap && !is_there(home / disk.file_name))
            return lost(home / disk.file_name, "it held data, and a new one would hide the loss");
    if (guest.config_drive && guest.config_drive->files.empty() && !is_there(home / config_drive))
        return lost_config_drive(home / config_drive);
    for (const auto& disk : guest.disks)
        NOVALET_TRY(create_disk(guest, disk, images, stop));
    if (images != nullptr)
        NOVALET_TRY(create_boot_files(guest, *images, stop));
    return create_config_drive(guest);
}

} // namespace novalet::hypervisor::storage
