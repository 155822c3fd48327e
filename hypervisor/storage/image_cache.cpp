#include "hypervisor/storage/image_cache.hpp"

#include "agent/core/digest.hpp"
#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/storage/file_lock.hpp"
#include "hypervisor/storage/part_file.hpp"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace novalet::hypervisor::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::array filesystems{
    "ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "msdos", "ntfs", "swap"};
constexpr Milliseconds format_timeout{600000};

void touch(const fs::path& path) {
    // The cache of a host is cleaned by age of use; failing to note a use does no harm now.
    [[maybe_unused]] const int touched = utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
}

/// The name of the base file that an unfinished file was to become; empty for other files.
/// nova-compute's own unfinished files end in .part and .converted.
std::string unfinished_base(const std::string& name) {
    if (const auto at = name.find(part_mark); at != std::string::npos)
        return name.substr(0, at);
    for (const std::string_view end : {".part", ".converted"})
        if (name.size() > end.size() && name.ends_with(end))
            return name.substr(0, name.size() - end.size());
    return {};
}

bool can_do_direct_io(const fs::path& folder) {
    const PartFile probe(folder / ".directio");
    const Fd file(
        open(probe.path().c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_DIRECT, 0600));
    return static_cast<bool>(file);
}

/// nova.privsep.fs names the base by a hash of the configured default, whatever the file system in
/// it is. Another file system gets a name of its own, which the cache manager of a nova-compute on
/// this host does not take for an unused base.
std::string filesystem_mark(const std::string& filesystem, const std::string& by_default) {
    if (filesystem != by_default)
        return filesystem;
    auto digest = Digest::create("md5");
    if (!digest)
        return filesystem; // an OpenSSL without md5: any stable name will do on this host
    digest->update(filesystem);
    return digest->finish().substr(0, 7);
}

std::vector<std::string> format_command(const std::string& filesystem, const fs::path& file) {
    if (filesystem == "swap")
        return {"mkswap", file.string()};
    std::vector<std::string> argv{"mkfs." + filesystem};
    if (filesystem == "ext2" || filesystem == "ext3" || filesystem == "ext4" ||
        filesystem == "ntfs")
        argv.emplace_back("-F"); // it is no block device, and that is right
    argv.emplace_back(filesystem == "vfat" || filesystem == "msdos" ? "-n" : "-L");
    argv.emplace_back("ephemeral0");
    argv.push_back(file.string());
    return argv;
}

} // namespace

std::string blank_base_name(std::uint64_t bytes,
                            const std::string& filesystem,
                            const std::string& default_format) {
    if (filesystem == "swap")
        return cat("swap_", bytes >> 20U);
    return cat("ephemeral_",
               bytes >> 30U,
               '_',
               filesystem_mark(filesystem, default_format.empty() ? "vfat" : default_format));
}

class ImageCache::Turn {
  public:
    Turn(ImageCache& cache, std::string name) : cache_(cache), name_(std::move(name)) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
        if (!held_)
            return;
        file_ = FileLock(); // first the file: who comes next in this process must find it free
        {
            const std::lock_guard lock(cache_.mutex_);
            cache_.busy_.erase(name_);
        }
        cache_.freed_.notify_all();
    }

    [[nodiscard]] Result<void> take(const std::stop_token& stop) {
        const auto deadline = Deadline::after(cache_.options_.patience);
        {
            std::unique_lock lock(cache_.mutex_);
            const bool free = cache_.freed_.wait_until(
                lock, stop, deadline.time(), [this] { return !cache_.busy_.contains(name_); });
            if (!free)
                return fail(stop.stop_requested() ? Code::Cancelled : Code::Timeout,
                            cat("gave up waiting for base file ", name_, ", which others make"));
            cache_.busy_.insert(name_);
            held_ = true;
        }
        NOVALET_ASSIGN(file_, FileLock::take(cache_.locks_ / ("nova-" + name_), stop, deadline));
        return {};
    }

  private:
    ImageCache& cache_;
    const std::string name_;
    bool held_ = false;
    FileLock file_;
};

