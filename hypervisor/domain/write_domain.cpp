#include "hypervisor/domain/domain.hpp"

#include <pugixml.hpp>
#include <sstream>

namespace novalet::hypervisor::domain {
namespace {

constexpr const char* nova_namespace = "http://openstack.org/xmlns/libvirt/nova/1.1";
constexpr std::uint64_t spinlock_retries = 8191; // what Microsoft certifies with

using Node = pugi::xml_node;

Node child(Node parent, const char* name) {
    return parent.append_child(name);
}

void attribute(Node node, const char* name, const std::string& value) {
    node.append_attribute(name).set_value(value.c_str());
}

void attribute(Node node, const char* name, std::uint64_t value) {
    node.append_attribute(name).set_value(static_cast<unsigned long long>(value));
}

Node text(Node parent, const char* name, const std::string& value) {
    Node node = child(parent, name);
    node.text().set(value.c_str());
    return node;
}

Node number(Node parent, const char* name, std::uint64_t value) {
    return text(parent, name, std::to_string(value));
}

void numbers(Node parent, const NamedNumbers& values) {
    for (const auto& [name, value] : values)
        number(parent, name.c_str(), value);
}

const char* yes_no(bool value) {
    return value ? "yes" : "no";
}

const char* on_off(bool value) {
    return value ? "on" : "off";
}

void write_flavor(Node instance, const Metadata& metadata) {
    Node flavor = child(instance, "nova:flavor");
    attribute(flavor, "name", metadata.flavor_name);
    if (!metadata.flavor_id.empty())
        attribute(flavor, "id", metadata.flavor_id);
    number(flavor, "nova:memory", metadata.memory_mib);
    number(flavor, "nova:disk", metadata.disk_gib);
    number(flavor, "nova:swap", metadata.swap_mib);
    number(flavor, "nova:ephemeral", metadata.ephemeral_gib);
    number(flavor, "nova:vcpus", metadata.vcpus);
    if (metadata.flavor_id.empty())
        return;
    Node specs = child(flavor, "nova:extraSpecs");
    for (const auto& [key, value] : metadata.extra_specs)
        attribute(text(specs, "nova:extraSpec", value), "name", key);
}

void write_image(Node instance, const Metadata::Image& image) {
    Node node = child(instance, "nova:image");
    attribute(node, "uuid", image.id);
    text(node, "nova:containerFormat", image.container_format);
    text(node, "nova:diskFormat", image.disk_format);
    number(node, "nova:minDisk", image.min_disk_gib);
    number(node, "nova:minRam", image.min_ram_mib);
    Node properties = child(node, "nova:properties");
    for (const auto& [key, value] : image.properties)
        attribute(text(properties, "nova:property", value), "name", key);
}

void write_ports(Node instance, const std::vector<Metadata::Port>& list) {
    Node ports = child(instance, "nova:ports");
    for (const auto& port : list) {
        Node node = child(ports, "nova:port");
        attribute(node, "uuid", port.id);
        for (const auto& ip : port.ips) {
            Node address = child(node, "nova:ip");
            attribute(address, "type", ip.type);
            attribute(address, "address", ip.address);
            attribute(address, "ipVersion", static_cast<std::uint64_t>(ip.version));
        }
    }
}

void write_metadata(Node root, const Metadata& metadata) {
    Node instance = child(child(root, "metadata"), "nova:instance");
    attribute(instance, "xmlns:nova", nova_namespace);
    attribute(child(instance, "nova:package"), "version", metadata.package_version);
    text(instance, "nova:name", metadata.name);
    text(instance, "nova:creationTime", metadata.creation_time);
    write_flavor(instance, metadata);
    if (metadata.image)
        write_image(instance, *metadata.image);
    Node owner = child(instance, "nova:owner");
    attribute(text(owner, "nova:user", metadata.user_name), "uuid", metadata.user_id);
    attribute(text(owner, "nova:project", metadata.project_name), "uuid", metadata.project_id);
    if (!metadata.root_id.empty()) {
        Node root_disk = child(instance, "nova:root");
        attribute(root_disk, "type", metadata.root_type);
        attribute(root_disk, "uuid", metadata.root_id);
    }
    write_ports(instance, metadata.ports);
}

void write_memory(Node root, const Domain& domain) {
    if (!domain.huge_pages.empty() || domain.locked_memory || domain.no_share_pages) {
        Node backing = child(root, "memoryBacking");
        if (!domain.huge_pages.empty()) {
            Node pages = child(backing, "hugepages");
            for (const auto& page : domain.huge_pages) {
                Node node = child(pages, "page");
                attribute(node, "size", page.size_kib);
                attribute(node, "nodeset", page.cell);
                attribute(node, "unit", "KiB");
            }
        }
        if (domain.no_share_pages)
            child(backing, "nosharepages");
        if (domain.locked_memory)
            child(backing, "locked");
    }
    if (domain.numa_nodeset.empty())
        return;
    Node tune = child(root, "numatune");
    Node memory = child(tune, "memory");
    attribute(memory, "mode", "strict");
    attribute(memory, "nodeset", domain.numa_nodeset);
    for (const auto& node : domain.memory_nodes) {
        Node entry = child(tune, "memnode");
        attribute(entry, "cellid", node.cell);
        attribute(entry, "mode", "strict");
        attribute(entry, "nodeset", node.nodeset);
    }
}

void write_sysinfo(Node root, const Domain& domain) {
    Node sysinfo = child(root, "sysinfo");
    attribute(sysinfo, "type", "smbios");
    Node system = child(sysinfo, "system");
    const auto entry = [&](const char* name, const std::string& value) {
        attribute(text(system, "entry", value), "name", name);
    };
    entry("manufacturer", "OpenStack Foundation");
    entry("product", "OpenStack Nova");
    entry("version", domain.metadata.package_version);
    if (!domain.sysinfo_serial.empty())
        entry("serial", domain.sysinfo_serial);
    entry("uuid", domain.uuid);
    entry("family", "Virtual Machine");
}

/// Attributes and children of <os> that speak of firmware.
void write_firmware(Node os, const Firmware& firmware) {
    if (firmware.chosen_by_libvirt) {
        attribute(os, "firmware", "efi");
        Node feature = child(child(os, "firmware"), "feature");
        attribute(feature, "name", "secure-boot");
        attribute(feature, "enabled", yes_no(firmware.secure_boot));
    }
    Node loader =
        firmware.loader.empty() ? child(os, "loader") : text(os, "loader", firmware.loader);
    if (!firmware.loader.empty()) {
        attribute(loader, "type", "pflash");
        attribute(loader, "readonly", "yes");
    }
    attribute(loader, "secure", yes_no(firmware.secure_boot));
    if (firmware.stateless)
        attribute(loader, "stateless", "yes");
    else if (!firmware.nvram_template.empty())
        attribute(child(os, "nvram"), "template", firmware.nvram_template);
}

void write_os(Node root, const Domain& domain) {
    Node os = child(root, "os");
    Node type = text(os, "type", "hvm");
    attribute(type, "arch", domain.arch);
    attribute(type, "machine", domain.machine);
    if (domain.firmware)
        write_firmware(os, *domain.firmware);
    if (!domain.kernel.empty())
        text(os, "kernel", domain.kernel);
    if (!domain.ramdisk.empty())
        text(os, "initrd", domain.ramdisk);
    if (!domain.cmdline.empty())
        text(os, "cmdline", domain.cmdline);
    for (const auto& device : domain.boot)
        attribute(child(os, "boot"), "dev", device);
    if (domain.smbios)
        attribute(child(os, "smbios"), "mode", "sysinfo");
    if (domain.boot_menu)
        attribute(child(os, "bootmenu"), "enable", "yes");
}

void write_hyperv(Node features, const Domain& domain) {
    Node hyperv = child(features, "hyperv");
    Node spinlocks = child(hyperv, "spinlocks");
    attribute(spinlocks, "state", "on");
    attribute(spinlocks, "retries", spinlock_retries);
    if (!domain.hyperv_vendor_id.empty()) {
        Node vendor = child(hyperv, "vendor_id");
        attribute(vendor, "state", "on");
        attribute(vendor, "value", domain.hyperv_vendor_id);
    }
    for (const auto& name : domain.hyperv)
        attribute(child(hyperv, name.c_str()), "state", "on");
}

void write_features(Node root, const Domain& domain) {
    Node features = child(root, "features");
    child(features, "acpi");
    if (domain.apic)
        child(features, "apic");
    if (domain.smm)
        attribute(child(features, "smm"), "state", "on");
    if (!domain.hyperv.empty())
        write_hyperv(features, domain);
    if (domain.vmcoreinfo)
        child(features, "vmcoreinfo");
    if (domain.hide_kvm)
        attribute(child(child(features, "kvm"), "hidden"), "state", "on");
    if (domain.pmu)
        attribute(child(features, "pmu"), "state", on_off(*domain.pmu));
}

void write_clock(Node root, const Domain& domain) {
    Node clock = child(root, "clock");
    attribute(clock, "offset", domain.local_time ? "localtime" : "utc");
    for (const auto& timer : domain.timers) {
        Node node = child(clock, "timer");
        attribute(node, "name", timer.name);
        if (!timer.tick_policy.empty())
            attribute(node, "tickpolicy", timer.tick_policy);
        if (timer.present)
            attribute(node, "present", yes_no(*timer.present));
    }
}

void write_cells(Node cpu, const std::vector<NumaCell>& cells) {
    if (cells.empty())
        return;
    Node numa = child(cpu, "numa");
    for (const auto& cell : cells) {
        Node entry = child(numa, "cell");
        attribute(entry, "id", cell.id);
        attribute(entry, "cpus", cell.cpus);
        attribute(entry, "memory", cell.memory_kib);
        if (cell.shared_access)
            attribute(entry, "memAccess", "shared");
    }
}

void write_cpu(Node root, const Cpu& cpu) {
    Node node = child(root, "cpu");
    if (!cpu.mode.empty())
        attribute(node, "mode", cpu.mode);
    attribute(node, "match", cpu.match);
    if (!cpu.model.empty())
        text(node, "model", cpu.model);
    Node topology = child(node, "topology");
    attribute(topology, "sockets", cpu.sockets);
    attribute(topology, "cores", cpu.cores);
    attribute(topology, "threads", cpu.threads);
    for (const auto& [name, policy] : cpu.features) {
        Node feature = child(node, "feature");
        attribute(feature, "policy", policy);
        attribute(feature, "name", name);
    }
    if (!cpu.max_address_mode.empty()) {
        Node width = child(node, "maxphysaddr");
        attribute(width, "mode", cpu.max_address_mode);
        if (cpu.max_address_bits > 0)
            attribute(width, "bits", cpu.max_address_bits);
    }
    write_cells(node, cpu.cells);
}

void write_tune(Node root, const Tune& tune) {
    if (tune.quotas.empty() && tune.pins.empty() && tune.emulator_pin.empty())
        return;
    Node node = child(root, "cputune");
    numbers(node, tune.quotas);
    if (!tune.emulator_pin.empty())
        attribute(child(node, "emulatorpin"), "cpuset", tune.emulator_pin);
    if (!tune.iothread_pin.empty()) {
        Node pin = child(node, "iothreadpin");
        attribute(pin, "iothread", std::uint64_t{1});
        attribute(pin, "cpuset", tune.iothread_pin);
    }
    for (const auto& pin : tune.pins) {
        Node entry = child(node, "vcpupin");
        attribute(entry, "vcpu", pin.vcpu);
        attribute(entry, "cpuset", pin.cpuset);
    }
    if (!tune.realtime_vcpus.empty()) {
        Node sched = child(node, "vcpusched");
        attribute(sched, "vcpus", tune.realtime_vcpus);
        attribute(sched, "scheduler", "fifo");
        attribute(sched, "priority", tune.realtime_priority);
    }
}

void write_disk(Node devices, const Disk& disk) {
    Node node = child(devices, "disk");
    attribute(node, "type", "file");
    attribute(node, "device", disk.device);
    Node driver = child(node, "driver");
    attribute(driver, "name", "qemu");
    attribute(driver, "type", disk.format);
    attribute(driver, "cache", disk.cache);
    if (!disk.discard.empty())
        attribute(driver, "discard", disk.discard);
    attribute(child(node, "source"), "file", disk.file);
    Node target = child(node, "target");
    attribute(target, "dev", disk.target);
    attribute(target, "bus", disk.bus);
    if (disk.scsi_unit) {
        Node address = child(node, "address");
        attribute(address, "type", "drive");
        attribute(address, "controller", std::uint64_t{0});
        attribute(address, "unit", *disk.scsi_unit);
    }
    if (!disk.iotune.empty())
        numbers(child(node, "iotune"), disk.iotune);
}

void write_bandwidth(Node interface, const Interface& spec) {
    if (spec.inbound.empty() && spec.outbound.empty())
        return;
    Node bandwidth = child(interface, "bandwidth");
    for (const auto& [name, values] :
         {std::pair{"inbound", &spec.inbound}, std::pair{"outbound", &spec.outbound}}) {
        if (values->empty())
            continue;
        Node direction = child(bandwidth, name);
        for (const auto& [key, value] : *values)
            attribute(direction, key.c_str(), value);
    }
}

void write_interface_driver(Node interface, const Interface& spec) {
    if (spec.driver.empty() && spec.queues == 0 && spec.rx_queue_size == 0 &&
        spec.tx_queue_size == 0 && !spec.packed)
        return;
    Node driver = child(interface, "driver");
    if (!spec.driver.empty())
        attribute(driver, "name", spec.driver);
    if (spec.queues > 0)
        attribute(driver, "queues", spec.queues);
    if (spec.rx_queue_size > 0)
        attribute(driver, "rx_queue_size", spec.rx_queue_size);
    if (spec.tx_queue_size > 0)
        attribute(driver, "tx_queue_size", spec.tx_queue_size);
    if (spec.packed)
        attribute(driver, "packed", "on");
}

void write_interface(Node devices, const Interface& spec) {
    Node node = child(devices, "interface");
    attribute(node, "type", spec.type);
    attribute(child(node, "mac"), "address", spec.mac);
    attribute(child(node, "model"), "type", spec.model);
    write_interface_driver(node, spec);
    if (!spec.bridge.empty())
        attribute(child(node, "source"), "bridge", spec.bridge);
    if (!spec.socket_path.empty()) {
        Node source = child(node, "source");
        attribute(source, "type", "unix");
        attribute(source, "path", spec.socket_path);
        attribute(source, "mode", spec.socket_mode);
    }
    // libvirt sets the size on taps it makes or manages; a vhost-user socket has none.
    if (spec.mtu > 0 && spec.type != "vhostuser")
        attribute(child(node, "mtu"), "size", spec.mtu);
    if (!spec.target.empty()) {
        Node target = child(node, "target");
        attribute(target, "dev", spec.target);
        if (spec.unmanaged_target)
            attribute(target, "managed", "no");
    }
    if (!spec.ovs_interface_id.empty()) {
        Node port = child(node, "virtualport");
        attribute(port, "type", "openvswitch");
        attribute(child(port, "parameters"), "interfaceid", spec.ovs_interface_id);
    }
    write_bandwidth(node, spec);
}

void write_console_and_graphics(Node devices, const Domain& domain) {
    Node serial = child(devices, "serial");
    attribute(serial, "type", "pty");
    Node log = child(serial, "log");
    attribute(log, "file", domain.console_log);
    attribute(log, "append", "off");
    if (domain.spice_channel) {
        Node channel = child(devices, "channel");
        attribute(channel, "type", "spicevmc");
        Node target = child(channel, "target");
        attribute(target, "type", "virtio");
        attribute(target, "name", "com.redhat.spice.0");
    }
    for (const auto& screen : domain.graphics) {
        Node graphics = child(devices, "graphics");
        attribute(graphics, "type", screen.type);
        attribute(graphics, "autoport", "yes");
        attribute(graphics, "listen", screen.listen);
    }
    if (domain.video) {
        Node model = child(child(devices, "video"), "model");
        attribute(model, "type", domain.video->model);
        if (domain.video->vram_kib > 0)
            attribute(model, "vram", domain.video->vram_kib);
    }
    for (const auto& input : domain.inputs) {
        Node node = child(devices, "input");
        attribute(node, "type", input.type);
        attribute(node, "bus", input.bus);
    }
}

void write_agent_channel(Node devices, const std::string& path) {
    Node channel = child(devices, "channel");
    attribute(channel, "type", "unix");
    Node source = child(channel, "source");
    attribute(source, "mode", "bind");
    attribute(source, "path", path);
    Node target = child(channel, "target");
    attribute(target, "type", "virtio");
    attribute(target, "name", "org.qemu.guest_agent.0");
}

void write_rng(Node devices, const RandomSource& source) {
    Node rng = child(devices, "rng");
    attribute(rng, "model", "virtio");
    if (source.rate_bytes > 0 && source.rate_period > 0) {
        Node rate = child(rng, "rate");
        attribute(rate, "period", source.rate_period);
        attribute(rate, "bytes", source.rate_bytes);
    }
    attribute(text(rng, "backend", source.device), "model", "random");
}

Node controller(Node devices, const char* type, const std::string& model) {
    Node node = child(devices, "controller");
    attribute(node, "type", type);
    if (!model.empty())
        attribute(node, "model", model);
    return node;
}

void write_extras(Node devices, const Domain& domain) {
    if (!domain.agent_channel.empty())
        write_agent_channel(devices, domain.agent_channel);
    if (domain.rng)
        write_rng(devices, *domain.rng);
    if (domain.pcie_ports > 0) {
        controller(devices, "pci", "pcie-root");
        for (unsigned i = 0; i < domain.pcie_ports; ++i)
            controller(devices, "pci", "pcie-root-port");
    }
    // Without a word libvirt would give x86 guests a USB controller.
    attribute(controller(devices, "usb", domain.usb ? "" : "none"), "index", std::uint64_t{0});
    if (!domain.watchdog.empty()) {
        Node watchdog = child(devices, "watchdog");
        attribute(watchdog, "model", "i6300esb");
        attribute(watchdog, "action", domain.watchdog);
    }
    if (domain.balloon) {
        Node balloon = child(devices, "memballoon");
        attribute(balloon, "model", "virtio");
        if (domain.balloon->gives_pages_back) {
            attribute(balloon, "autodeflate", "on");
            attribute(balloon, "freePageReporting", "on");
        }
        attribute(child(balloon, "stats"), "period", domain.balloon->stats_period);
    }
}

void write_devices(Node root, const Domain& domain) {
    Node devices = child(root, "devices");
    for (const auto& disk : domain.disks)
        write_disk(devices, disk);
    if (!domain.scsi_model.empty())
        attribute(controller(devices, "scsi", domain.scsi_model), "index", std::uint64_t{0});
    for (const auto& interface : domain.interfaces)
        write_interface(devices, interface);
    write_console_and_graphics(devices, domain);
    write_extras(devices, domain);
}

} // namespace

std::string write_domain(const Domain& domain) {
    pugi::xml_document document;
    Node root = document.append_child("domain");
    attribute(root, "type", domain.type);
    text(root, "uuid", domain.uuid);
    text(root, "name", domain.name);
    number(root, "memory", domain.memory_kib);
    Node vcpu = number(root, "vcpu", domain.vcpus);
    if (!domain.vcpu_cpuset.empty())
        attribute(vcpu, "cpuset", domain.vcpu_cpuset);
    if (domain.iothreads > 0)
        number(root, "iothreads", domain.iothreads);
    write_memory(root, domain);
    write_metadata(root, domain.metadata);
    if (domain.smbios)
        write_sysinfo(root, domain);
    write_os(root, domain);
    write_features(root, domain);
    write_clock(root, domain);
    write_tune(root, domain.tune);
    write_cpu(root, domain.cpu);
    write_devices(root, domain);
    std::ostringstream out;
    document.save(out, "  ", pugi::format_indent | pugi::format_no_declaration);
    return out.str();
}

} // namespace novalet::hypervisor::domain
