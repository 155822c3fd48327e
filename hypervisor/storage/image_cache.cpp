#include "hypervisor/storage/image_cache.hpp"

#include "agent/core/digest.hpp"
#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"
#include "hypervisor/storage/image_inspector.hpp"

#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace novalet::hypervisor::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view part_mark = ".part-";

Failure file_failure(const std::string& what) {
    return fail(errno == ENOSPC || errno == EDQUOT ? Code::ResourceExhausted : Code::Unavailable,
                cat(what, ": ", errno_text(errno)));
}

/// A file that disappears unless it was kept by renaming it.
class PartFile {
  public:
    explicit PartFile(const fs::path& target)
        : path_(cat(target.string(), part_mark, new_uuid_hex().substr(0, 8))) {}
    PartFile(const PartFile&) = delete;
    PartFile& operator=(const PartFile&) = delete;
    ~PartFile() { unlink(path_.c_str()); }
    [[nodiscard]] const fs::path& path() const { return path_; }

    /// Complete and on disk under the final name.
    [[nodiscard]] Result<void> keep_as(const fs::path& target) const {
        const Fd file(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
        if (!file || fdatasync(file.get()) != 0)
            return file_failure("sync of " + path_.string());
        if (rename(path_.c_str(), target.c_str()) != 0)
            return file_failure("rename to " + target.string());
        const Fd folder(open(target.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!folder || fsync(folder.get()) != 0)
            return file_failure("sync of " + target.parent_path().string());
        return {};
    }

  private:
    fs::path path_;
};

void touch(const fs::path& path) {
    // The cache of a host is cleaned by age of use; failing to note a use does no harm now.
    [[maybe_unused]] const int touched = utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
}

} // namespace

class ImageCache::Turn {
  public:
    Turn(ImageCache& cache, std::string name) : cache_(cache), name_(std::move(name)) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
        if (!held_)
            return;
        {
            const std::lock_guard lock(cache_.mutex_);
            cache_.busy_.erase(name_);
        }
        cache_.freed_.notify_all();
    }

    Result<void> take(const std::stop_token& stop) {
        std::unique_lock lock(cache_.mutex_);
        if (!cache_.freed_.wait(lock, stop, [this] { return !cache_.busy_.contains(name_); }))
            return fail(Code::Cancelled, "stopped while waiting for image " + name_);
        cache_.busy_.insert(name_);
        held_ = true;
        lock.unlock();
        const auto path = cache_.options_.instances_path / "locks" / ("nova-" + name_);
        file_ = Fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
        if (!file_)
            return file_failure("lock file " + path.string());
        struct flock whole {};
        whole.l_type = F_WRLCK;
        whole.l_whence = SEEK_SET;
        if (fcntl(file_.get(), F_SETLKW, &whole) != 0)
            return file_failure("lock of " + path.string());
        return {};
    }

  private:
    ImageCache& cache_;
    const std::string name_;
    bool held_ = false;
    Fd file_;
};

ImageCache::ImageCache(CacheOptions options, ProcessRunner& processes)
    : options_(std::move(options)), folder_(options_.instances_path / options_.subdirectory),
      processes_(processes), qemu_img_(processes) {}

Result<void> ImageCache::prepare() {
    std::error_code error;
    for (const auto& folder :
         {options_.instances_path, folder_, options_.instances_path / "locks"}) {
        fs::create_directories(folder, error);
        if (error)
            return fail(Code::Unavailable,
                        cat("folder ", folder.string(), " cannot be made: ", error.message()));
    }
    for (const auto& entry : fs::directory_iterator(folder_, error))
        if (entry.path().filename().string().find(part_mark) != std::string::npos) {
            log::info("removing an unfinished image", {{"file", entry.path().string()}});
            fs::remove(entry.path(), error);
        }
    return {};
}