/// One of the downloads that may run at once.
class ImageCache::DownloadPlace {
  public:
    explicit DownloadPlace(ImageCache& cache) : cache_(cache) {}
    DownloadPlace(const DownloadPlace&) = delete;
    DownloadPlace& operator=(const DownloadPlace&) = delete;
    ~DownloadPlace() {
        if (!held_)
            return;
        {
            const std::lock_guard lock(cache_.mutex_);
            --cache_.downloads_;
        }
        cache_.freed_.notify_all();
    }

    [[nodiscard]] Result<void> take(const std::stop_token& stop) {
        const unsigned most = cache_.options_.max_concurrent_downloads;
        const auto deadline = Deadline::after(cache_.options_.patience);
        std::unique_lock lock(cache_.mutex_);
        const bool free = cache_.freed_.wait_until(
            lock, stop, deadline.time(), [&] { return most == 0 || cache_.downloads_ < most; });
        if (!free)
            return fail(stop.stop_requested() ? Code::Cancelled : Code::Timeout,
                        cat("gave up waiting for one of ", most, " downloads to end"));
        ++cache_.downloads_;
        held_ = true;
        return {};
    }

  private:
    ImageCache& cache_;
    bool held_ = false;
};

ImageCache::ImageCache(CacheOptions options, ProcessRunner& processes)
    : options_(std::move(options)), folder_(options_.instances_path / options_.subdirectory),
      locks_(options_.instances_path / "locks"), processes_(processes),
      qemu_img_(processes, options_.qemu_img) {}

Result<void> ImageCache::prepare() {
    std::error_code error;
    for (const auto& folder : {options_.instances_path, folder_, locks_}) {
        fs::create_directories(folder, error);
        if (error)
            return fail(Code::Unavailable,
                        cat("folder ", folder.string(), " cannot be made: ", error.message()));
    }
    direct_io_ = can_do_direct_io(folder_);
    remove_unfinished();
    return {};
}

void ImageCache::remove_unfinished() const {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_, error)) {
        const std::string base = unfinished_base(entry.path().filename().string());
        if (base.empty())
            continue;
        // Whoever makes a base file holds its lock: it may be another host on shared storage.
        const auto lock = FileLock::try_take(locks_ / ("nova-" + base));
        if (!lock) {
            log::info("an unfinished image is left to who is at work on it",
                      {{"file", entry.path().string()}, {"reason", lock.error().text}});
            continue;
        }
        log::info("removing an unfinished image", {{"file", entry.path().string()}});
        std::error_code failed;
        fs::remove(entry.path(), failed);
        if (failed)
            log::warning("an unfinished image cannot be removed",
                         {{"file", entry.path().string()}, {"error", failed.message()}});
    }
}

Result<BaseImage> ImageCache::describe(const fs::path& path) const {
    const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file)
        return file_failure("open " + path.string());
    // Its own content decides, for bases that nova-compute made as well.
    const auto image = inspect_image(file.get(), "", path.filename().string(), options_.inspection);
    if (!image)
        return fail_as("InvalidDiskInfo",
                       image.error().code,
                       cat("Disk info file is invalid: Base image failed safety check: ",
                           image.error().text,
                           " (",
                           path.string(),
                           ")"));
    touch(path);
    return BaseImage{path, image->qemu_format, image->virtual_size};
}

