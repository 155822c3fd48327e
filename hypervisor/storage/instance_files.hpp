#pragma once
// The folder of one guest, in nova-compute's layout (reference 07 §3):
//   <instances_path>/<uuid>/disk, disk.eph0, disk.swap, disk.config, disk.info, console.log
//   <instances_path>/<uuid>/novalet.building   while it is being built: the host that builds it
//   <instances_path>/<uuid>_del                being removed
#include "agent/core/clock.hpp"
#include "hypervisor/guest_spec.hpp"
#include "hypervisor/storage/disk_formats.hpp"
#include "hypervisor/storage/image_cache.hpp"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace novalet::hypervisor::storage {

struct InstanceFilesOptions {
    std::filesystem::path instances_path = "/var/lib/nova/instances";
    bool copy_on_write = true; ///< qcow2 overlays; false = raw copies (images_type raw)
    /// preallocate_images=space: room for the whole disk is taken when it is made.
    bool preallocate = false;
    std::string config_drive_publisher = "OpenStack Nova";
    std::string host; ///< whose claims on folders are ours
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
    /// disk.config; one that exists is kept. DiskNotFound when it has to be made and what it is to
    /// hold is not said.
    [[nodiscard]] Result<void> create_config_drive(const GuestSpec& guest);
    /// Before a guest that exists is started: its disks and its config drive are there, and so is
    /// the base file that each overlay names in its header. What can be had again is (`images` may
    /// be null: then no image can): a base file, a swap disk, kernel and ramdisk. What held data
    /// cannot: DiskNotFound names the file.
    [[nodiscard]] Result<void>
    complete(const GuestSpec& guest, ImageSource* images, const std::stop_token& stop);

    /// "raw" or "qcow2" of a disk as it was made, also by nova-compute; what this host makes when
    /// there is no such disk yet. InvalidDiskInfo when disk.info is damaged, or when a disk that it
    /// does not know begins as qcow2 does: then nothing here tells an overlay from a raw disk into
    /// which a guest wrote such a header, and the operator has to note it.
    [[nodiscard]] Result<std::string> format_of(const InstanceUuid& uuid,
                                                const std::string& file_name) const;
    /// Notes in disk.info the formats of the guest's disks that it does not know. `defined`: the
    /// formats of the guest's domain by file name, which its host wrote down as well.
    [[nodiscard]] Result<void> note_formats(const GuestSpec& guest,
                                            const std::map<std::string, std::string>& defined);
    /// Of the config drive that is there; none when there is none.
    [[nodiscard]] std::optional<bool> config_drive_is_vfat(const InstanceUuid& uuid) const;

    /// Makes the folder of a guest that is to be built. True: it is this host's, made now or by an
    /// attempt of this host that did not end. False: it was there before, and may be another
    /// host's guest on shared storage. The mark of it is a file, so that it outlives this process.
    [[nodiscard]] Result<bool> claim(const InstanceUuid& uuid);
    /// The build is done: the folder is the guest's like any other.
    [[nodiscard]] Result<void> release(const InstanceUuid& uuid);
    /// Folders of guests below instances_path, half removed ones too.
    struct Folder {
        InstanceUuid uuid;
        std::filesystem::path path;
        bool claimed = false; ///< this host began to build the guest and did not end
        WallTime changed{};   ///< when a file was made or written last
    };
    [[nodiscard]] Result<std::vector<Folder>> folders() const;

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
                                            ImageSource* images,
                                            const std::stop_token& stop);
    [[nodiscard]] Result<void> ensure_base(const GuestSpec& guest,
                                           const DiskSpec& disk,
                                           ImageSource* images,
                                           const std::stop_token& stop);
    [[nodiscard]] Result<void> create_disk(const GuestSpec& guest,
                                           const DiskSpec& disk,
                                           ImageSource* images,
                                           const std::stop_token& stop);
    [[nodiscard]] Result<void>
    create_boot_files(const GuestSpec& guest, ImageSource& images, const std::stop_token& stop);
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
