#pragma once
// The folder of one guest, in nova-compute's layout (reference 07 §3):
//   <instances_path>/<uuid>/disk, disk.eph0, disk.swap, disk.config, disk.info, console.log
#include "hypervisor/guest_spec.hpp"
#include "hypervisor/storage/image_cache.hpp"

#include <filesystem>
#include <string>

namespace novalet::hypervisor::storage {

struct InstanceFilesOptions {
    std::filesystem::path instances_path = "/var/lib/nova/instances";
    bool copy_on_write = true; ///< qcow2 overlays; false = raw copies (images_type raw)
    std::string config_drive_publisher = "OpenStack Nova";
};

/// Thread safe for different guests; calls for one guest are serialised by the caller.
class InstanceFiles {
  public:
    InstanceFiles(InstanceFilesOptions options, ImageCache& cache, ProcessRunner& processes);

    [[nodiscard]] std::filesystem::path folder(const InstanceUuid& uuid) const;
    [[nodiscard]] bool exists(const InstanceUuid& uuid) const;

    /// Folder, disks, kernel and ramdisk, empty console log: what is missing of them.
    /// FlavorDiskSmallerThanImage when the root disk is too small for the image.
    [[nodiscard]] Result<void>
    create(const GuestSpec& guest, ImageSource& images, const std::stop_token& stop);
    /// disk.config; one that exists is kept.
    [[nodiscard]] Result<void> create_config_drive(const GuestSpec& guest);
    /// Everything of the guest; ok when there is nothing.
    [[nodiscard]] Result<void> remove(const InstanceUuid& uuid);
    /// Last bytes of console.log over its rotated files, at most 100 KiB.
    [[nodiscard]] Result<std::string> console_tail(const InstanceUuid& uuid) const;
    /// Bytes that the disks of this folder may still grow by (for disk_available_least).
    [[nodiscard]] std::uint64_t growth(const InstanceUuid& uuid) const;

  private:
    [[nodiscard]] Result<void> create_disk(const GuestSpec& guest,
                                           const DiskSpec& disk,
                                           ImageSource& images,
                                           const std::stop_token& stop);
    [[nodiscard]] Result<void> note_format(const std::filesystem::path& disk,
                                           const std::string& format);

    const InstanceFilesOptions options_;
    ImageCache& cache_;
    ProcessRunner& processes_;
    QemuImg qemu_img_;
};

} // namespace novalet::hypervisor::storage
