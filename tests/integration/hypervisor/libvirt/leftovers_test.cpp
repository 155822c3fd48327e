// What is left when a spawn or a removal was cut off, on the real libvirtd.
#include "tests/integration/hypervisor/libvirt/real_guest.hpp"
#include "tests/integration/hypervisor/libvirt/socket_relay.hpp"

#include <gmock/gmock.h>
#include <net/if.h>

namespace novalet::hypervisor::libvirt {
namespace {

using ::testing::HasSubstr;
using tests::RealGuest;
namespace fs = std::filesystem;

class Leftovers : public RealGuest {
  protected:
    /// The domain goes behind the agent's back.
    void lose_domain() const {
        ASSERT_NE(virsh("destroy"), "");
        ASSERT_NE(virsh("undefine"), "");
    }
    /// A tap that stays without a guest.
    void give_tap() {
        auto port = tests::ovs_interface();
        port.port = PortId(guest_.uuid.str());
        port.vif_type = "tap";
        port.device = ("tap" + port.port.str()).substr(0, 14);
        port.mtu = 0;
        guest_.interfaces = {port};
    }
    [[nodiscard]] bool tap_is_there() const {
        return if_nametoindex(guest_.interfaces.at(0).device.c_str()) != 0;
    }
    [[nodiscard]] std::optional<Leftover> left(Leftover::Kind kind, const std::string& name) {
        const auto all = hypervisor_->leftovers();
        EXPECT_TRUE(all) << (all ? "" : all.error().text);
        if (all)
            for (const auto& one : *all)
                if (one.kind == kind && one.name == name)
                    return one;
        return std::nullopt;
    }
    [[nodiscard]] std::optional<Leftover> folder() {
        return left(Leftover::Kind::Folder, home().string());
    }
    [[nodiscard]] std::optional<Leftover> domain() {
        return left(Leftover::Kind::Domain, guest_.name);
    }
    [[nodiscard]] std::optional<Leftover> device() {
        return left(Leftover::Kind::Device, guest_.interfaces.at(0).device);
    }
};

TEST_F(Leftovers, Destroy_RemovesWhatTheDomainLeft) {
    give_tap();
    ASSERT_TRUE(hypervisor_->spawn(guest_, hooks()));
    lose_domain();
    EXPECT_TRUE(tap_is_there());
    EXPECT_TRUE(fs::exists(home()));
    ASSERT_TRUE(hypervisor_->destroy(guest_.uuid, {Disks::Remove, guest_.interfaces}));
    EXPECT_FALSE(tap_is_there());
    EXPECT_FALSE(fs::exists(home()));
}

TEST_F(Leftovers, Destroy_KeepsTheDisksOfAServerThatLivesElsewhere) {
    ASSERT_TRUE(hypervisor_->spawn(guest_, hooks()));
    ASSERT_TRUE(hypervisor_->destroy(guest_.uuid, DestroyOptions(Disks::Keep)));
    EXPECT_EQ(hypervisor_->info(guest_.uuid).error().code, Code::NotFound);
    EXPECT_TRUE(fs::exists(home() / "disk"));
}

TEST_F(Leftovers, AreListedAndSwept) {
    give_tap();
    ASSERT_TRUE(hypervisor_->spawn(guest_, hooks()));
    const auto running = domain();
    ASSERT_TRUE(running);
    EXPECT_EQ(running->uuid, guest_.uuid);
    EXPECT_TRUE(running->running);
    EXPECT_FALSE(folder()) << "its domain has it";
    EXPECT_FALSE(device());
    const Leftover mistaken{Leftover::Kind::Folder, guest_.uuid, home().string()};
    EXPECT_EQ(hypervisor_->sweep(mistaken).error().code, Code::Conflict);
    const Leftover in_use{Leftover::Kind::Device, {}, guest_.interfaces[0].device};
    EXPECT_EQ(hypervisor_->sweep(in_use).error().code, Code::Conflict);

    ASSERT_TRUE(hypervisor_->sweep(*running));
    EXPECT_FALSE(domain());
    const auto files = folder();
    ASSERT_TRUE(files);
    EXPECT_EQ(files->uuid, guest_.uuid);
    EXPECT_FALSE(files->claimed) << "the build had ended";
    const auto tap = device();
    ASSERT_TRUE(tap);
    ASSERT_TRUE(hypervisor_->sweep(*files));
    ASSERT_TRUE(hypervisor_->sweep(*tap));
    EXPECT_FALSE(fs::exists(home()));
    EXPECT_FALSE(tap_is_there());
    EXPECT_FALSE(folder());
    EXPECT_FALSE(device());
}

TEST_F(Leftovers, FailedSpawn_KeepsAFolderThatItFound) {
    ASSERT_TRUE(hypervisor_->spawn(guest_, hooks()));
    lose_domain(); // as on the host that takes over a server on shared storage
    auto refused = hooks();
    refused.wait_for_plugged = []() -> Result<void> { return fail(Code::Timeout, "no event"); };
    EXPECT_FALSE(hypervisor_->spawn(guest_, refused));
    EXPECT_TRUE(fs::exists(home() / "disk")) << "the server's only disk";
    EXPECT_EQ(hypervisor_->info(guest_.uuid).error().code, Code::NotFound);
}

TEST_F(Leftovers, FailedSpawn_LeavesARunningGuestThatItFound) {
    ASSERT_TRUE(hypervisor_->spawn(guest_, hooks()));
    auto refused = hooks();
    refused.wait_for_plugged = []() -> Result<void> { return fail(Code::Timeout, "no event"); };
    EXPECT_FALSE(hypervisor_->spawn(guest_, refused));
    EXPECT_EQ(hypervisor_->info(guest_.uuid)->state, PowerState::Running);
    EXPECT_TRUE(fs::exists(home() / "disk"));
}

/// The undo needs the very link that died.
TEST_F(Leftovers, SpawnWithoutItsLink_IsUndoneByALaterDestroy) {
    tests::SocketRelay relay((folder_ / "sock").string(), "/run/libvirt/libvirt-sock");
    relay.open();
    uri_ = cat("qemu+unix:///system?socket=", (folder_ / "sock").string());
    restart();
    give_tap();
    auto cut = hooks();
    cut.wait_for_plugged = [&]() -> Result<void> {
        relay.cut();
        return {};
    };
    const auto spawned = hypervisor_->spawn(guest_, cut);
    ASSERT_FALSE(spawned);
    EXPECT_EQ(spawned.error().code, Code::Unavailable);
    EXPECT_TRUE(fs::exists(home())) << "no disk goes while its domain may run";
    EXPECT_EQ(hypervisor_->destroy(guest_.uuid, {Disks::Remove, guest_.interfaces}).error().code,
              Code::Unavailable);
    EXPECT_TRUE(fs::exists(home()));

    relay.open();
    lose_domain();
    const auto found = folder();
    ASSERT_TRUE(found);
    EXPECT_TRUE(found->claimed) << "this host's build";
    ASSERT_TRUE(hypervisor_->destroy(guest_.uuid, {Disks::Remove, guest_.interfaces}));
    EXPECT_FALSE(fs::exists(home()));
    EXPECT_FALSE(tap_is_there());
    hypervisor_.reset(); // before the relay goes
}

} // namespace
} // namespace novalet::hypervisor::libvirt
