#include "hypervisor/domain/domain.hpp"

#include <pugixml.hpp>
#include <sstream>

namespace novalet::hypervisor::domain {
namespace {

constexpr const char* nova_namespace = "http://openstack.org/xmlns/libvirt/nova/1.1";

using Node = pugi::xml_node;
using Numbers = std::vector<std::pair<std::string, std::uint64_t>>;

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

void numbers(Node parent, const Numbers& values) {
    for (const auto& [name, value] : values)
        number(parent, name.c_str(), value);
}

void write_metadata(Node root, const Metadata& metadata) {
    Node instance = child(child(root, "metadata"), "nova:instance");
    attribute(instance, "xmlns:nova", nova_namespace);
    attribute(child(instance, "nova:package"), "version", metadata.package_version);
    text(instance, "nova:name", metadata.name);
    text(instance, "nova:creationTime", metadata.creation_time);
    Node flavor = child(instance, "nova:flavor");
    attribute(flavor, "name", metadata.flavor_name);
    number(flavor, "nova:memory", metadata.memory_mib);
    number(flavor, "nova:disk", metadata.disk_gib);
    number(flavor, "nova:swap", metadata.swap_mib);
    number(flavor, "nova:ephemeral", metadata.ephemeral_gib);
    number(flavor, "nova:vcpus", metadata.vcpus);
    Node owner = child(instance, "nova:owner");
    attribute(text(owner, "nova:user", metadata.user_name), "uuid", metadata.user_id);
    attribute(text(owner, "nova:project", metadata.project_name), "uuid", metadata.project_id);
    if (!metadata.root_id.empty()) {
        Node root_disk = child(instance, "nova:root");
        attribute(root_disk, "type", metadata.root_type);
        attribute(root_disk, "uuid", metadata.root_id);
    }
    Node ports = child(instance, "nova:ports");
    for (const auto& port : metadata.ports) {
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

void write_os(Node root, const Domain& domain) {
    Node os = child(root, "os");
    Node type = text(os, "type", "hvm");
    attribute(type, "arch", domain.arch);
    attribute(type, "machine", domain.machine);
    if (!domain.loader.empty()) {
        Node loader = text(os, "loader", domain.loader);
        attribute(loader, "type", "pflash");
        attribute(loader, "readonly", "yes");
        attribute(loader, "secure", domain.secure_boot ? "yes" : "no");
        attribute(child(os, "nvram"), "template", domain.nvram_template);
    }
    if (!domain.kernel.empty())
        text(os, "kernel", domain.kernel);
    if (!domain.ramdisk.empty())
        text(os, "initrd", domain.ramdisk);
    if (!domain.cmdline.empty())
        text(os, "cmdline", domain.cmdline);
    attribute(child(os, "boot"), "dev", domain.boot);
    attribute(child(os, "smbios"), "mode", "sysinfo");
}

void write_hyperv(Node features) {
    Node hyperv = child(features, "hyperv");
    for (const char* name : {"relaxed", "vapic"})
        attribute(child(hyperv, name), "state", "on");
    Node spinlocks = child(hyperv, "spinlocks");
    attribute(spinlocks, "state", "on");
    attribute(spinlocks, "retries", std::uint64_t{8191});
    for (const char* name :
         {"vpindex", "runtime", "synic", "reset", "frequencies", "tlbflush", "ipi"})
        attribute(child(hyperv, name), "state", "on");
}

void write_features(Node root, const Domain& domain) {
    Node features = child(root, "features");
    for (const char* name : {"acpi", "apic"})
        child(features, name);
    if (domain.secure_boot)
        attribute(child(features, "smm"), "state", "on");
    if (domain.windows)
        write_hyperv(features);
    if (domain.hide_hypervisor)
        attribute(child(child(features, "kvm"), "hidden"), "state", "on");
    if (domain.pmu)
        attribute(child(features, "pmu"), "state", *domain.pmu ? "on" : "off");
    child(features, "vmcoreinfo");
}

void write_clock(Node root, const Domain& domain) {
    Node clock = child(root, "clock");
    attribute(clock, "offset", domain.windows ? "localtime" : "utc");
    const auto timer = [&](const char* name, const char* key, const char* value) {
        Node node = child(clock, "timer");
        attribute(node, "name", name);
        attribute(node, key, value);
    };
    timer("pit", "tickpolicy", "delay");
    timer("rtc", "tickpolicy", "catchup");
    timer("hpet", "present", "no");
    if (domain.windows)
        timer("hypervclock", "present", "yes");
}

void write_cpu(Node root, const Cpu& cpu) {
    Node node = child(root, "cpu");
    if (!cpu.mode.empty()) {
        attribute(node, "mode", cpu.mode);
        attribute(node, "match", cpu.match);
    }
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
    if (cpu.cells.empty())
        return;
    Node numa = child(node, "numa");
    for (const auto& cell : cpu.cells) {
        Node entry = child(numa, "cell");
        attribute(entry, "id", cell.id);
        attribute(entry, "cpus", cell.cpus);
        attribute(entry, "memory", cell.memory_kib);
        if (cell.shared_access)
            attribute(entry, "memAccess", "shared");
    }
}

void write_tune(Node root, const Tune& tune) {
    if (tune.quotas.empty() && tune.pins.empty() && tune.emulator_pin.empty())
        return;
    Node node = child(root, "cputune");
    numbers(node, tune.quotas);
    if (!tune.emulator_pin.empty())
        attribute(child(node, "emulatorpin"), "cpuset", tune.emulator_pin);
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

void write_interface(Node devices, const Interface& spec) {
    Node node = child(devices, "interface");
    attribute(node, "type", spec.type);
    attribute(child(node, "mac"), "address", spec.mac);
    attribute(child(node, "model"), "type", spec.model);
    if (!spec.driver.empty() || spec.queues > 0) {
        Node driver = child(node, "driver");
        if (!spec.driver.empty())
            attribute(driver, "name", spec.driver);
        if (spec.queues > 0)
            attribute(driver, "queues", spec.queues);
    }
    if (!spec.bridge.empty())
        attribute(child(node, "source"), "bridge", spec.bridge);
    if (!spec.socket_path.empty()) {
        Node source = child(node, "source");
        attribute(source, "type", "unix");
        attribute(source, "path", spec.socket_path);
        attribute(source, "mode", spec.socket_mode);
    }
    if (spec.mtu > 0)
        attribute(child(node, "mtu"), "size", spec.mtu);
    if (!spec.target.empty())
        attribute(child(node, "target"), "dev", spec.target);
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
    if (domain.vnc) {
        Node graphics = child(devices, "graphics");
        attribute(graphics, "type", "vnc");
        attribute(graphics, "autoport", "yes");
        attribute(graphics, "listen", domain.vnc_listen);
    }
    if (!domain.video_model.empty())
        attribute(child(child(devices, "video"), "model"), "type", domain.video_model);
    if (domain.tablet) {
        Node input = child(devices, "input");
        attribute(input, "type", "tablet");
        attribute(input, "bus", "usb");
    }
}

void write_extras(Node devices, const Domain& domain) {
    if (!domain.agent_channel.empty()) {
        Node channel = child(devices, "channel");
        attribute(channel, "type", "unix");
        Node source = child(channel, "source");
        attribute(source, "mode", "bind");
        attribute(source, "path", domain.agent_channel);
        Node target = child(channel, "target");
        attribute(target, "type", "virtio");
        attribute(target, "name", "org.qemu.guest_agent.0");
    }
    if (!domain.rng_device.empty()) {
        Node rng = child(devices, "rng");
        attribute(rng, "model", "virtio");
        attribute(text(rng, "backend", domain.rng_device), "model", "random");
    }
    Node usb = child(devices, "controller");
    attribute(usb, "type", "usb");
    attribute(usb, "index", std::uint64_t{0});
    if (!domain.tablet)
        attribute(usb, "model", "none");
    if (!domain.watchdog.empty()) {
        Node watchdog = child(devices, "watchdog");
        attribute(watchdog, "model", "i6300esb");
        attribute(watchdog, "action", domain.watchdog);
    }
    Node balloon = child(devices, "memballoon");
    attribute(balloon, "model", "virtio");
    if (domain.balloon_period > 0)
        attribute(child(balloon, "stats"), "period", domain.balloon_period);
}

void write_devices(Node root, const Domain& domain) {
    Node devices = child(root, "devices");
    for (const auto& disk : domain.disks)
        write_disk(devices, disk);
    if (!domain.scsi_model.empty()) {
        Node scsi = child(devices, "controller");
        attribute(scsi, "type", "scsi");
        attribute(scsi, "index", std::uint64_t{0});
        attribute(scsi, "model", domain.scsi_model);
    }
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
    write_memory(root, domain);
    write_metadata(root, domain.metadata);
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
