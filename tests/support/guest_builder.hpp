#pragma once
// Guests for tests of the hypervisor: the one of the golden documents (reference 07 §2.1).
#include "hypervisor/guest_spec.hpp"

namespace novalet::tests {

inline hypervisor::InterfaceSpec ovs_interface() {
    hypervisor::InterfaceSpec port;
    port.port = PortId("aabbccdd-0000-1111-2222-333344445555");
    port.mac = "fa:16:3e:00:00:01";
    port.vif_type = "ovs";
    port.device = "tapaabbccdd-00";
    port.bridge = "br-int";
    port.mtu = 1442;
    port.vif = *Json::parse(R"({"delegate_create": true, "details": {}, "network": {"subnets": [
        {"ips": [{"type": "fixed", "address": "10.0.0.5", "version": 4}]}]}})");
    return port;
}

/// 4 vCPUs, 2048 MiB, qcow2 root, config drive, one OVS port.
inline hypervisor::GuestSpec golden_guest() {
    using namespace hypervisor;
    GuestSpec guest;
    guest.uuid = InstanceUuid("2f7e3d2a-3b1f-4c6c-9a55-7f7d3f8f0001");
    guest.name = "instance-0000000a";
    guest.display_name = "vm1";
    guest.project_id = "pid";
    guest.user_id = "uid";
    guest.project_name = "N/A";
    guest.user_name = "N/A";
    guest.flavor.id = "42";
    guest.flavor.name = "m1.small";
    guest.flavor.memory_mib = 2048;
    guest.flavor.vcpus = 4;
    guest.flavor.root_gib = 1;
    guest.image.id = "155d900f-4e14-4e4c-a73d-069cbf4541e6";
    guest.image.disk_format = "qcow2";
    guest.root_device_name = "/dev/vda";
    DiskSpec root;
    root.file_name = "disk";
    root.size_bytes = std::uint64_t{1} << 30U;
    root.device_name = "vda";
    root.bus = "virtio";
    root.format = "qcow2";
    root.boot_index = 0;
    guest.disks.push_back(root);
    guest.interfaces.push_back(ovs_interface());
    guest.config_drive = ConfigDrive{};
    guest.nova_package_version = "26.2.2";
    return guest;
}

} // namespace novalet::tests