Result<void> ImageCache::download(const ImageId& image,
                                  ImageSource& source,
                                  const fs::path& part,
                                  const std::stop_token& stop) {
    DownloadPlace place(*this);
    NOVALET_TRY(place.take(stop));
    log::info("fetching image", {{"image", image.str()}});
    metrics::counter("novalet_image_downloads_total", "Images fetched into the cache.").add();
    const Fd file(open(part.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!file)
        return file_failure("open " + part.string());
    return source.fetch(image, file.get());
}

Result<void> ImageCache::fetch(const ImageId& image,
                               ImageSource& source,
                               const fs::path& target,
                               const std::stop_token& stop) {
    NOVALET_ASSIGN(const auto claimed, source.disk_format(image));
    if (claimed.empty()) // an empty claim would switch the comparison off
        return fail_as("ImageUnacceptable",
                       Code::InvalidArgument,
                       cat("Image ", image.str(), " is unacceptable: it has no disk_format"));
    const PartFile part(target);
    NOVALET_ASSIGN(const auto file, part.create());
    NOVALET_TRY(download(image, source, part.path(), stop));
    NOVALET_ASSIGN(const auto inspected,
                   inspect_image(file.get(), claimed, image.str(), options_.inspection));
    if (inspected.qemu_format == "raw" ||
        (inspected.qemu_format == "qcow2" && !options_.force_raw_images))
        return part.keep_as(target);
    const PartFile converted(target);
    NOVALET_ASSIGN(const auto raw, converted.create());
    if (auto made = qemu_img_.convert(
            part.path(), inspected.qemu_format, converted.path(), "raw", direct_io_, stop);
        !made) {
        const Code code = made.error().code;
        if (code == Code::Cancelled || code == Code::ResourceExhausted || code == Code::NotFound)
            return made; // says something about this host, nothing about the image
        return fail_as("ImageUnacceptable",
                       code,
                       cat("Image ",
                           image.str(),
                           " is unacceptable: Unable to convert image to raw: ",
                           made.error().text));
    }
    // An image inside the image would be taken for the image by whoever looks at the content.
    NOVALET_ASSIGN(const auto result,
                   inspect_image(raw.get(), "", image.str(), options_.inspection));
    if (result.qemu_format != "raw")
        return fail_as("ImageUnacceptable",
                       Code::InvalidArgument,
                       cat("Image ",
                           image.str(),
                           " is unacceptable: Converted to raw, but format is now ",
                           result.format));
    return converted.keep_as(target);
}

fs::path ImageCache::base_path(const ImageId& image) const {
    return folder_ / sha1_hex(image.str());
}

fs::path ImageCache::blank_base_path(std::uint64_t bytes, const std::string& filesystem) const {
    return folder_ / blank_base_name(bytes, filesystem, options_.default_ephemeral_format);
}

Result<BaseImage>
ImageCache::base(const ImageId& image, ImageSource& source, const std::stop_token& stop) {
    const std::string name = sha1_hex(image.str());
    const auto path = folder_ / name;
    Turn turn(*this, name);
    NOVALET_TRY(turn.take(stop));
    std::error_code error;
    if (!fs::exists(path, error))
        NOVALET_TRY(fetch(image, source, path, stop));
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
        NOVALET_ASSIGN(const auto file, part.create());
        NOVALET_TRY(download(image, source, part.path(), stop));
        NOVALET_TRY(part.keep_as(path));
    }
    touch(path);
    const PartFile copy(target);
    fs::copy_file(path, copy.path(), error);
    if (error)
        return fail(error == std::errc::no_space_on_device ? Code::ResourceExhausted
                                                           : Code::Unavailable,
                    cat("copy of ", path.string(), " to ", target.string(), ": ", error.message()));
    return copy.keep_as(target);
}

Result<BaseImage> ImageCache::blank_base(std::uint64_t bytes,
                                         const std::string& filesystem,
                                         const std::stop_token& stop) {
    if (std::find(filesystems.begin(), filesystems.end(), filesystem) == filesystems.end())
        return fail_as("InvalidBDMFormat",
                       Code::InvalidArgument,
                       cat("Block Device Mapping is Invalid: guest_format '",
                           cut_utf8(filesystem, 64),
                           "' is not supported"));
    const std::string name = blank_base_name(bytes, filesystem, options_.default_ephemeral_format);
    const auto path = folder_ / name;
    Turn turn(*this, name);
    NOVALET_TRY(turn.take(stop));
    std::error_code error;
    if (!fs::exists(path, error)) {
        const PartFile part(path);
        NOVALET_TRY(qemu_img_.create(part.path(), "raw", bytes));
        ProcessRequest request;
        request.argv = format_command(filesystem, part.path());
        request.timeout = format_timeout;
        request.stop = stop;
        NOVALET_TRY(processes_.check(request));
        NOVALET_TRY(part.keep_as(path));
    }
    touch(path);
    return BaseImage{path, "raw", bytes};
}

} // namespace novalet::hypervisor::storage
