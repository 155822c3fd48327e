#include "hypervisor/storage/instance_files.hpp"

#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

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

/// Virtual size of a qcow2 file from its header; 0 when it is none.
std::uint64_t qcow2_size(const fs::path& path) {
    const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
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
    : options_(std::move(options)), cache_(cache), processes_(processes), qemu_img_(processes) {}

fs::path InstanceFiles::folder(const InstanceUuid& uuid) const {
    return options_.instances_path / uuid.str();
}

bool InstanceFiles::exists(const InstanceUuid& uuid) const {
    std::error_code error;
    return fs::exists(folder(uuid), error);
}

/// disk.info remembers each disk's format, so that a guest cannot pretend another one later. A path
/// that is known is never changed.
Result<void> InstanceFiles::note_format(const fs::path& disk, const std::string& format) {
    const auto path = disk.parent_path() / "disk.info";
    Json known = Json::object();
    if (const auto text = read_file(path))
        if (const auto parsed = Json::parse(*text); parsed && parsed->is_object())
            known = *parsed;
    if (known.contains(disk.string()))
        return {};
    known.set(disk.string(), format);
    return write_file_atomically(path, known.dump());
}

Result<void> InstanceFiles::create_disk(const GuestSpec& guest,
                                        const DiskSpec& disk,
                                        ImageSource& images,
                                        const std::stop_token& stop) {
    const auto path = folder(guest.uuid) / disk.file_name;
    BaseImage base;
    if (disk.source == DiskSource::Image) {
        NOVALET_ASSIGN(base, cache_.base(ImageId(guest.image.id), images, stop));
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
    } else {
        const bool swap = disk.source == DiskSource::Swap;
        NOVALET_ASSIGN(base,
                       cache_.blank_base(disk.size_bytes, swap ? "swap" : disk.filesystem, stop));
    }
    const std::string format = options_.copy_on_write ? "qcow2" : "raw";
    std::error_code error;
    if (!fs::exists(path, error)) {
        const fs::path unfinished = path.string() + ".new";
        fs::remove(unfinished, error);
        if (options_.copy_on_write) {
            NOVALET_TRY(
                qemu_img_.create_overlay(unfinished, base.path, base.format, disk.size_bytes));
        } else {
            NOVALET_TRY(qemu_img_.convert(base.path, base.format, unfinished, "raw"));
            if (disk.size_bytes > 0)
                NOVALET_TRY(qemu_img_.resize(unfinished, "raw", disk.size_bytes));
        }
        fs::rename(unfinished, path, error);
        if (error)
            return fail(Code::Unavailable, cat("rename to ", path.string(), ": ", error.message()));
    }
    return note_format(path, format);
}

Result<void>
InstanceFiles::create(const GuestSpec& guest, ImageSource& images, const std::stop_token& stop) {
    const auto home = folder(guest.uuid);
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
    const Fd console(
        open((home / "console.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!console)
        return fail(Code::Unavailable,
                    cat("console.log of ", guest.uuid.str(), ": ", errno_text(errno)));
    return {};
}

Result<void> InstanceFiles::create_config_drive(const GuestSpec& guest) {
    if (!guest.config_drive)
        return {};
    const auto target = folder(guest.uuid) / "disk.config";
    std::error_code error;
    if (fs::exists(target, error))
        return {};
    const fs::path tree = target.string() + ".tree";
    const fs::path unfinished = target.string() + ".new";
    struct Cleanup {
        const fs::path& tree;
        const fs::path& file;
        ~Cleanup() {
            std::error_code ignored;
            fs::remove_all(tree, ignored);
            fs::remove(file, ignored);
        }
    } cleanup{tree, unfinished};
    fs::remove_all(tree, error);
    for (const auto& [name, content] : guest.config_drive->files) {
        const fs::path relative = fs::path(name).lexically_normal();
        if (relative.is_absolute() || relative.string().starts_with(".."))
            return fail(Code::InvalidArgument,
                        cat("config drive file '", name, "' leaves the drive"));
        fs::create_directories((tree / relative).parent_path(), error);
        NOVALET_TRY(write_file_atomically(tree / relative, content, 0644));
    }
    ProcessRequest request;
    request.timeout = Milliseconds(120000);
    if (guest.config_drive->vfat) {
        NOVALET_TRY(qemu_img_.create(unfinished, "raw", std::uint64_t{64} << 20U));
        request.argv = {"mkfs.vfat", "-n", "config-2", unfinished.string()};
        NOVALET_TRY(processes_.check(request));
        request.argv = {"mcopy", "-s", "-i", unfinished.string()};
        for (const auto& entry : fs::directory_iterator(tree, error))
            request.argv.push_back(entry.path().string());
        request.argv.emplace_back("::");
    } else {
        request.argv = {"genisoimage",
                        "-o",
                        unfinished.string(),
                        "-ldots",
                        "-allow-lowercase",
                        "-allow-multidot",
                        "-l",
                        "-publisher",
                        options_.config_drive_publisher,
                        "-quiet",
                        "-J",
                        "-r",
                        "-V",
                        "config-2",
                        tree.string()};
    }
    NOVALET_TRY(processes_.check(request));
    fs::rename(unfinished, target, error);
    if (error)
        return fail(Code::Unavailable, cat("rename to ", target.string(), ": ", error.message()));
    return note_format(target, "raw");
}

Result<void> InstanceFiles::remove(const InstanceUuid& uuid) {
    if (!is_uuid(uuid.str())) // a path is never built from an unchecked text
        return fail(Code::InvalidArgument, cat("'", uuid.str(), "' is no instance uuid"));
    const auto home = folder(uuid);
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
    const auto log_path = folder(uuid) / "console.log";
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
    std::uint64_t total = 0;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder(uuid), error)) {
        const auto name = entry.path().filename().string();
        if (!name.starts_with("disk") || name == "disk.info")
            continue;
        struct stat about {};
        if (stat(entry.path().c_str(), &about) != 0)
            continue;
        const auto allocated = static_cast<std::uint64_t>(about.st_blocks) * 512;
        const auto qcow2 = qcow2_size(entry.path());
        const auto size = qcow2 > 0 ? qcow2 : static_cast<std::uint64_t>(about.st_size);
        total += size > allocated ? size - allocated : 0;
    }
    return total;
}

} // namespace novalet::hypervisor::storage
