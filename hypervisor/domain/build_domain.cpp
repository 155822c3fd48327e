#include "hypervisor/domain/build_domain.hpp"

#include "agent/core/clock.hpp"
#include "agent/core/text.hpp"
#include "scheduler_hooks/model/flavor_image.hpp"
#include "scheduler_hooks/model/virt_cpu_topology.hpp"

#include <algorithm>
#include <array>

namespace novalet::hypervisor::domain {
namespace {

namespace model = scheduler_hooks::model;

/// Looks into the image property and the flavor extra spec of one thing.
class Wishes {
  public:
    explicit Wishes(const GuestSpec& guest) : guest_(guest) {}
    [[nodiscard]] std::string image(const std::string& key,
                                    const std::string& fallback = {}) const {
        const auto found = guest_.image.properties.find(key);
        return found == guest_.image.properties.end() ? fallback : found->second;
    }
    [[nodiscard]] std::string flavor(const std::string& key) const {
        const auto found = guest_.flavor.extra_specs.find(key);
        return found == guest_.flavor.extra_specs.end() ? std::string() : found->second;
    }
    [[nodiscard]] bool image_flag(const std::string& key) const {
        return to_bool(image(key)).value_or(false);
    }

  private:
    const GuestSpec& guest_;
};

Metadata metadata_of(const GuestSpec& guest) {
    Metadata metadata;
    metadata.package_version = guest.nova_package_version;
    metadata.name = guest.display_name;
    metadata.creation_time = to_utc_text(system_clock().wall());
    metadata.flavor_name = guest.flavor.name;
    metadata.memory_mib = guest.flavor.memory_mib;
    metadata.disk_gib = guest.flavor.root_gib;
    metadata.swap_mib = guest.flavor.swap_mib;
    metadata.ephemeral_gib = guest.flavor.ephemeral_gib;
    metadata.vcpus = guest.flavor.vcpus;
    metadata.user_name = guest.user_name;
    metadata.user_id = guest.user_id;
    metadata.project_name = guest.project_name;
    metadata.project_id = guest.project_id;
    metadata.root_type = "image";
    metadata.root_id = guest.image.id;
    for (const auto& interface : guest.interfaces) {
        Metadata::Port port{interface.port.str(), {}};
        for (const auto& subnet : interface.vif["network"]["subnets"].items())
            for (const auto& ip : subnet["ips"].items())
                port.ips.push_back({ip["type"].as_string("fixed"),
                                    ip["address"].as_string(),
                                    static_cast<int>(ip["version"].as_int(4))});
        metadata.ports.push_back(std::move(port));
    }
    return metadata;
}

Cpu cpu_of(const DomainOptions& options) {
    Cpu cpu;
    if (options.cpu_mode == "none")
        return cpu;
    cpu.mode = options.cpu_mode;
    if (cpu.mode == "custom" && !options.cpu_models.empty())
        cpu.model = options.cpu_models.front();
    for (const auto& flag : options.cpu_extra_flags) {
        const bool off = flag.starts_with('-');
        const auto name = flag.starts_with('+') || off ? flag.substr(1) : flag;
        cpu.features.emplace_back(lower(name), off ? "disable" : "require");
    }
    return cpu;
}

Result<void> set_topology(Cpu& cpu, const GuestSpec& guest) {
    model::FlavorSpec flavor;
    flavor.vcpus = guest.flavor.vcpus;
    flavor.memory_mib = static_cast<std::int64_t>(guest.flavor.memory_mib);
    flavor.extra_specs.insert(guest.flavor.extra_specs.begin(), guest.flavor.extra_specs.end());
    model::ImageSpec image;
    image.properties.insert(guest.image.properties.begin(), guest.image.properties.end());
    NOVALET_ASSIGN(const auto best, model::best_cpu_topology(flavor, image));
    cpu.sockets = best.sockets;
    cpu.cores = best.cores;
    cpu.threads = best.threads;
    return {};
}

std::uint64_t smallest_page(const model::HostTopology& host) {
    std::uint64_t smallest = 4;
    for (const auto& cell : host.cells)
        for (const auto& pool : cell.mempages)
            smallest = std::min(smallest, pool.size_kib);
    return smallest;
}

/// Pins, cells, memory placement of a guest with a topology; the guest's cells count from 0.
void place(Domain& domain, const GuestSpec& guest, const DomainOptions& options) {
    const auto& topology = *guest.numa;
    const auto smallest = smallest_page(options.host);
    model::CpuSet emulator;
    model::CpuSet nodes;
    bool shared_access = false;
    for (const auto& cell : topology.cells)
        shared_access =
            shared_access ||
            (cell.page_size_kib > 0 && static_cast<std::uint64_t>(cell.page_size_kib) > smallest);
    unsigned index = 0;
    for (const auto& cell : topology.cells) {
        const auto* host_cell = options.host.cell(cell.id);
        const model::CpuSet floating = host_cell != nullptr ? host_cell->cpuset : model::CpuSet();
        if (cell.pins)
            for (const auto& pin : *cell.pins) {
                domain.tune.pins.push_back({pin.vcpu, std::to_string(pin.cpu)});
                emulator.insert(pin.cpu);
            }
        cell.cpuset.for_each([&](unsigned vcpu) {
            domain.tune.pins.push_back({vcpu, floating.str()});
            emulator |= floating;
        });
        if (cell.reserved && topology.emulator_policy == model::EmulatorPolicy::Isolate)
            emulator = *cell.reserved; // the isolated CPUs alone
        domain.cpu.cells.push_back({index,
                                    cell.vcpus().str(),
                                    static_cast<std::uint64_t>(cell.memory_mib) << 10U,
                                    shared_access});
        domain.memory_nodes.push_back({index, std::to_string(cell.id)});
        nodes.insert(static_cast<unsigned>(std::max(cell.id, 0)));
        if (cell.page_size_kib > 0 && static_cast<std::uint64_t>(cell.page_size_kib) > smallest)
            domain.huge_pages.push_back({static_cast<std::uint64_t>(cell.page_size_kib), index});
        ++index;
    }
    if (topology.emulator_policy == model::EmulatorPolicy::Share && !options.shared_cpus.empty())
        domain.tune.emulator_pin = options.shared_cpus;
    else
        domain.tune.emulator_pin = emulator.str();
    domain.numa_nodeset = nodes.str();
    std::sort(domain.tune.pins.begin(), domain.tune.pins.end(), [](const Pin& a, const Pin& b) {
        return a.vcpu < b.vcpu;
    });
}

void set_realtime(Domain& domain, const GuestSpec& guest, const Wishes& wishes, unsigned priority) {
    if (!to_bool(wishes.flavor("hw:cpu_realtime")).value_or(false))
        return;
    auto mask = wishes.flavor("hw:cpu_realtime_mask");
    if (mask.empty())
        mask = wishes.image("hw_cpu_realtime_mask");
    model::CpuSet all = model::CpuSet::range(0, guest.flavor.vcpus - 1);
    if (!mask.empty())
        if (const auto parsed =
                model::CpuSet::parse(mask.starts_with('^') ? cat(all.str(), ',', mask) : mask))
            all &= *parsed;
    domain.tune.realtime_vcpus = all.str();
    domain.tune.realtime_priority = priority;
    domain.locked_memory = true;
    domain.no_share_pages = true;
}

void set_quotas(Domain& domain, const GuestSpec& guest) {
    for (const auto& [key, name] : {std::pair{"quota:cpu_shares", "shares"},
                                    std::pair{"quota:cpu_period", "period"},
                                    std::pair{"quota:cpu_quota", "quota"}}) {
        const auto found = guest.flavor.extra_specs.find(key);
        if (found == guest.flavor.extra_specs.end())
            continue;
        if (const auto value = to_number<std::uint64_t>(found->second))
            domain.tune.quotas.emplace_back(name, *value);
    }
}

std::vector<std::pair<std::string, std::uint64_t>> extra_numbers(const GuestSpec& guest,
                                                                 const std::string& prefix) {
    std::vector<std::pair<std::string, std::uint64_t>> out;
    for (const auto& [key, value] : guest.flavor.extra_specs)
        if (key.starts_with(prefix))
            if (const auto number = to_number<std::uint64_t>(value))
                out.emplace_back(key.substr(prefix.size()), *number);
    return out;
}

void add_disks(Domain& domain,
               const GuestSpec& guest,
               const DomainOptions& options,
               const Wishes& wishes) {
    const std::string folder = cat(options.instances_path, '/', guest.uuid.str(), '/');
    unsigned scsi_units = 0;
    for (const auto& spec : guest.disks) {
        Disk disk;
        disk.format = options.disk_format;
        disk.cache = options.disk_cache;
        disk.discard = options.disk_discard;
        disk.file = folder + spec.file_name;
        disk.target = spec.device_name;
        disk.bus = spec.bus;
        disk.iotune = extra_numbers(guest, "quota:disk_");
        if (spec.bus == "scsi") {
            disk.scsi_unit = scsi_units++;
            const auto wished = wishes.image("hw_scsi_model");
            domain.scsi_model = wished.empty() ? "lsilogic" : wished;
        }
        domain.disks.push_back(std::move(disk));
    }
    if (!guest.config_drive)
        return;
    const bool q35 = domain.machine.find("q35") != std::string::npos;
    Disk drive;
    drive.format = "raw";
    drive.cache = options.disk_cache;
    drive.file = folder + "disk.config";
    drive.device = guest.config_drive->vfat ? "disk" : "cdrom";
    drive.bus =
        guest.config_drive->vfat ? "virtio" : wishes.image("hw_cdrom_bus", q35 ? "sata" : "ide");
    const std::string prefix = drive.bus == "virtio" ? "vd" : drive.bus == "ide" ? "hd" : "sd";
    for (char letter = guest.config_drive->vfat ? 'z' : 'a'; letter >= 'a' && letter <= 'z';
         letter = static_cast<char>(guest.config_drive->vfat ? letter - 1 : letter + 1)) {
        drive.target = prefix + letter;
        if (std::none_of(domain.disks.begin(), domain.disks.end(), [&](const Disk& other) {
                return other.target == drive.target;
            }))
            break;
    }
    domain.disks.push_back(std::move(drive));
}

Result<Interface> interface_of(const InterfaceSpec& spec,
                               const GuestSpec& guest,
                               const DomainOptions& options,
                               const Wishes& wishes) {
    Interface out;
    out.mac = spec.mac;
    out.model = wishes.image("hw_vif_model", "virtio");
    out.mtu = spec.mtu;
    out.target = spec.device;
    const auto& details = spec.vif["details"];
    if (spec.vif_type == "bridge") {
        out.type = "bridge";
        out.bridge = spec.bridge;
    } else if (spec.vif_type == "ovs" && details["ovs_hybrid_plug"].as_bool()) {
        out.type = "bridge";
        out.bridge = ("qbr" + spec.port.str()).substr(0, 14);
    } else if (spec.vif_type == "ovs" && spec.vif["delegate_create"].as_bool()) {
        out.type = "ethernet";
    } else if (spec.vif_type == "ovs") {
        out.type = "bridge";
        out.bridge = spec.bridge;
        out.ovs_interface_id = spec.port.str();
    } else if (spec.vif_type == "tap") {
        out.type = "ethernet";
    } else if (spec.vif_type == "vhostuser") {
        out.type = "vhostuser";
        out.socket_path = details["vhostuser_socket"].as_string();
        out.socket_mode = details["vhostuser_mode"].as_string("server");
        out.target.clear();
    } else {
        return fail_as("InternalError",
                       Code::Unsupported,
                       cat("port ",
                           spec.port.str(),
                           " has vif_type '",
                           spec.vif_type,
                           "', which this agent cannot plug; supported are bridge, ovs, tap and "
                           "vhostuser"));
    }
    if (out.model == "virtio") {
        if (options.virt_type == "qemu")
            out.driver = "qemu";
        else if (wishes.image_flag("hw_vif_multiqueue_enabled")) {
            out.driver = "vhost";
            out.queues = guest.flavor.vcpus;
        }
    }
    out.inbound = extra_numbers(guest, "quota:vif_inbound_");
    out.outbound = extra_numbers(guest, "quota:vif_outbound_");
    return out;
}

Result<void> set_firmware(Domain& domain, const DomainOptions& options, const Wishes& wishes) {
    const auto firmware = wishes.image("hw_firmware_type", "bios");
    if (firmware == "bios")
        return {};
    const auto wish = wishes.image("os_secure_boot");
    domain.secure_boot = wish == "required" || wishes.flavor("os:secure_boot") == "required";
    domain.loader = domain.secure_boot ? options.secure_loader : options.loader;
    domain.nvram_template =
        domain.secure_boot ? options.secure_nvram_template : options.nvram_template;
    if (domain.loader.empty())
        return fail_as(domain.secure_boot ? "SecureBootNotSupported" : "UEFINotSupported",
                       Code::Unsupported,
                       domain.secure_boot ? "Secure Boot is not supported on this host: no signed "
                                            "UEFI firmware is installed (package ovmf)"
                                          : "UEFI is not supported on this host: no UEFI firmware "
                                            "is installed (package ovmf)");
    return {};
}

} // namespace

Result<Domain> build_domain(const GuestSpec& guest, const DomainOptions& options) {
    const Wishes wishes(guest);
    Domain domain;
    domain.type = options.virt_type;
    domain.uuid = guest.uuid.str();
    domain.name = guest.name;
    domain.memory_kib = guest.flavor.memory_mib << 10U;
    domain.vcpus = guest.flavor.vcpus;
    domain.metadata = metadata_of(guest);
    if (options.sysinfo_serial == "unique")
        domain.sysinfo_serial = guest.uuid.str();
    domain.arch = wishes.image("hw_architecture", options.arch);
    domain.machine = wishes.image("hw_machine_type", options.machine_type);
    const std::string folder = cat(options.instances_path, '/', guest.uuid.str(), '/');
    if (!guest.kernel_id.empty()) {
        domain.kernel = folder + "kernel";
        domain.cmdline = wishes.image("os_command_line",
                                      "root=/dev/vda console=tty0 console=ttyS0 console=hvc0");
        if (!guest.ramdisk_id.empty())
            domain.ramdisk = folder + "ramdisk";
    }
    NOVALET_TRY(set_firmware(domain, options, wishes));
    domain.windows = guest.os_type == "windows" || wishes.image("os_type") == "windows";
    domain.hide_hypervisor = wishes.image_flag("img_hide_hypervisor_id") ||
                             to_bool(wishes.flavor("hide_hypervisor_id")).value_or(false);
    auto pmu = wishes.flavor("hw:pmu");
    if (pmu.empty())
        pmu = wishes.image("hw_pmu");
    domain.pmu = to_bool(pmu);
    domain.cpu = cpu_of(options);
    NOVALET_TRY(set_topology(domain.cpu, guest));
    domain.locked_memory = wishes.image_flag("hw_locked_memory") ||
                           to_bool(wishes.flavor("hw:locked_memory")).value_or(false);
    set_quotas(domain, guest);
    if (guest.numa)
        place(domain, guest, options);
    else
        domain.vcpu_cpuset = options.shared_cpus;
    set_realtime(domain, guest, wishes, options.realtime_priority);
    add_disks(domain, guest, options, wishes);
    for (const auto& spec : guest.interfaces) {
        NOVALET_ASSIGN(auto interface, interface_of(spec, guest, options, wishes));
        domain.interfaces.push_back(std::move(interface));
    }
    domain.console_log = folder + "console.log";
    domain.vnc = options.vnc;
    domain.vnc_listen = options.vnc_listen;
    domain.video_model = wishes.image("hw_video_model", "virtio");
    if (domain.video_model == "none")
        domain.video_model.clear();
    domain.tablet = options.vnc && options.pointer_tablet;
    if (to_bool(wishes.flavor("hw_rng:allowed")).value_or(true))
        domain.rng_device = options.rng_device;
    if (wishes.image_flag("hw_qemu_guest_agent"))
        domain.agent_channel =
            cat("/var/lib/libvirt/qemu/org.qemu.guest_agent.0.", guest.name, ".sock");
    auto watchdog = wishes.flavor("hw:watchdog_action");
    if (watchdog.empty())
        watchdog = wishes.image("hw_watchdog_action");
    if (watchdog != "disabled")
        domain.watchdog = watchdog;
    domain.balloon_period = options.balloon_period;
    return domain;
}

} // namespace novalet::hypervisor::domain