Result<BaseImage> ImageCache::describe(const fs::path& path) const {
    const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file)
        return file_failure("open " + path.string());
    // Its own content decides, for bases that nova-compute made as well.
    NOVALET_ASSIGN(const auto image, inspect_image(file.get(), "", path.filename().string()));
    touch(path);
    return BaseImage{path, image.format == "qcow2" ? "qcow2" : "raw", image.virtual_size};
}

Result<void> ImageCache::fetch(const ImageId& image, ImageSource& source, const fs::path& target) {
    NOVALET_ASSIGN(const auto claimed, source.disk_format(image));
    const PartFile part(target);
    InspectedImage inspected;
    {
        const Fd file(open(part.path().c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
        if (!file)
            return file_failure("create " + part.path().string());
        NOVALET_TRY(source.fetch(image, file.get()));
        NOVALET_ASSIGN(inspected, inspect_image(file.get(), claimed, image.str()));
    }
    const bool as_it_is = inspected.format == "raw" || inspected.format == "iso" ||
                          (inspected.format == "qcow2" && !options_.force_raw_images);
    if (as_it_is)
        return part.keep_as(target);
    const PartFile converted(target);
    NOVALET_TRY(qemu_img_.convert(part.path(), inspected.format, converted.path(), "raw"));
    return converted.keep_as(target);
}

Result<BaseImage>
ImageCache::base(const ImageId& image, ImageSource& source, const std::stop_token& stop) {
    const std::string name = sha1_hex(image.str());
    const auto path = folder_ / name;
    Turn turn(*this, name);
    NOVALET_TRY(turn.take(stop));
    std::error_code error;
    if (!fs::exists(path, error)) {
        log::info("fetching image", {{"image", image.str()}});
        NOVALET_TRY(fetch(image, source, path));
    }
    return describe(path);
}

Result<void> ImageCache::copy_plain(const ImageId& image,
                                    ImageSource& source,
                                    const fs::path& target,
                                    const std::stop_token& stop) {
    const std::string name = sha1_hex(image.str());
    const auto path = folder_ / name;
    Turn turn(*this, name);
    NOVALET_TRY(turn.take(stop));
    std::error_code error;
    if (!fs::exists(path, error)) {
        const PartFile part(path);
        {
            const Fd file(open(part.path().c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
            if (!file)
                return file_failure("create " + part.path().string());
            NOVALET_TRY(source.fetch(image, file.get()));
        }
        NOVALET_TRY(part.keep_as(path));
    }
    fs::copy_file(path, target, fs::copy_options::overwrite_existing, error);
    if (error)
        return fail(Code::Unavailable,
                    cat("copy of ", path.string(), " to ", target.string(), ": ", error.message()));
    return {};
}

Result<BaseImage> ImageCache::blank_base(std::uint64_t bytes,
                                         const std::string& filesystem,
                                         const std::stop_token& stop) {
    const bool swap = filesystem == "swap";
    const std::string name =
        swap ? cat("swap_", bytes >> 20U)
             : cat("ephemeral_", bytes >> 30U, '_', sha1_hex(filesystem).substr(0, 7));
    const auto path = folder_ / name;
    Turn turn(*this, name);
    NOVALET_TRY(turn.take(stop));
    std::error_code error;
    if (!fs::exists(path, error)) {
        const PartFile part(path);
        NOVALET_TRY(qemu_img_.create(part.path(), "raw", bytes));
        ProcessRequest request;
        if (swap)
            request.argv = {"mkswap", "--", part.path().string()};
        else if (filesystem == "vfat")
            request.argv = {"mkfs.vfat", "-n", "ephemeral0", part.path().string()};
        else if (filesystem == "ntfs")
            request.argv = {
                "mkfs.ntfs", "--fast", "--force", "--label", "ephemeral0", part.path().string()};
        else
            request.argv = {"mkfs." + filesystem, "-F", "-L", "ephemeral0", part.path().string()};
        request.timeout = Milliseconds(600000);
        NOVALET_TRY(processes_.check(request));
        NOVALET_TRY(part.keep_as(path));
    }
    touch(path);
    return BaseImage{path, "raw", bytes};
}

} // namespace novalet::hypervisor::storage
