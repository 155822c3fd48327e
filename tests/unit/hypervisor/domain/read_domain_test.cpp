#include "hypervisor/domain/domain.hpp"

#include <gtest/gtest.h>

namespace novalet::hypervisor::domain {
namespace {

TEST(ReadDomain, LiveDomainOfNova_IsRead) {
    const auto live = read_domain(R"(<domain type='qemu' id='7'>
      <name>instance-00000001</name><uuid>2f7e3d2a-3b1f-4c6c-9a55-7f7d3f8f0001</uuid>
      <metadata><n:instance xmlns:n="http://openstack.org/xmlns/libvirt/nova/1.1">
        <n:name>vm1</n:name><n:creationTime>2026-11-21 04:28:56</n:creationTime>
        </n:instance></metadata>
      <memory unit='KiB'>65536</memory><vcpu placement='static'>2</vcpu>
      <os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>
        <loader readonly='yes' type='pflash'>/code</loader><nvram>/vars</nvram></os>
      <devices>
        <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/i/disk'/>
          <target dev='vda' bus='virtio'/></disk>
        <disk type='block' device='disk'><source dev='/dev/sdx'/><target dev='vdb' bus='virtio'/>
          <serial>volume-1</serial></disk>
        <interface type='bridge'><mac address='fa:16:3e:00:00:01'/><source bridge='brq1'/>
          <target dev='tap1'/></interface>
        <serial type='pty'><log file='/i/console.log' append='off'/></serial>
        <graphics type='spice' port='5999'/>
        <graphics type='vnc' port='5901' listen='127.0.0.1'/>
        <video><model type='cirrus' vram='16384'/></video>
        <input type='tablet' bus='usb'/><input type='mouse' bus='ps2'/>
      </devices></domain>)");
    ASSERT_TRUE(live) << live.error().text;
    EXPECT_EQ(live->id, 7);
    EXPECT_TRUE(live->made_by_nova);
    EXPECT_EQ(live->metadata_name, "vm1");
    EXPECT_EQ(live->metadata_time, "2026-11-21 04:28:56");
    EXPECT_TRUE(live->has_graphics);
    EXPECT_EQ(live->video_model, "cirrus");
    EXPECT_TRUE(live->has_tablet);
    EXPECT_EQ(live->memory_kib, 65536U);
    EXPECT_EQ(live->vcpus, 2U);
    EXPECT_EQ(live->vnc_port, 5901U);
    ASSERT_EQ(live->disks.size(), 2U);
    EXPECT_EQ(live->disks[1].source, "/dev/sdx");
    EXPECT_EQ(live->disks[1].serial, "volume-1");
    EXPECT_EQ(live->disk_files, std::vector<std::string>{"/i/disk"});
    EXPECT_EQ(live->interfaces.at(0).bridge, "brq1");
    EXPECT_EQ(live->console_log, "/i/console.log");
    EXPECT_EQ(live->loader, "/code");
    EXPECT_EQ(live->nvram, "/vars");
}

TEST(ReadDomain, StoppedDomain_HasNoPortAndNoId) {
    const auto live = read_domain("<domain type='kvm'><memory unit='MiB'>64</memory><devices>"
                                  "<graphics type='vnc' port='-1'/></devices></domain>");
    ASSERT_TRUE(live);
    EXPECT_EQ(live->id, -1);
    EXPECT_EQ(live->vnc_port, 0U);
    EXPECT_FALSE(live->has_tablet);
    EXPECT_EQ(live->memory_kib, 65536U);
    EXPECT_FALSE(live->made_by_nova);
}

TEST(ReadDomain, WhatWeWrite_ReadsBack) {
    Domain domain;
    domain.uuid = "2f7e3d2a-3b1f-4c6c-9a55-7f7d3f8f0001";
    domain.name = "instance-0000000a";
    domain.memory_kib = 2097152;
    domain.vcpus = 4;
    domain.console_log = "/i/console.log";
    domain.disks.push_back({});
    domain.disks[0].file = "/i/disk";
    const auto live = read_domain(write_domain(domain));
    ASSERT_TRUE(live);
    EXPECT_EQ(live->uuid, domain.uuid);
    EXPECT_EQ(live->name, domain.name);
    EXPECT_EQ(live->memory_kib, domain.memory_kib);
    EXPECT_EQ(live->vcpus, domain.vcpus);
    EXPECT_EQ(live->disk_files, std::vector<std::string>{"/i/disk"});
    EXPECT_TRUE(live->made_by_nova);
}

TEST(InterfaceXml, GivesTheElementWithThatMac) {
    const std::string xml = "<domain><devices>"
                            "<interface type='bridge'><mac address='fa:16:3e:00:00:01'/>"
                            "<target dev='tap1'/><alias name='net0'/></interface>"
                            "<interface type='ethernet'><mac address='fa:16:3e:00:00:0b'/>"
                            "</interface></devices></domain>";
    EXPECT_EQ(interface_xml(xml, "fa:16:3e:00:00:01").value(),
              "<interface type=\"bridge\"><mac address=\"fa:16:3e:00:00:01\"/>"
              "<target dev=\"tap1\"/><alias name=\"net0\"/></interface>");
    EXPECT_EQ(interface_xml(xml, "FA:16:3E:00:00:0B").value(),
              "<interface type=\"ethernet\"><mac address=\"fa:16:3e:00:00:0b\"/></interface>");
    EXPECT_EQ(interface_xml(xml, "fa:16:3e:00:00:02").value(), "");
    EXPECT_FALSE(interface_xml("<capabilities/>", "fa:16:3e:00:00:01"));
}

TEST(ReadDomain, OtherText_IsAnError) {
    EXPECT_FALSE(read_domain(""));
    EXPECT_FALSE(read_domain("<capabilities/>"));
    EXPECT_FALSE(read_domain("<domain><devices></domain>"));
}

} // namespace
} // namespace novalet::hypervisor::domain
