#include "hypervisor/domain/hardware.hpp"

#include "tests/support/guest_builder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace novalet::hypervisor::domain {
namespace {

using ::testing::IsSupersetOf;
using tests::golden_guest;
using Map = std::map<std::string, std::string>;

LiveDomain defined(const std::string& machine) {
    LiveDomain out;
    out.name = "instance-0000000a";
    out.machine = machine;
    out.has_graphics = true;
    out.video_model = "cirrus";
    out.disks = {{"disk", "qcow2", "/i/disk", "sda", "scsi", ""},
                 {"disk", "raw", "/i/disk.config", "sdb", "scsi", ""}};
    return out;
}

/// After keep_hardware(), as build_domain() makes it.
Domain again(const LiveDomain& before, GuestSpec guest, DomainOptions options = {}) {
    keep_hardware(before, guest, options);
    auto domain = build_domain(guest, options);
    EXPECT_TRUE(domain) << (domain ? "" : domain.error().text);
    return domain.value_or(Domain{});
}

TEST(HardwareOf, AnX86Guest_HasNovasDefaults) {
    EXPECT_EQ(hardware_of(golden_guest(), {}),
              (Map{{"hw_machine_type", "pc"},
                   {"hw_cdrom_bus", "ide"},
                   {"hw_disk_bus", "virtio"},
                   {"hw_input_bus", "usb"},
                   {"hw_pointer_model", "usbtablet"},
                   {"hw_video_model", "virtio"},
                   {"hw_vif_model", "virtio"}}));
}

TEST(HardwareOf, AnArmGuest_HasTheMachineItWasMadeWith) {
    DomainOptions options;
    options.arch = "aarch64";
    options.machine_type = "pc"; // of x86 guests
    auto noted = hardware_of(golden_guest(), options);
    EXPECT_EQ(noted["hw_machine_type"], "virt");
    EXPECT_EQ(noted["hw_cdrom_bus"], "scsi");
    // And with what was noted it starts again.
    options.machines = {"virt", "virt-7.2"};
    auto guest = golden_guest();
    guest.image.properties = noted;
    guest.image.properties["hw_firmware_type"] = "bios";
    const auto built = build_domain(guest, options);
    ASSERT_TRUE(built) << built.error().text;
    EXPECT_EQ(built->machine, "virt");
    EXPECT_EQ(built->disks.back().bus, "scsi");
}

TEST(HardwareOf, WhatTheGuestDidNotGet_IsNotNoted) {
    DomainOptions options;
    options.pointer_tablet = false;
    const auto noted = hardware_of(golden_guest(), options);
    EXPECT_FALSE(noted.contains("hw_input_bus"));
    EXPECT_FALSE(noted.contains("hw_pointer_model"));
}

TEST(HardwareOf, WishesOfTheImage_AreNoted) {
    auto guest = golden_guest();
    guest.image.properties = {{"hw_machine_type", "pc-q35-7.2"}, {"hw_vif_model", "e1000"}};
    DomainOptions options;
    options.spice = true;
    EXPECT_THAT(hardware_of(guest, options),
                IsSupersetOf(Map{{"hw_machine_type", "pc-q35-7.2"},
                                 {"hw_cdrom_bus", "sata"},
                                 {"hw_vif_model", "e1000"},
                                 {"hw_video_model", "qxl"}}));
}

TEST(KeepHardware, ConfiguredDefaults_DoNotChangeAGuestThatExists) {
    auto guest = golden_guest();
    guest.disks[0].bus.clear(); // its record names none
    guest.config_drive->vfat = true;
    DomainOptions options;
    options.machine_types["x86_64"] = "q35";
    options.canonical_machines = {{"pc", "pc-i440fx-7.2"}, {"q35", "pc-q35-7.2"}};
    const auto domain = again(defined("pc-i440fx-7.2"), guest, options);
    EXPECT_EQ(domain.machine, "pc-i440fx-7.2");
    EXPECT_EQ(domain.video->model, "cirrus");
    EXPECT_TRUE(domain.inputs.empty()) << "it never had a tablet";
    EXPECT_EQ(domain.disks[0].bus, "scsi");
    EXPECT_EQ(domain.disks[0].target, "sda");
    EXPECT_EQ(domain.disks[1].bus, "scsi");
    EXPECT_EQ(domain.disks[1].target, "sdb");
}

TEST(KeepHardware, RecordsBeatTheDefinition) {
    auto guest = golden_guest(); // its mapping says virtio, vda
    guest.image.properties = {
        {"hw_machine_type", "q35"}, {"hw_video_model", "vga"}, {"hw_pointer_model", "usbtablet"}};
    const auto domain = again(defined("pc-i440fx-7.2"), guest);
    EXPECT_EQ(domain.machine, "q35");
    EXPECT_EQ(domain.video->model, "vga");
    EXPECT_EQ(domain.inputs.size(), 1U);
    EXPECT_EQ(domain.disks[0].bus, "virtio");
    EXPECT_EQ(domain.disks[0].target, "vda");
}

TEST(KeepHardware, AConfigDriveOfAnotherKind_GetsAPlaceOfItsOwn) {
    // An earlier start gave out the VFAT drive as a CD-ROM.
    auto before = defined("pc");
    before.disks[1] = {"cdrom", "raw", "/i/disk.config", "hda", "ide", ""};
    auto guest = golden_guest();
    guest.config_drive->vfat = true;
    const auto domain = again(before, guest);
    EXPECT_EQ(domain.disks[1].device, "disk");
    EXPECT_EQ(domain.disks[1].bus, "virtio");
    EXPECT_EQ(domain.disks[1].target, "vdb");
}

TEST(KeepHardware, TheNameOfTheDomainStays) {
    auto before = defined("pc");
    before.name = "vm-10"; // of an earlier instance_name_template
    EXPECT_EQ(again(before, golden_guest()).name, "vm-10");
}

TEST(KeepHardware, AnAliasOfTheSameMachineStaysAnAlias) {
    DomainOptions options;
    options.canonical_machines = {{"pc", "pc-i440fx-7.2"}};
    EXPECT_EQ(again(defined("pc-i440fx-7.2"), golden_guest(), options).machine, "pc");
}

TEST(KeepHardware, AMachineThatQemuForgotIsNotKept) {
    DomainOptions options;
    options.machines = {"pc", "pc-i440fx-9.0"};
    EXPECT_EQ(again(defined("pc-i440fx-2.0"), golden_guest(), options).machine, "pc");
}

} // namespace
} // namespace novalet::hypervisor::domain
