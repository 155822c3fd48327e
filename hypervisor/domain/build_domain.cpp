#include "hypervisor/domain/build_domain.hpp"

#include "agent/core/text.hpp"
#include "hypervisor/domain/build_parts.hpp"

#include <algorithm>

namespace novalet::hypervisor::domain {
namespace {

constexpr const char* kernel_console = "console=tty0 console=ttyS0 console=hvc0";
/// Any text but the hypervisor's own name makes drivers that look for it work.
constexpr const char* other_vendor = "1234567890ab";

Metadata metadata_of(const GuestSpec& guest, const ReleaseStyle& style, const Clock& clock) {
    Metadata metadata;
    metadata.package_version = guest.nova_package_version;
    metadata.name = guest.display_name.empty() ? guest.uuid.str() : guest.display_name;
    metadata.creation_time = to_utc_text(clock.wall());
    metadata.flavor_name = guest.flavor.name;
    metadata.memory_mib = guest.flavor.memory_mib;
    metadata.disk_gib = guest.flavor.root_gib;
    metadata.swap_mib = guest.flavor.swap_mib;
    metadata.ephemeral_gib = guest.flavor.ephemeral_gib;
    metadata.vcpus = guest.flavor.vcpus;
    metadata.user_name = guest.user_name.empty() ? "N/A" : guest.user_name;
    metadata.user_id = guest.user_id;
    metadata.project_name = guest.project_name.empty() ? "N/A" : guest.project_name;
    metadata.project_id = guest.project_id;
    metadata.root_type = guest.image.id.empty() ? "volume" : "image";
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
    if (style.rich_metadata) {
        metadata.flavor_id = guest.flavor.id;
        metadata.extra_specs = guest.flavor.extra_specs;
        metadata.image = Metadata::Image{guest.image.id,
                                         guest.image.container_format,
                                         guest.image.disk_format,
                                         guest.image.min_disk_gib,
                                         guest.image.min_ram_mib,
                                         guest.image.properties};
    }
    return metadata;
}

Result<void> set_machine(Building& building) {
    auto& domain = building.domain;
    const auto& options = building.options;
    domain.machine = machine_type_of(building.guest, options);
    const auto& known = options.machines;
    if (!known.empty() && std::find(known.begin(), known.end(), domain.machine) == known.end())
        return fail_as("InvalidMachineType",
                       Code::InvalidArgument,
                       cat("'",
                           domain.machine,
                           "' is not valid/supported machine type, Supported machine types are: ",
                           join(known, ", ")));
    domain.boot_menu = to_bool(building.wishes.image("hw_boot_menu"))
                           .value_or(building.wishes.flavor_flag("hw:boot_menu"));
    return {};
}

std::string canonical(const DomainOptions& options, const std::string& machine) {
    const auto found = options.canonical_machines.find(machine);
    return found == options.canonical_machines.end() ? machine : found->second;
}

/// Empty: nobody asks for secure boot. Flavor and image agree, or the API refused them.
std::string secure_boot_wish(const Wishes& wishes) {
    const auto flavor = wishes.flavor("os:secure_boot");
    return flavor.empty() ? wishes.image("os_secure_boot") : flavor;
}

Failure no_firmware(const Building& building, bool secure) {
    return fail_as(
        secure ? "SecureBootNotSupported" : "UEFINotSupported",
        Code::Unsupported,
        cat(secure ? "Secure Boot is not supported by host" : "UEFI is not supported",
            ": no firmware descriptor below /etc/qemu/firmware or "
            "/usr/share/qemu/firmware serves machine type ",
            building.domain.machine,
            secure ? " with secure boot (package ovmf; x86 needs q35)" : " (package ovmf)"));
}

Result<void> set_firmware(Building& building) {
    auto& domain = building.domain;
    const auto& options = building.options;
    const auto kind =
        building.wishes.image("hw_firmware_type", domain.arch == "aarch64" ? "uefi" : "bios");
    if (kind != "uefi")
        return {};
    const auto wish = secure_boot_wish(building.wishes);
    const bool can_be_secure = domain.arch != "x86_64" || building.q35();
    const auto machine = canonical(options, domain.machine);
    const auto* secure =
        can_be_secure ? choose_firmware(options.firmware, domain.arch, machine, true) : nullptr;
    Firmware firmware;
    firmware.secure_boot = wish == "required" || (wish == "optional" && secure != nullptr);
    const auto* chosen = firmware.secure_boot
                             ? secure
                             : choose_firmware(options.firmware, domain.arch, machine, false);
    if (chosen == nullptr)
        return no_firmware(building, firmware.secure_boot);
    firmware.stateless =
        options.style.stateless_firmware && building.wishes.image_flag("hw_firmware_stateless");
    firmware.chosen_by_libvirt = options.style.libvirt_picks_uefi;
    if (!firmware.chosen_by_libvirt) {
        firmware.loader = chosen->loader;
        firmware.nvram_template = chosen->nvram_template;
    }
    domain.smm = chosen->has("requires-smm");
    domain.firmware = std::move(firmware);
    return {};
}

void set_kernel(Building& building) {
    auto& domain = building.domain;
    const auto& guest = building.guest;
    if (guest.kernel_id.empty())
        return;
    domain.kernel = building.folder + "kernel";
    if (!guest.ramdisk_id.empty())
        domain.ramdisk = building.folder + "ramdisk";
    const std::string root = guest.root_device_name.empty() ? "/dev/vda" : guest.root_device_name;
    domain.cmdline = cat("root=",
                         root,
                         ' ',
                         kernel_console,
                         building.options.virt_type == "qemu" ? " no_timer_check" : "");
    if (const auto wished = building.wishes.image("os_command_line"); !wished.empty())
        domain.cmdline = wished;
}

void set_features(Building& building) {
    auto& domain = building.domain;
    const auto& wishes = building.wishes;
    const auto& options = building.options;
    const bool windows = (building.guest.os_type.empty() ? wishes.image("os_type")
                                                         : building.guest.os_type) == "windows";
    domain.hide_kvm = wishes.image_flag("img_hide_hypervisor_id") ||
                      wishes.flavor_flag("hide_hypervisor_id") ||
                      wishes.flavor_flag("hw:hide_hypervisor_id");
    domain.vmcoreinfo = building.x86() || domain.arch == "aarch64";
    domain.pmu = wishes.either_flag("pmu");
    domain.local_time = windows;
    if (windows) {
        for (const auto& name : options.style.hyperv)
            if (name != "evmcs" || options.intel_virtualization)
                domain.hyperv.push_back(name);
        if (domain.hide_kvm)
            domain.hyperv_vendor_id = other_vendor;
    }
    if (options.virt_type != "kvm")
        return; // the timers are KVM's
    domain.timers = {{"pit", "delay", std::nullopt}, {"rtc", "catchup", std::nullopt}};
    if (building.x86())
        domain.timers.push_back({"hpet", {}, wishes.image_flag("hw_time_hpet")});
    if (windows)
        domain.timers.push_back({"hypervclock", {}, true});
}

/// What the guest needs and this agent does not make is an error now, not a surprise in the guest.
Result<void> refuse_unsupported(const Building& building) {
    for (const char* name : {"tpm_version", "viommu_model"})
        if (const auto value = building.wishes.either(name); !value.empty())
            return fail_as("InvalidInput",
                           Code::Unsupported,
                           cat("Invalid input received: hw_",
                               name,
                               " is '",
                               value,
                               "', but this agent does not give guests such a device"));
    return {};
}

} // namespace

std::string architecture_of(const GuestSpec& guest, const DomainOptions& options) {
    const Wishes wishes(guest);
    return wishes.image("hw_emulation_architecture", wishes.image("hw_architecture", options.arch));
}

std::string machine_type_of(const GuestSpec& guest, const DomainOptions& options) {
    const Wishes wishes(guest);
    if (auto wished = wishes.image("hw_machine_type"); !wished.empty())
        return wished;
    const auto arch = architecture_of(guest, options);
    if (const auto found = options.machine_types.find(arch); found != options.machine_types.end())
        return found->second;
    if (arch == "aarch64" || arch == "armv7l")
        return "virt";
    if (arch == "ppc64le")
        return "pseries";
    if (arch.starts_with("s390"))
        return "s390-ccw-virtio";
    return options.machine_type;
}

Result<Domain>
build_domain(const GuestSpec& guest, const DomainOptions& options, const Clock& clock) {
    Domain domain;
    Building building{guest,
                      options,
                      Wishes(guest),
                      domain,
                      cat(options.instances_path, '/', guest.uuid.str(), '/')};
    domain.uuid = guest.uuid.str();
    domain.name = guest.name;
    domain.memory_kib = guest.flavor.memory_mib << 10U;
    domain.vcpus = guest.flavor.vcpus;
    domain.iothreads = options.style.iothreads;
    domain.metadata = metadata_of(guest, options.style, clock);
    domain.arch = architecture_of(guest, options);
    domain.type = domain.arch == options.arch ? options.virt_type : "qemu";
    domain.smbios = building.x86();
    if (options.sysinfo_serial == "unique")
        domain.sysinfo_serial = guest.uuid.str();
    else if (options.sysinfo_serial != "none")
        domain.sysinfo_serial = options.host_serial;
    NOVALET_TRY(refuse_unsupported(building));
    NOVALET_TRY(set_machine(building));
    NOVALET_TRY(set_firmware(building));
    set_kernel(building);
    set_features(building);
    NOVALET_TRY(add_cpu(building));
    NOVALET_TRY(add_placement(building));
    NOVALET_TRY(add_disks(building));
    NOVALET_TRY(add_interfaces(building));
    NOVALET_TRY(add_periphery(building));
    return domain;
}

} // namespace novalet::hypervisor::domain
