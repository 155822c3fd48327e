#pragma once
// Base images below <instances_path>/_base, shared by the guests of the host (reference 07 §3.1).
//   _base/<sha1 of the image id>            raw (or as it came), complete and inspected
//   _base/<…>.part-<random>                 being downloaded or converted; removed at start
//   _base/ephemeral_<GiB>_<mark>, swap_<MiB>  bases of ephemeral and swap disks; <mark> is Nova's
//                                           hash for the default file system, else its name
//   locks/nova-<name of the base file>      fcntl locks, the same as nova-compute's
#include "hypervisor/hypervisor.hpp"
#include "hypervisor/storage/image_inspector.hpp"
#include "hypervisor/storage/qemu_img.hpp"

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <set>
#include <stop_token>

namespace novalet::hypervisor::storage {

struct BaseImage {
    std::filesystem::path path;
    std::string format;             ///< raw, or qcow2 when images are not converted
    std::uint64_t virtual_size = 0; ///< bytes
};

struct CacheOptions {
    std::filesystem::path instances_path = "/var/lib/nova/instances";
    std::string subdirectory = "_base";
    bool force_raw_images = true;
    /// File system of ephemeral disks for which nobody names one; empty = vfat, as in Nova.
    std::string default_ephemeral_format;
    unsigned max_concurrent_downloads = 4; ///< of different images; 0 = unlimited
    InspectionRules inspection;
    QemuImgLimits qemu_img;
    /// How long a build waits for another one, or another process, that makes the same base file.
    Seconds patience{7200};
};

/// Name below _base of the base of a blank disk: "swap_<MiB>" for file system "swap", else
/// "ephemeral_<GiB>_<mark>". `default_format`: of CacheOptions.
[[nodiscard]] std::string blank_base_name(std::uint64_t bytes,
                                          const std::string& filesystem,
                                          const std::string& default_format);

/// Thread safe. However many builds want an image, it is fetched once; the others wait. A download
/// that fails or is stopped leaves nothing behind, and the next one that waits tries for itself:
/// its user may be allowed what the first one was not.
/// Waits end with Cancelled when the token says so, with Timeout when the patience is used up.
class ImageCache {
  public:
    ImageCache(CacheOptions options, ProcessRunner& processes);

    /// Makes the folders and removes what a crash left half done (not what another host that shares
    /// the folder is at work on). Once, before any other call.
    [[nodiscard]] Result<void> prepare();

    /// The base of an image, fetched, inspected and converted when it is not there yet. The content
    /// of an existing one is inspected again: rules grow. ImageUnacceptable, InvalidDiskInfo (an
    /// existing base that is not safe), or what the source says.
    [[nodiscard]] Result<BaseImage>
    base(const ImageId& image, ImageSource& source, const std::stop_token& stop);
    /// Where base() and blank_base() put theirs; nothing is made.
    [[nodiscard]] std::filesystem::path base_path(const ImageId& image) const;
    [[nodiscard]] std::filesystem::path blank_base_path(std::uint64_t bytes,
                                                        const std::string& filesystem) const;
    /// The plain file of a kernel or ramdisk image, copied to `target`, all or nothing.
    [[nodiscard]] Result<void> copy_plain(const ImageId& image,
                                          ImageSource& source,
                                          const std::filesystem::path& target,
                                          const std::stop_token& stop);
    /// Base of a blank file system (ext2, ext3, ext4, xfs, btrfs, vfat, msdos, ntfs; label
    /// ephemeral0), or of a swap area (`filesystem` "swap"). InvalidBDMFormat for others: the name
    /// comes from the user.
    [[nodiscard]] Result<BaseImage>
    blank_base(std::uint64_t bytes, const std::string& filesystem, const std::stop_token& stop);
    /// True when the file system below instances_path can do without the page cache.
    [[nodiscard]] bool direct_io() const noexcept { return direct_io_; }

  private:
    /// Holds the right to make one base file: in this process and, as nova-compute does, by an
    /// fcntl lock below <instances_path>/locks.
    class Turn;
    class DownloadPlace;
    [[nodiscard]] Result<void> download(const ImageId& image,
                                        ImageSource& source,
                                        const std::filesystem::path& part,
                                        const std::stop_token& stop);
    [[nodiscard]] Result<void> fetch(const ImageId& image,
                                     ImageSource& source,
                                     const std::filesystem::path& target,
                                     const std::stop_token& stop);
    [[nodiscard]] Result<BaseImage> describe(const std::filesystem::path& path) const;
    void remove_unfinished() const;

    const CacheOptions options_;
    const std::filesystem::path folder_;
    const std::filesystem::path locks_;
    ProcessRunner& processes_;
    QemuImg qemu_img_;
    bool direct_io_ = false; ///< set by prepare()
    std::mutex mutex_;
    std::condition_variable_any freed_;
    std::set<std::string> busy_; ///< names being made
    unsigned downloads_ = 0;     ///< running now
};

} // namespace novalet::hypervisor::storage
