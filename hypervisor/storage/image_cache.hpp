#pragma once
// Base images below <instances_path>/_base, shared by the guests of the host (reference 07 §3.1).
//   _base/<sha1 of the image id>            raw (or as it came), complete and inspected
//   _base/<…>.part-<random>                 being downloaded or converted; removed at start
//   _base/ephemeral_<GB>_<fs>, swap_<MB>    bases of ephemeral and swap disks
#include "hypervisor/hypervisor.hpp"
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
};

/// Thread safe. However many builds want an image, it is fetched once; the others wait.
class ImageCache {
  public:
    ImageCache(CacheOptions options, ProcessRunner& processes);

    /// Makes the folders and removes what a crash left half done. Once, before any other call.
    [[nodiscard]] Result<void> prepare();

    /// The base of an image, fetched, inspected and converted when it is not there yet.
    [[nodiscard]] Result<BaseImage>
    base(const ImageId& image, ImageSource& source, const std::stop_token& stop);
    /// The plain file of a kernel or ramdisk image, copied to `target`.
    [[nodiscard]] Result<void> copy_plain(const ImageId& image,
                                          ImageSource& source,
                                          const std::filesystem::path& target,
                                          const std::stop_token& stop);
    /// Base of a blank file system, or of a swap area (`filesystem` "swap").
    [[nodiscard]] Result<BaseImage>
    blank_base(std::uint64_t bytes, const std::string& filesystem, const std::stop_token& stop);

  private:
    /// Holds the right to make one base file: in this process and, as nova-compute does, by an
    /// fcntl lock below <instances_path>/locks.
    class Turn;
    [[nodiscard]] Result<void>
    fetch(const ImageId& image, ImageSource& source, const std::filesystem::path& target);
    [[nodiscard]] Result<BaseImage> describe(const std::filesystem::path& path) const;

    const CacheOptions options_;
    const std::filesystem::path folder_;
    ProcessRunner& processes_;
    QemuImg qemu_img_;
    std::mutex mutex_;
    std::condition_variable_any freed_;
    std::set<std::string> busy_; ///< names being made
};

} // namespace novalet::hypervisor::storage
