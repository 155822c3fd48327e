// Guests that exist, started again by a host whose configuration changed, and starts that cannot
// be: real domains on the real libvirtd.
#include "hypervisor/storage/qemu_img.hpp"
#include "tests/integration/hypervisor/libvirt/real_guest.hpp"

#include <fcntl.h>
#include <fstream>
#include <gmock/gmock.h>

namespace novalet::hypervisor::libvirt {
namespace {

using ::testing::HasSubstr;
using tests::greeting;
using tests::RealGuest;
namespace fs = std::filesystem;

class Restart : public RealGuest {
  protected:
    void spawn() {
        const auto spawned = hypervisor_->spawn(guest_, hooks());
        ASSERT_TRUE(spawned) << spawned.error().text;
        guest_.config_drive = ConfigDrive{}; // what it holds is only known at the build
    }
    void power_on() {
        const auto on = hypervisor_->power_on(guest_, hooks());
        ASSERT_TRUE(on) << on.error().text;
        EXPECT_EQ(state(), PowerState::Running);
    }
    [[nodiscard]] PowerState state() const {
        const auto info = hypervisor_->info(guest_.uuid);
        EXPECT_TRUE(info) << (info ? "" : info.error().text);
        return info ? info->state : PowerState::NoState;
    }
    [[nodiscard]] domain::LiveDomain::LiveDisk disk(const std::string& name) const {
        for (const auto& disk : defined().disks)
            if (fs::path(disk.source).filename() == name)
                return disk;
        ADD_FAILURE() << "the domain has no " << name;
        return {};
    }
};

TEST_F(Restart, RawDisk_StaysRawWhateverTheGuestWroteAndTheHostMakesNow) {
    copy_on_write_ = false;
    restart();
    spawn();
    ASSERT_TRUE(hypervisor_->power_off(guest_.uuid, {}));
    // What a guest can write: the head of an overlay on a file of the host.
    const auto trap = folder_ / "trap.qcow2";
    storage::QemuImg tool(system_processes());
    std::ofstream(folder_ / "secret") << std::string(4096, 's');
    ASSERT_TRUE(tool.create_overlay(trap, folder_ / "secret", "raw", 0));
    const auto head = read_file(trap).value_or("").substr(0, 4096);
    const Fd file(open((home() / "disk").c_str(), O_WRONLY));
    ASSERT_EQ(pwrite(file.get(), head.data(), head.size(), 0), static_cast<ssize_t>(head.size()));
    copy_on_write_ = true;
    restart();
    power_on();
    EXPECT_EQ(disk("disk").format, "raw");

    // Nor when the note of it is lost: the domain's definition holds it as well.
    fs::remove(home() / "disk.info");
    power_on();
    EXPECT_EQ(disk("disk").format, "raw");
    EXPECT_THAT(read_file(home() / "disk.info").value_or(""), HasSubstr("\"raw\""));
}

TEST_F(Restart, Overlay_StaysOneOnAHostThatMakesRawDisksNow) {
    spawn();
    ASSERT_TRUE(hypervisor_->power_off(guest_.uuid, {}));
    fs::remove(home() / "console.log");
    copy_on_write_ = false;
    restart();
    power_on();
    EXPECT_EQ(disk("disk").format, "qcow2");
    EXPECT_THAT(console(greeting), HasSubstr(greeting)) << "it boots from what it holds";
}

TEST_F(Restart, OverlayThatStandsOnNothing_NeedsNoImage) {
    spawn();
    ASSERT_TRUE(hypervisor_->power_off(guest_.uuid, {}));
    storage::QemuImg tool(system_processes());
    ASSERT_TRUE(tool.convert(home() / "disk", "qcow2", home() / "flat", "qcow2", false));
    fs::rename(home() / "flat", home() / "disk");
    fs::remove_all(folder_ / "_base");
    image_.broken = true;
    power_on();
}

TEST_F(Restart, OverlayWhoseBaseCannotBeHad_LeavesTheGuestDefined) {
    spawn();
    ASSERT_TRUE(hypervisor_->power_off(guest_.uuid, {}));
    fs::remove_all(folder_ / "_base");
    fs::create_directory(folder_ / "_base");
    image_.broken = true;
    EXPECT_FALSE(hypervisor_->power_on(guest_, hooks()));
    EXPECT_EQ(state(), PowerState::Shutdown);
    image_.broken = false;
    power_on();
}

TEST_F(Restart, ConfigDrive_ComesBackAsItWasMade) {
    guest_.config_drive->vfat = true;
    spawn();
    const auto before = disk("disk.config");
    EXPECT_EQ(before.device, "disk");
    ASSERT_TRUE(hypervisor_->power_off(guest_.uuid, {}));
    power_on();
    const auto after = disk("disk.config");
    EXPECT_EQ(after.device, "disk");
    EXPECT_EQ(after.bus, before.bus);
    EXPECT_EQ(after.target, before.target);

    fs::rename(home() / "disk.config", home() / "aside");
    const auto refused = hypervisor_->power_on(guest_, hooks());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "DiskNotFound");
    EXPECT_THAT(refused.error().text, HasSubstr((home() / "disk.config").string()));
    EXPECT_FALSE(fs::exists(home() / "disk.config"));
    EXPECT_EQ(state(), PowerState::Running) << "the guest is left as it is";
    fs::rename(home() / "aside", home() / "disk.config");
}

TEST_F(Restart, RefusedStart_LeavesTheGuestAsItWas) {
    spawn();
    const auto id = defined().id;
    auto wish = guest_;
    wish.image.properties["hw_tpm_version"] = "2.0"; // refused by this agent
    EXPECT_EQ(hypervisor_->power_on(wish, hooks()).error().exception, "InvalidInput");
    wish = guest_;
    wish.disks[0].bus = "nonsense"; // refused by libvirt
    EXPECT_EQ(hypervisor_->power_on(wish, hooks()).error().exception, "libvirtError");
    wish = guest_;
    wish.interfaces = {tests::ovs_interface()};
    wish.interfaces[0].vif_type = "tap";
    wish.interfaces[0].device = "no device/"; // refused by the network
    EXPECT_EQ(hypervisor_->power_on(wish, hooks()).error().exception,
              "VirtualInterfacePlugException");
    EXPECT_EQ(state(), PowerState::Running);
    EXPECT_EQ(defined().id, id) << "the same run of it";
    power_on();
    EXPECT_NE(defined().id, id);
}

TEST_F(Restart, RenamedByTheTemplate_KeepsItsName) {
    spawn();
    const auto name = guest_.name;
    guest_.name += "-renamed";
    power_on();
    EXPECT_EQ(defined().name, name);
}

TEST_F(Restart, SavedMemory_IsGivenUpByAColdStart) {
    spawn();
    ASSERT_TRUE(hypervisor_->suspend(guest_.uuid));
    EXPECT_TRUE(has_managed_save());
    power_on();
    EXPECT_FALSE(has_managed_save());
    EXPECT_THAT(console(greeting), HasSubstr(greeting));
}

TEST_F(Restart, HardwareOfAGuest_IsTold) {
    spawn();
    const auto hardware = hypervisor_->hardware(guest_);
    ASSERT_TRUE(hardware) << hardware.error().text;
    EXPECT_EQ(hardware->at("hw_machine_type"), "pc");
    EXPECT_EQ(hardware->at("hw_cdrom_bus"), "ide");
    EXPECT_EQ(hardware->at("hw_video_model"), defined().video_model);
}

} // namespace
} // namespace novalet::hypervisor::libvirt
