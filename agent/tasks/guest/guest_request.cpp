#include "agent/tasks/guest/guest_request.hpp"

#include "agent/core/text.hpp"
#include "agent/objects/object.hpp"

#include <cctype>

namespace novalet::tasks {

using hypervisor::DiskSource;
using hypervisor::DiskSpec;
using hypervisor::FlavorSpec;
using hypervisor::GuestSpec;
using hypervisor::ImageSpec;
using hypervisor::InterfaceSpec;

namespace {

constexpr std::string_view image_prefix = "image_";

std::uint64_t natural(const Json& value) {
    if (value.is_string())
        return to_number<std::uint64_t>(value.as_string()).value_or(0);
    return value.as_int() > 0 ? static_cast<std::uint64_t>(value.as_int()) : 0;
}

/// One conversion of a Python %-format: flags and width of `%08x` are kept, the value is put in.
Result<std::string> convert(const std::string& spec, const Json& value, const std::string& field) {
    const char kind = spec.back();
    if (kind == 's')
        return value.is_string() ? value.as_string() : value.dump();
    if (kind != 'd' && kind != 'x' && kind != 'X')
        return fail(Code::InvalidArgument,
                    cat("instance_name_template: conversion '%", spec, "' is not known"));
    if (!value.is_integer())
        return fail(Code::InvalidArgument,
                    cat("instance_name_template: '", field, "' of the instance is no number"));
    const bool zero = spec.size() > 1 && spec.front() == '0';
    const auto width = to_number<unsigned>(spec.substr(0, spec.size() - 1)).value_or(0);
    std::string digits;
    for (auto rest = static_cast<std::uint64_t>(value.as_int()); rest != 0 || digits.empty();) {
        const unsigned base = kind == 'd' ? 10 : 16;
        digits.insert(digits.begin(),
                      (kind == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[rest % base]);
        rest /= base;
    }
    if (digits.size() < width)
        digits.insert(0, width - digits.size(), zero ? '0' : ' ');
    return digits;
}

const std::string* property(const ImageSpec& image, const std::string& name) {
    const auto found = image.properties.find(name);
    return found == image.properties.end() ? nullptr : &found->second;
}

bool names_bus(const Json& mapping, const ImageSpec& image) {
    return !mapping["disk_bus"].as_string().empty() || property(image, "hw_disk_bus") != nullptr;
}

std::string disk_bus(const Json& mapping, const ImageSpec& image) {
    if (!mapping["disk_bus"].as_string().empty())
        return mapping["disk_bus"].as_string();
    const auto* bus = property(image, "hw_disk_bus");
    return bus != nullptr ? *bus : "virtio";
}

std::string device_prefix(const std::string& bus) {
    if (bus == "virtio")
        return "vd";
    if (bus == "ide")
        return "hd";
    if (bus == "fdc")
        return "fd";
    return "sd"; // scsi, sata, usb
}

/// "/dev/vda" → "vda".
std::string short_name(const std::string& device) {
    const auto slash = device.rfind('/');
    return slash == std::string::npos ? device : device.substr(slash + 1);
}

std::string next_free(const std::string& prefix, const std::vector<DiskSpec>& taken) {
    for (char letter = 'a'; letter <= 'z'; ++letter) {
        const std::string name = prefix + letter;
        bool used = false;
        for (const auto& disk : taken)
            used = used || disk.device_name == name;
        if (!used)
            return name;
    }
    return {};
}

std::string ephemeral_format(const Json& mapping, const Json& instance, const std::string& fixed) {
    if (!mapping["guest_format"].as_string().empty())
        return mapping["guest_format"].as_string();
    if (!fixed.empty())
        return fixed;
    const auto& os_type = instance["os_type"].as_string(); // nova.privsep.fs: most images name none
    return os_type == "linux" ? "ext4" : os_type == "windows" ? "ntfs" : "vfat";
}

bool is_root(const Json& mapping) {
    return mapping["boot_index"].is_integer() && mapping["boot_index"].as_int() == 0;
}

/// File, size and kind of one mapping; the name on the bus comes afterwards.
Result<DiskSpec> local_disk(const Json& mapping,
                            const Json& instance,
                            const FlavorSpec& flavor,
                            const GuestDefaults& defaults,
                            unsigned& ephemerals) {
    const auto& source = mapping["source_type"].as_string();
    const auto& destination = mapping["destination_type"].as_string();
    if (destination == "volume")
        return fail_as("BuildAbortException",
                       Code::Unsupported,
                       cat("Build of instance ",
                           instance["uuid"].as_string(),
                           " aborted: block device mapping ",
                           mapping["uuid"].as_string(),
                           " needs a volume; this compute agent boots from images only"));
    DiskSpec disk;
    if (source == "image") {
        disk.source = DiskSource::Image;
        disk.file_name = "disk";
        disk.size_bytes = flavor.root_gib << 30U;
    } else if (mapping["guest_format"].as_string() == "swap") {
        const auto mib = natural(mapping["volume_size"]);
        disk.source = DiskSource::Swap;
        disk.file_name = "disk.swap";
        disk.size_bytes = (mib != 0 ? mib : flavor.swap_mib) << 20U;
    } else if (source == "blank") {
        const auto gib = natural(mapping["volume_size"]);
        disk.source = DiskSource::Blank;
        disk.file_name = cat("disk.eph", ephemerals++);
        disk.size_bytes = (gib != 0 ? gib : flavor.ephemeral_gib) << 30U;
        disk.filesystem = ephemeral_format(mapping, instance, defaults.ephemeral_format);
    } else {
        return fail_as("BuildAbortException",
                       Code::InvalidArgument,
                       cat("Build of instance ",
                           instance["uuid"].as_string(),
                           " aborted: block device source '",
                           source,
                           "' to '",
                           destination,
                           "' is not known"));
    }
    if (is_root(mapping))
        disk.boot_index = 0;
    return disk;
}

} // namespace

Result<std::string> instance_name(const std::string& name_template, const Json& instance) {
    std::string out;
    for (std::size_t i = 0; i < name_template.size(); ++i) {
        if (name_template[i] != '%') {
            out += name_template[i];
            continue;
        }
        if (++i < name_template.size() && name_template[i] == '%') {
            out += '%';
            continue;
        }
        std::string field = "id";
        if (i < name_template.size() && name_template[i] == '(') {
            const auto end = name_template.find(')', i);
            if (end == std::string::npos)
                return fail(Code::InvalidArgument,
                            cat("instance_name_template '", name_template, "' ends inside a %"));
            field = name_template.substr(i + 1, end - i - 1);
            i = end + 1;
        }
        const auto begin = i;
        while (i < name_template.size() &&
               std::isdigit(static_cast<unsigned char>(name_template[i])) != 0)
            ++i;
        if (i >= name_template.size())
            return fail(Code::InvalidArgument,
                        cat("instance_name_template '", name_template, "' ends inside a %"));
        if (instance[field].is_null())
            return fail(Code::InvalidArgument,
                        cat("instance_name_template '",
                            name_template,
                            "' names '",
                            field,
                            "', which the instance does not have"));
        NOVALET_ASSIGN(const auto text,
                       convert(name_template.substr(begin, i - begin + 1), instance[field], field));
        out += text;
    }
    return out;
}

FlavorSpec flavor_of(const Json& flavor_primitive) {
    const Json& data = objects::data_of(flavor_primitive);
    FlavorSpec flavor;
    flavor.id = data["flavorid"].as_string();
    flavor.name = data["name"].as_string();
    flavor.memory_mib = natural(data["memory_mb"]);
    flavor.vcpus = static_cast<unsigned>(natural(data["vcpus"]));
    flavor.root_gib = natural(data["root_gb"]);
    flavor.ephemeral_gib = natural(data["ephemeral_gb"]);
    flavor.swap_mib = natural(data["swap"]);
    for (const auto& [key, value] : data["extra_specs"].members())
        flavor.extra_specs.emplace(key, value.is_string() ? value.as_string() : value.dump());
    return flavor;
}

ImageSpec image_of(const Json& instance) {
    ImageSpec image;
    image.id = instance["image_ref"].as_string();
    for (const auto& [key, value] : instance["system_metadata"].members()) {
        if (!key.starts_with(image_prefix) || value.is_null())
            continue;
        const std::string name = key.substr(image_prefix.size());
        if (name == "disk_format")
            image.disk_format = value.as_string();
        else if (name == "container_format")
            image.container_format = value.as_string();
        else if (name == "min_disk")
            image.min_disk_gib = natural(value);
        else if (name == "min_ram")
            image.min_ram_mib = natural(value);
        else if (name != "base_image_ref")
            image.properties.emplace(name, value.as_string());
    }
    return image;
}

Result<DiskPlan> plan_disks(const Json& instance,
                            const std::vector<Json>& block_device_mappings,
                            const GuestDefaults& defaults) {
    const FlavorSpec flavor = flavor_of(instance["flavor"]);
    const ImageSpec image = image_of(instance);
    DiskPlan plan;
    plan.assigned.resize(block_device_mappings.size());
    unsigned ephemerals = 0;
    // The root disk takes its name first, whatever the order of the mappings is.
    for (const bool root_turn : {true, false}) {
        for (std::size_t i = 0; i < block_device_mappings.size(); ++i) {
            const Json& mapping = block_device_mappings[i];
            if (is_root(mapping) != root_turn || mapping["no_device"].as_bool())
                continue;
            NOVALET_ASSIGN(auto disk, local_disk(mapping, instance, flavor, defaults, ephemerals));
            disk.bus = disk_bus(mapping, image);
            std::string wished = mapping["device_name"].as_string();
            if (root_turn && wished.empty())
                wished = instance["root_device_name"].as_string();
            disk.device_name = short_name(wished);
            if (!disk.device_name.starts_with(device_prefix(disk.bus)))
                disk.device_name = next_free(device_prefix(disk.bus), plan.disks);
            if (disk.device_name.empty())
                return fail_as("TooManyDiskDevices",
                               Code::ResourceExhausted,
                               cat("no free disk name on bus ",
                                   disk.bus,
                                   " for mapping ",
                                   mapping["uuid"].as_string()));
            plan.assigned[i] = {"/dev/" + disk.device_name, disk.bus};
            // A server of old has a name in its record and no bus: its domain knows better.
            if (!mapping["device_name"].as_string().empty() && !names_bus(mapping, image))
                disk.bus.clear();
            if (root_turn)
                plan.root_device_name = plan.assigned[i].device_name;
            plan.disks.push_back(std::move(disk));
        }
    }
    return plan;
}

std::vector<InterfaceSpec> interfaces_of(const Json& network_info) {
    std::vector<InterfaceSpec> interfaces;
    for (const auto& vif : network_info.items()) {
        InterfaceSpec spec;
        spec.port = PortId(vif["id"].as_string());
        spec.mac = vif["address"].as_string();
        spec.vif_type = vif["type"].as_string();
        spec.vnic_type = vif["vnic_type"].as_string("normal");
        spec.device = vif["devname"].as_string();
        if (spec.device.empty())
            spec.device = ("tap" + spec.port.str()).substr(0, 14);
        spec.bridge = vif["network"]["bridge"].as_string();
        spec.mtu = static_cast<unsigned>(natural(vif["network"]["meta"]["mtu"]));
        spec.active = vif["active"].as_bool();
        spec.vif = vif;
        interfaces.push_back(std::move(spec));
    }
    return interfaces;
}

bool needs_config_drive(const Json& instance, const GuestDefaults& defaults) {
    const auto& wish = instance["config_drive"];
    if (wish.as_bool() || to_bool(wish.as_string()).value_or(!wish.as_string().empty()))
        return true;
    // force_config_drive speaks of the first boot only: a launched guest keeps what it has.
    if (defaults.force_config_drive && instance["launched_at"].is_null())
        return true;
    return instance["system_metadata"]["image_img_config_drive"].as_string() == "mandatory";
}

Result<GuestSpec> guest_spec(const Json& instance,
                             const std::vector<Json>& block_device_mappings,
                             const Json& network_info,
                             const GuestDefaults& defaults) {
    GuestSpec guest;
    guest.uuid = InstanceUuid(instance["uuid"].as_string());
    NOVALET_ASSIGN(guest.name, instance_name(defaults.name_template, instance));
    const auto& system_metadata = instance["system_metadata"];
    guest.display_name = instance["display_name"].as_string(guest.uuid.str());
    guest.project_id = instance["project_id"].as_string();
    guest.user_id = instance["user_id"].as_string();
    guest.project_name = system_metadata["owner_project_name"].as_string("N/A");
    guest.user_name = system_metadata["owner_user_name"].as_string("N/A");
    guest.os_type = instance["os_type"].as_string();
    guest.flavor = flavor_of(instance["flavor"]);
    guest.image = image_of(instance);
    guest.kernel_id = instance["kernel_id"].as_string();
    guest.ramdisk_id = instance["ramdisk_id"].as_string();
    NOVALET_ASSIGN(auto plan, plan_disks(instance, block_device_mappings, defaults));
    guest.disks = std::move(plan.disks);
    guest.root_device_name = plan.root_device_name;
    guest.interfaces = interfaces_of(network_info);
    guest.nova_package_version = defaults.package_version;
    return guest;
}

Json undefined_hardware(const Json& instance, const std::map<std::string, std::string>& hardware) {
    const auto& known = instance["system_metadata"];
    Json missing = Json::object();
    for (const auto& [property, value] : hardware)
        if (const auto key = cat(image_prefix, property); !known.contains(key))
            missing.set(key, value);
    return missing;
}

} // namespace novalet::tasks
