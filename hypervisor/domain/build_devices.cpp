// Disks, interfaces and the rest of a guest's devices (reference 07 §2.2, §5).
#include "agent/core/text.hpp"
#include "hypervisor/domain/build_parts.hpp"

#include <algorithm>
#include <array>

namespace novalet::hypervisor::domain {
namespace {

constexpr std::size_t device_name_length = 14;

std::string prefix_of(const std::string& bus) {
    if (bus == "virtio")
        return "vd";
    if (bus == "ide")
        return "hd";
    return bus == "fdc" ? "fd" : "sd"; // scsi, sata, usb
}

/// First name of the bus that no disk has.
Result<std::string> free_name(const std::vector<Disk>& disks, const std::string& bus) {
    for (char letter = 'a'; letter <= 'z'; ++letter) {
        const auto name = prefix_of(bus) + letter;
        if (std::none_of(
                disks.begin(), disks.end(), [&](const Disk& disk) { return disk.target == name; }))
            return name;
    }
    return fail_as("TooManyDiskDevices",
                   Code::ResourceExhausted,
                   cat("no free device name on bus ", bus, " for one more disk"));
}

/// Numbers of the flavor's extra specs quota:PREFIX…, only the names that libvirt knows.
template <std::size_t Count>
Result<NamedNumbers> quota(const Building& building,
                           const std::string& prefix,
                           const std::array<const char*, Count>& names) {
    NamedNumbers out;
    for (const char* name : names) {
        NOVALET_ASSIGN(const auto value,
                       building.wishes.flavor_number(cat("quota:", prefix, name)));
        if (value)
            out.emplace_back(name, *value);
    }
    return out;
}

Result<NamedNumbers> disk_quota(const Building& building) {
    constexpr std::array names{"read_bytes_sec",
                               "read_iops_sec",
                               "write_bytes_sec",
                               "write_iops_sec",
                               "total_bytes_sec",
                               "total_iops_sec"};
    return quota(building, "disk_", names);
}

std::string disk_bus(const Wishes& wishes) {
    return wishes.image("hw_disk_bus", "virtio");
}

std::string cdrom_bus(const Building& building) {
    return cdrom_bus_of(building.wishes, building.domain.arch, building.domain.machine);
}

/// With virtio-scsi each disk of that bus gets its own place on controller 0.
void place_on_scsi(Domain& domain, Disk& disk) {
    if (disk.bus != "scsi" || domain.scsi_model != "virtio-scsi")
        return;
    unsigned next = 0;
    for (const auto& other : domain.disks)
        if (other.scsi_unit)
            next = std::max(next, *other.scsi_unit + 1);
    disk.scsi_unit = next;
}

Disk file_disk(const Building& building, const std::string& name, const std::string& format) {
    Disk disk;
    disk.format = format;
    disk.cache = building.options.disk_cache;
    disk.discard = building.options.disk_discard;
    disk.file = building.folder + name;
    return disk;
}

Result<void> add_config_drive(Building& building, const NamedNumbers& iotune) {
    const auto& wanted = *building.guest.config_drive;
    auto& domain = building.domain;
    Disk drive = file_disk(building, "disk.config", "raw");
    drive.device = wanted.vfat ? "disk" : "cdrom";
    drive.bus = wanted.bus;
    if (drive.bus.empty())
        drive.bus = wanted.vfat ? disk_bus(building.wishes) : cdrom_bus(building);
    drive.iotune = iotune;
    drive.target = wanted.device_name;
    if (drive.target.empty()) {
        NOVALET_ASSIGN(drive.target, free_name(domain.disks, drive.bus));
    }
    place_on_scsi(domain, drive);
    domain.disks.push_back(std::move(drive));
    return {};
}

Failure unknown_vif(const InterfaceSpec& spec) {
    return fail_as("InternalError",
                   Code::Unsupported,
                   cat("Unexpected vif_type=",
                       spec.vif_type,
                       " (vnic_type ",
                       spec.vnic_type,
                       ") of port ",
                       spec.port.str(),
                       "; this agent plugs bridge, ovs, tap and vhostuser of vnic_type normal"));
}

std::string ovs_device(const char* prefix, const InterfaceSpec& spec) {
    return (prefix + spec.port.str()).substr(0, device_name_length);
}

/// Where the interface ends on the host, by VIF type.
Result<void> set_backend(Interface& out, const InterfaceSpec& spec, const Building& building) {
    const auto& details = spec.vif["details"];
    out.target = spec.device;
    if (spec.vnic_type != "normal" && !spec.vnic_type.empty())
        return unknown_vif(spec);
    if (spec.vif_type == "bridge") {
        out.type = "bridge";
        out.bridge = spec.bridge;
    } else if (spec.vif_type == "ovs" && details["ovs_hybrid_plug"].as_bool()) {
        out.type = "bridge";
        out.bridge = ovs_device("qbr", spec);
    } else if (spec.vif_type == "ovs" && !spec.vif["delegate_create"].as_bool()) {
        out.type = "bridge"; // libvirt makes the port, as for guests of old
        out.bridge = spec.bridge;
        out.ovs_interface_id = spec.port.str();
    } else if (spec.vif_type == "ovs") {
        out.type = "ethernet";
    } else if (spec.vif_type == "tap") {
        out.type = "ethernet";
        out.unmanaged_target = building.options.style.unmanaged_taps;
    } else if (spec.vif_type == "vhostuser") {
        out.type = "vhostuser";
        out.socket_path = details["vhostuser_socket"].as_string();
        out.socket_mode = details["vhostuser_mode"].as_string("server");
        out.target.clear();
    } else {
        return unknown_vif(spec);
    }
    return {};
}

/// Driver and queues; they mean something for virtio alone.
void set_driver(Interface& out, const Building& building) {
    if (out.model != "virtio")
        return;
    const auto& options = building.options;
    if (options.virt_type == "qemu") {
        out.driver = "qemu"; // libvirt would take vhost, which needs KVM
    } else if (building.wishes.either_flag("vif_multiqueue_enabled").value_or(false)) {
        out.driver = "vhost";
        out.queues = building.guest.flavor.vcpus;
        if (options.max_queues > 0)
            out.queues = std::min(out.queues, options.max_queues);
    }
    if (options.style.packed_rings) {
        auto wish = to_bool(building.wishes.flavor("hw:virtio_packed_ring"));
        out.packed = wish.value_or(building.wishes.image_flag("hw_virtio_packed_ring"));
        if (out.packed && out.driver.empty())
            out.driver = "vhost";
    }
    if (options.rx_queue_size > 0 && out.driver != "qemu") {
        out.driver = "vhost";
        out.rx_queue_size = options.rx_queue_size;
    }
    if (out.type == "vhostuser") { // has a backend of its own
        out.driver.clear();
        out.tx_queue_size = options.tx_queue_size;
    }
}

Result<Interface> interface_of(const InterfaceSpec& spec, const Building& building) {
    Interface out;
    out.mac = spec.mac;
    out.model = building.wishes.image("hw_vif_model", "virtio");
    out.mtu = spec.mtu;
    NOVALET_TRY(set_backend(out, spec, building));
    set_driver(out, building);
    if (out.type == "vhostuser")
        return out;
    constexpr std::array names{"average", "peak", "burst"};
    NOVALET_ASSIGN(out.inbound, quota(building, "vif_inbound_", names));
    NOVALET_ASSIGN(out.outbound, quota(building, "vif_outbound_", names));
    for (const auto& [direction, values] :
         {std::pair{"inbound", &out.inbound}, std::pair{"outbound", &out.outbound}})
        if (!values->empty() && values->front().first != "average") // libvirt's own words are dark
            return fail_as("InvalidInput",
                           Code::InvalidArgument,
                           cat("Invalid input received: flavor extra spec quota:vif_",
                               direction,
                               '_',
                               values->front().first,
                               " needs quota:vif_",
                               direction,
                               "_average beside it"));
    return out;
}

Result<void> add_video(Building& building) {
    const auto& options = building.options;
    const auto wished = building.wishes.image("hw_video_model");
    const auto& known = options.video_models;
    if (!wished.empty() && !known.empty() &&
        std::find(known.begin(), known.end(), wished) == known.end())
        return fail_as("InvalidVideoMode",
                       Code::InvalidArgument,
                       cat("Provided video model (",
                           wished,
                           ") is not supported. This host has ",
                           join(known, ", ")));
    Video video{video_model_of(building.wishes, building.domain.arch, options), 0};
    const auto megabytes = [](const std::string& text) {
        return to_number<std::uint64_t>(text).value_or(0);
    };
    const auto ram = megabytes(building.wishes.image("hw_video_ram"));
    const auto most = megabytes(building.wishes.flavor("hw_video:ram_max_mb"));
    if (ram > most)
        return fail_as("RequestedVRamTooHigh",
                       Code::InvalidArgument,
                       cat("The requested amount of video memory ",
                           ram,
                           " is higher than the maximum allowed by flavor ",
                           most,
                           "."));
    video.vram_kib = ram << 10U;
    building.domain.video = std::move(video);
    return {};
}

void add_inputs(Building& building) {
    const auto& options = building.options;
    auto& inputs = building.domain.inputs;
    const auto bus = building.wishes.image("hw_input_bus");
    if (has_tablet(building.wishes, options))
        inputs.push_back({"tablet", bus.empty() ? "usb" : bus});
    if (!bus.empty() || building.domain.arch == "aarch64") // others have a PS/2 keyboard
        inputs.push_back({"keyboard", bus.empty() ? "usb" : bus});
}

Result<void> add_rng(Building& building) {
    const auto& wishes = building.wishes;
    if (!to_bool(wishes.flavor("hw_rng:allowed")).value_or(true) ||
        building.options.rng_device.empty())
        return {};
    RandomSource rng{building.options.rng_device, 0, 0};
    for (const auto& [key, value] : {std::pair{"hw_rng:rate_bytes", &rng.rate_bytes},
                                     {"hw_rng:rate_period", &rng.rate_period}}) {
        NOVALET_ASSIGN(const auto number, wishes.flavor_number(key));
        *value = number.value_or(*value);
    }
    building.domain.rng = std::move(rng);
    return {};
}

Result<void> add_watchdog(Building& building) {
    const auto action = building.wishes.image(
        "hw_watchdog_action", building.wishes.flavor("hw:watchdog_action", "disabled"));
    if (action == "disabled")
        return {};
    constexpr std::array<std::string_view, 4> known{"none", "pause", "poweroff", "reset"};
    if (std::find(known.begin(), known.end(), action) == known.end())
        return fail_as("InvalidWatchdogAction",
                       Code::InvalidArgument,
                       cat("Provided watchdog action (", action, ") is not supported."));
    building.domain.watchdog = action;
    return {};
}

bool needs_usb(const Building& building) {
    const auto& domain = building.domain;
    return domain.arch.starts_with("ppc64") ||
           std::any_of(domain.disks.begin(),
                       domain.disks.end(),
                       [](const Disk& disk) { return disk.bus == "usb"; }) ||
           std::any_of(domain.inputs.begin(), domain.inputs.end(), [](const Input& input) {
               return input.bus == "usb";
           });
}

} // namespace

Result<void> add_disks(Building& building) {
    auto& domain = building.domain;
    domain.scsi_model = building.wishes.image("hw_scsi_model");
    NOVALET_ASSIGN(const auto iotune, disk_quota(building));
    const bool iso = building.guest.image.disk_format == "iso";
    std::vector<std::pair<int, std::string>> boot;
    for (const auto& spec : building.guest.disks) {
        // A wrong format would let QEMU take what a guest wrote for a header: it is never guessed.
        if (spec.format != "raw" && spec.format != "qcow2")
            return fail_as("InvalidDiskInfo",
                           Code::Internal,
                           cat("Disk info file is invalid: the format of ",
                               building.folder,
                               spec.file_name,
                               " is '",
                               cut_utf8(spec.format, 64),
                               "', neither raw nor qcow2"));
        Disk disk = file_disk(building, spec.file_name, spec.format);
        const bool cdrom = iso && spec.source == DiskSource::Image;
        if (cdrom)
            disk.device = "cdrom";
        disk.bus = spec.bus;
        if (disk.bus.empty())
            disk.bus = cdrom ? cdrom_bus(building) : disk_bus(building.wishes);
        disk.target = spec.device_name.substr(spec.device_name.rfind('/') + 1);
        if (disk.target.empty()) {
            NOVALET_ASSIGN(disk.target, free_name(domain.disks, disk.bus));
        }
        disk.iotune = iotune;
        place_on_scsi(domain, disk);
        if (spec.boot_index && *spec.boot_index >= 0)
            boot.emplace_back(*spec.boot_index, cdrom ? "cdrom" : "hd");
        domain.disks.push_back(std::move(disk));
    }
    if (building.guest.config_drive)
        NOVALET_TRY(add_config_drive(building, iotune));
    std::stable_sort(
        boot.begin(), boot.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    if (boot.empty())
        boot.emplace_back(0, "hd");
    if (domain.kernel.empty())
        for (const auto& [index, device] : boot)
            if (std::find(domain.boot.begin(), domain.boot.end(), device) == domain.boot.end())
                domain.boot.push_back(device);
    return {};
}

Result<void> add_interfaces(Building& building) {
    for (const auto& spec : building.guest.interfaces) {
        NOVALET_ASSIGN(auto interface, interface_of(spec, building));
        building.domain.interfaces.push_back(std::move(interface));
    }
    return {};
}

Result<void> add_periphery(Building& building) {
    auto& domain = building.domain;
    const auto& options = building.options;
    domain.console_log = building.folder + "console.log";
    domain.spice_channel = options.spice && options.spice_agent;
    if (options.vnc)
        domain.graphics.push_back({"vnc", options.vnc_listen});
    if (options.spice)
        domain.graphics.push_back({"spice", options.spice_listen});
    if (!domain.graphics.empty()) {
        NOVALET_TRY(add_video(building));
        add_inputs(building);
    }
    if (building.wishes.image_flag("hw_qemu_guest_agent"))
        domain.agent_channel =
            cat("/var/lib/libvirt/qemu/org.qemu.guest_agent.0.", domain.name, ".sock");
    NOVALET_TRY(add_rng(building));
    if (building.q35() || domain.machine.starts_with("virt"))
        domain.pcie_ports = options.pcie_ports;
    domain.usb = needs_usb(building);
    NOVALET_TRY(add_watchdog(building));
    if (options.balloon_period > 0)
        domain.balloon = Balloon{options.balloon_period, options.style.balloon_gives_back};
    return {};
}

} // namespace novalet::hypervisor::domain
