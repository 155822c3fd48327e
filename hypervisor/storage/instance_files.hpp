#pragma once
// The folder of one guest, in nova-compute's layout (reference 07 §3):
//   <instances_path>/<uuid>/disk, disk.eph0, disk.swap, disk.config, disk.info, console.log
#include "hypervisor/guest_spec.hpp"
#include "hypervisor/storage/disk_formats.hpp"
#include "hypervisor/storage/image_cache.hpp"

#include <filesystem>
#include <string>

namespace novalet::hypervisor::storage {

struct InstanceFilesOptions {
    std::filesystem::path instances_path = "/var/lib/nova/instances";
    bool copy_on_write = true; ///< qcow2 overlays; false = raw copies (images_type raw)
    /// preallocate_images=space: room for the whole disk is taken when it is made.
    bool preallocate = false;
    std::string config_drive_publisher = "OpenStack Nova";
    QemuImgLimits qemu_img;
};

/// Thread safe for different guests; calls for one guest are serialised by the caller. What is no
/// uuid or no name of a disk never becomes part of a path: InvalidArgument, or nothing is there.
class InstanceFiles {
  public:
    InstanceFiles(InstanceFilesOptions options, ImageCache& cache, ProcessRunner& processes);

    /// For a uuid that is one.
    [[nodiscard]] std::filesystem::path folder(const InstanceUuid& uuid) const;
    [[nodiscard]] bool exists(const InstanceUuid& uuid) const;

    /// Folder, disks, kernel and ramdisk, empty console log: what is missing of them.
    /// FlavorDiskSmallerThanImage when the root disk is too small for the image; InvalidDiskInfo
    /// when disk.info is damaged.
    [[nodiscard]] Result<void>
    create(const GuestSpec& guest, ImageSource& images, const std::stop_token& stop);
    /// disk.config; one that exists is kept.
    [[nodiscard]] Result<void> create_config_drive(const GuestSpec& guest);
    /// "raw" or "qcow2" of a disk as it was made, also by nova-compute; for one that was never
    /// noted what this host makes. InvalidDiskInfo when disk.info is damaged.
    [[nodiscard]] Result<std::string> format_of(const InstanceUuid& uuid,
                                                const std::string& file_name) const;
    /// Everything of the guest; ok when there is nothing.
    [[nodiscard]] Result<void> remove(const InstanceUuid& uuid);
    /// Last bytes of console.log over its rotated files, at most 100 KiB.
    [[nodiscard]] Result<std::string> console_tail(const InstanceUuid& uuid) const;
    /// Bytes that the disks of this folder may still grow by (for disk_available_least).
    [[nodiscard]] std::uint64_t growth(const InstanceUuid& uuid) const;

  private:
    [[nodiscard]] Result<std::filesystem::path> checked_folder(const InstanceUuid& uuid) const;
    [[nodiscard]] Result<BaseImage> base_of(const GuestSpec& guest,
                                            const DiskSpec& disk,
                                            ImageSource& images,
                                            const std::stop_token& stop);
    [[nodiscard]] Result<void> create_disk(const GuestSpec& guest,
                                           const DiskSpec& disk,
                                           ImageSource& images,
                                           const std::stop_token& stop);
    [[nodiscard]] Result<void> copy_raw(const BaseImage& base,
                                        const std::filesystem::path& disk,
                                        std::uint64_t bytes,
                                        const std::stop_token& stop);
    [[nodiscard]] std::string usual_format(const std::string& file_name) const;

    const InstanceFilesOptions options_;
    ImageCache& cache_;
    ProcessRunner& processes_;
    QemuImg qemu_img_;
};

} // namespace novalet::hypervisor::storage
