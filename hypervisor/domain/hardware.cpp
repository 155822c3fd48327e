#include "hypervisor/domain/hardware.hpp"

#include "hypervisor/domain/build_parts.hpp"

#include <algorithm>
#include <filesystem>

namespace novalet::hypervisor::domain {
namespace {

bool is_x86(const std::string& arch) {
    return arch == "x86_64" || arch == "i686";
}

const LiveDomain::LiveDisk* disk_of(const LiveDomain& before, const std::string& file_name) {
    const auto found =
        std::find_if(before.disks.begin(), before.disks.end(), [&](const auto& disk) {
            return std::filesystem::path(disk.source).filename() == file_name;
        });
    return found == before.disks.end() ? nullptr : &*found;
}

} // namespace

std::string
cdrom_bus_of(const Wishes& wishes, const std::string& arch, const std::string& machine) {
    if (const auto wished = wishes.image("hw_cdrom_bus"); !wished.empty())
        return wished;
    if (!is_x86(arch))
        return "scsi";
    return machine.find("q35") != std::string::npos ? "sata" : "ide";
}

std::string
video_model_of(const Wishes& wishes, const std::string& arch, const DomainOptions& options) {
    if (const auto wished = wishes.image("hw_video_model"); !wished.empty())
        return wished;
    if (!options.video_model.empty())
        return options.video_model;
    if (is_x86(arch) && options.spice)
        return "qxl";
    return arch.starts_with("ppc") ? "vga" : "virtio";
}

bool has_tablet(const Wishes& wishes, const DomainOptions& options) {
    const bool wanted = !wishes.image("hw_input_bus").empty() ||
                        !wishes.image("hw_pointer_model").empty() || options.pointer_tablet;
    const bool spice_mouse = options.spice && options.spice_agent && !options.vnc;
    return wanted && !spice_mouse;
}

std::map<std::string, std::string> hardware_of(const GuestSpec& guest,
                                               const DomainOptions& options) {
    const Wishes wishes(guest);
    const auto arch = architecture_of(guest, options);
    const auto machine = machine_type_of(guest, options);
    std::map<std::string, std::string> out{
        {"hw_machine_type", machine},
        {"hw_cdrom_bus", cdrom_bus_of(wishes, arch, machine)},
        {"hw_disk_bus", wishes.image("hw_disk_bus", "virtio")},
        {"hw_video_model", video_model_of(wishes, arch, options)},
        {"hw_vif_model", wishes.image("hw_vif_model", "virtio")},
    };
    if (has_tablet(wishes, options)) {
        out.emplace("hw_input_bus", wishes.image("hw_input_bus", "usb"));
        out.emplace("hw_pointer_model", "usbtablet");
    }
    return out;
}

void keep_hardware(const LiveDomain& before, GuestSpec& guest, DomainOptions& options) {
    // A definition of another name could not take this one's place.
    if (!before.name.empty())
        guest.name = before.name;
    const auto& known = options.machines;
    const auto alias = options.canonical_machines.find(machine_type_of(guest, options));
    const bool same = alias != options.canonical_machines.end() && alias->second == before.machine;
    if (!before.machine.empty() && !same &&
        (known.empty() || std::find(known.begin(), known.end(), before.machine) != known.end()))
        options.machine_types[architecture_of(guest, options)] = before.machine;
    if (before.has_graphics) {
        options.video_model = before.video_model;
        options.pointer_tablet = before.has_tablet;
    }
    for (auto& disk : guest.disks)
        if (const auto* was = disk_of(before, disk.file_name); was != nullptr && disk.bus.empty()) {
            disk.bus = was->bus;
            disk.device_name = was->target;
        }
    if (!guest.config_drive)
        return;
    const auto* was = disk_of(before, "disk.config");
    if (was != nullptr && (was->device != "cdrom") == guest.config_drive->vfat) {
        guest.config_drive->bus = was->bus;
        guest.config_drive->device_name = was->target;
    }
}

} // namespace novalet::hypervisor::domain
