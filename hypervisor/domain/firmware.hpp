#pragma once
// UEFI firmware that the packages of this host offer, from QEMU's firmware descriptors
// (/etc/qemu/firmware, /usr/share/qemu/firmware; QEMU docs/interop/firmware.json).
#include "agent/core/result.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace novalet::hypervisor::domain {

struct FirmwareDescriptor {
    std::string file; ///< name of the descriptor
    std::string loader;
    std::string nvram_template;
    struct Target {
        std::string architecture;
        std::vector<std::string> machines; ///< patterns: "pc-q35-*"
    };
    std::vector<Target> targets;
    std::vector<std::string> features; ///< secure-boot, requires-smm …
    [[nodiscard]] bool has(std::string_view feature) const noexcept;
};

/// UEFI descriptors of all folders, by file name; a file of an earlier folder hides one of the same
/// name in a later folder (an empty file only hides). Broken files are logged and left out.
[[nodiscard]] std::vector<FirmwareDescriptor>
read_firmware(const std::vector<std::filesystem::path>& folders = {"/etc/qemu/firmware",
                                                                   "/usr/share/qemu/firmware"});

/// The first that serves this architecture and canonical machine type, with secure boot or without
/// it; null when there is none.
[[nodiscard]] const FirmwareDescriptor*
choose_firmware(const std::vector<FirmwareDescriptor>& known,
                const std::string& architecture,
                const std::string& machine,
                bool secure_boot);

} // namespace novalet::hypervisor::domain
