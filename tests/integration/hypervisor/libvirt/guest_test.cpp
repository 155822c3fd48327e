// A guest from nothing to nothing on the real libvirtd with QEMU's emulator: a boot sector that
// greets on the serial port and then waits.
#include "tests/integration/hypervisor/libvirt/real_guest.hpp"

#include <gmock/gmock.h>

namespace novalet::hypervisor::libvirt {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using tests::greeting;
using tests::RealGuest;
using Kind = GuestEvent::Kind;
namespace fs = std::filesystem;

TEST_F(RealGuest, Facts_AreTold) {
    const auto facts = hypervisor_->facts();
    ASSERT_TRUE(facts) << facts.error().text;
    EXPECT_FALSE(facts->hostname.empty());
    EXPECT_EQ(facts->type, "QEMU");
    EXPECT_GT(facts->version, 4002000);
    EXPECT_GT(facts->memory_mib, 0U);
    EXPECT_GT(facts->online_cpus, 0U);
    EXPECT_GT(facts->disk_total_gib, 0U);
    EXPECT_EQ(facts->cpu_info["arch"].as_string(), facts->arch);
    EXPECT_GT(facts->supported_instances.size(), 0U);
    EXPECT_FALSE(facts->topology.empty());
    EXPECT_FALSE(facts->cpu_features.empty());
    EXPECT_THAT(facts->disk_buses, ::testing::Contains("virtio"));
    EXPECT_THAT(facts->uptime, HasSubstr("load average"));
}

TEST_F(RealGuest, SpawnRunDestroy_LeavesNothing) {
    auto with_wait = hooks();
    int waited = 0;
    with_wait.wait_for_plugged = [&]() -> Result<void> {
        ++waited;
        EXPECT_EQ(hypervisor_->info(guest_.uuid)->state, PowerState::Paused);
        return {};
    };
    const auto spawned = hypervisor_->spawn(guest_, with_wait);
    ASSERT_TRUE(spawned) << spawned.error().text;
    EXPECT_EQ(waited, 1);
    EXPECT_THAT(steps_, ElementsAre("disks", "plug", "define", "start", "wait_for_plugged"));
    const auto info = hypervisor_->info(guest_.uuid);
    ASSERT_TRUE(info);
    EXPECT_EQ(info->state, PowerState::Running);
    EXPECT_EQ(info->name, guest_.name);
    EXPECT_EQ(info->memory_mib, 64U);
    EXPECT_TRUE(events_.has(guest_.uuid, Kind::Started));
    EXPECT_TRUE(events_.has(guest_.uuid, Kind::Resumed));
    EXPECT_THAT(console(greeting), HasSubstr(greeting));
    const auto vnc = hypervisor_->vnc(guest_.uuid);
    ASSERT_TRUE(vnc) << vnc.error().text;
    EXPECT_EQ(vnc->host, "127.0.0.1");
    EXPECT_GE(vnc->port, 5900U);
    EXPECT_TRUE(fs::exists(home() / "disk.config"));

    ASSERT_TRUE(hypervisor_->destroy(guest_.uuid, DestroyOptions(Disks::Remove)));
    EXPECT_EQ(hypervisor_->info(guest_.uuid).error().exception, "InstanceNotFound");
    EXPECT_FALSE(fs::exists(home()));
    EXPECT_TRUE(events_.has(guest_.uuid, Kind::Stopped));
    EXPECT_TRUE(hypervisor_->destroy(
        guest_.uuid, DestroyOptions(Disks::Remove))); // again: nothing there, nothing wrong
    const auto all = hypervisor_->list();
    ASSERT_TRUE(all);
    EXPECT_TRUE(std::none_of(
        all->begin(), all->end(), [&](const auto& other) { return other.uuid == guest_.uuid; }));
}

TEST_F(RealGuest, PowerVerbs_DoWhatTheySay) {
    ASSERT_TRUE(hypervisor_->spawn(guest_, hooks()));
    ASSERT_TRUE(hypervisor_->pause(guest_.uuid));
    EXPECT_TRUE(hypervisor_->pause(guest_.uuid));
    EXPECT_EQ(hypervisor_->info(guest_.uuid)->state, PowerState::Paused);
    EXPECT_TRUE(events_.has(guest_.uuid, Kind::Paused));
    ASSERT_TRUE(hypervisor_->unpause(guest_.uuid));
    EXPECT_TRUE(hypervisor_->unpause(guest_.uuid));
    EXPECT_EQ(hypervisor_->info(guest_.uuid)->state, PowerState::Running);

    // This guest does not listen to the power button.
    const auto rebooted = hypervisor_->soft_reboot(guest_.uuid);
    ASSERT_TRUE(rebooted) << rebooted.error().text;
    EXPECT_FALSE(*rebooted);

    ASSERT_TRUE(hypervisor_->power_off(guest_.uuid, {Seconds(1), Seconds(10)}));
    EXPECT_EQ(hypervisor_->info(guest_.uuid)->state, PowerState::Shutdown);
    EXPECT_TRUE(hypervisor_->power_off(guest_.uuid, {}));
    EXPECT_EQ(hypervisor_->vnc(guest_.uuid).error().exception, "ConsoleTypeUnavailable");

    const auto on = hypervisor_->power_on(guest_, hooks());
    ASSERT_TRUE(on) << on.error().text;
    EXPECT_EQ(hypervisor_->info(guest_.uuid)->state, PowerState::Running);
    EXPECT_EQ(image_.fetched, 1);

    ASSERT_TRUE(hypervisor_->suspend(guest_.uuid));
    EXPECT_TRUE(hypervisor_->suspend(guest_.uuid));
    EXPECT_EQ(hypervisor_->info(guest_.uuid)->state, PowerState::Shutdown);
    ASSERT_TRUE(hypervisor_->resume(guest_));
    EXPECT_TRUE(hypervisor_->resume(guest_));
    EXPECT_EQ(hypervisor_->info(guest_.uuid)->state, PowerState::Running);
}

TEST_F(RealGuest, LostDisk_IsNotReplacedByAnEmptyOne) {
    ASSERT_TRUE(hypervisor_->spawn(guest_, hooks()));
    ASSERT_TRUE(hypervisor_->power_off(guest_.uuid, {}));
    fs::remove(home() / "disk");
    const auto on = hypervisor_->power_on(guest_, hooks());
    ASSERT_FALSE(on);
    EXPECT_EQ(on.error().exception, "DiskNotFound");
    EXPECT_TRUE(hypervisor_->info(guest_.uuid)); // still defined
}

TEST_F(RealGuest, FailedSpawn_RemovesWhatItMade) {
    image_.broken = true;
    const auto spawned = hypervisor_->spawn(guest_, hooks());
    ASSERT_FALSE(spawned);
    EXPECT_THAT(spawned.error().text, HasSubstr("Glance is away"));
    EXPECT_FALSE(fs::exists(home()));
    EXPECT_EQ(hypervisor_->info(guest_.uuid).error().code, Code::NotFound);
    image_.broken = false;
    auto refused = hooks();
    refused.wait_for_plugged = []() -> Result<void> {
        return fail_as("VirtualInterfaceCreateException", Code::Timeout, "no event came");
    };
    const auto second = hypervisor_->spawn(guest_, refused);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().exception, "VirtualInterfaceCreateException");
    EXPECT_FALSE(fs::exists(home()));
    EXPECT_EQ(hypervisor_->info(guest_.uuid).error().code, Code::NotFound);
}

/// What `kill -9` leaves between start and the plug events: a paused domain. The next process goes
/// on from there, in the same QEMU.
TEST_F(RealGuest, SpawnAfterACrash_CarriesOnWithTheDomain) {
    ASSERT_TRUE(hypervisor_->spawn(guest_, hooks()));
    ASSERT_TRUE(hypervisor_->pause(guest_.uuid));
    hypervisor_->stop();
    hypervisor_ = make();
    ASSERT_TRUE(hypervisor_->start([this](const GuestEvent& event) { events_.add(event); }));
    steps_.clear();
    const auto again = hypervisor_->spawn(guest_, hooks());
    ASSERT_TRUE(again) << again.error().text;
    EXPECT_THAT(steps_, ElementsAre("plug"));
    EXPECT_EQ(hypervisor_->info(guest_.uuid)->state, PowerState::Running);
    EXPECT_EQ(image_.fetched, 1);
}

TEST_F(RealGuest, SpawnAfterACrashBeforeStart_DescribesItAnew) {
    ASSERT_TRUE(hypervisor_->spawn(guest_, hooks()));
    ASSERT_TRUE(hypervisor_->power_off(guest_.uuid, {}));
    ASSERT_TRUE(hypervisor_->spawn(guest_, hooks()));
    EXPECT_EQ(hypervisor_->info(guest_.uuid)->state, PowerState::Running);
}

TEST_F(RealGuest, InterfaceOnALinuxBridge_HasItsTap) {
    auto port = tests::ovs_interface();
    port.vif_type = "bridge";
    port.bridge = "brq" + guest_.uuid.str().substr(0, 8);
    port.device = "tap" + guest_.uuid.str().substr(0, 8);
    guest_.interfaces = {port};
    const auto spawned = hypervisor_->spawn(guest_, hooks());
    const fs::path tap = "/sys/class/net/" + port.device;
    EXPECT_TRUE(spawned) << (spawned ? "" : spawned.error().text);
    EXPECT_TRUE(fs::exists(tap / "master"));
    EXPECT_TRUE(hypervisor_->destroy(guest_.uuid, {Disks::Remove, guest_.interfaces}));
    EXPECT_FALSE(fs::exists(tap));
    // The bridge belongs to the network and stays; here nobody else wants it.
    ProcessRequest remove;
    remove.argv = {"ip", "link", "delete", "dev", port.bridge};
    EXPECT_TRUE(system_processes().check(remove));
}

/// A guest with two cards on a bridge.
class GuestWithCards : public RealGuest {
  protected:
    void SetUp() override {
        RealGuest::SetUp();
        image_.content = tests::obedient_disk();
        spawn();
    }
    void spawn() {
        guest_.interfaces = {first_, second_};
        const auto spawned = hypervisor_->spawn(guest_, hooks());
        ASSERT_TRUE(spawned) << spawned.error().text;
    }
    void TearDown() override {
        RealGuest::TearDown();
        EXPECT_TRUE(run({"ip", "link", "delete", "dev", bridge_}));
    }
    InterfaceSpec card(const char* name, const char* mac) {
        auto port = tests::ovs_interface();
        port.vif_type = "bridge";
        port.bridge = bridge_;
        port.mac = mac;
        port.device = name + guest_.uuid.str().substr(0, 8);
        return port;
    }
    static Result<ProcessOutcome> run(std::vector<std::string> argv) {
        ProcessRequest request;
        request.argv = std::move(argv);
        return system_processes().check(request);
    }
    static bool exists(const InterfaceSpec& port) {
        return fs::exists("/sys/class/net/" + port.device);
    }
    /// MACs of the guest's cards: as it runs, or as it is defined.
    std::vector<std::string> cards(bool defined) {
        std::vector<std::string> argv{"virsh", "-c", Options().uri, "dumpxml", guest_.name};
        if (defined)
            argv.emplace_back("--inactive");
        const auto xml = run(std::move(argv));
        EXPECT_TRUE(xml) << (xml ? "" : xml.error().text);
        const auto domain = domain::read_domain(xml ? xml->out : "");
        std::vector<std::string> out;
        if (domain)
            for (const auto& one : domain->interfaces)
                out.push_back(one.mac);
        return out;
    }
    const std::string bridge_ = "brq" + guest_.uuid.str().substr(0, 8);
    const InterfaceSpec first_ = card("tpa", "fa:16:3e:aa:aa:01");
    const InterfaceSpec second_ = card("tpb", "fa:16:3e:aa:aa:02");
};

TEST_F(GuestWithCards, DetachFromAGuestThatIsOff_TakesTheCardOutOfItsDefinition) {
    ASSERT_TRUE(hypervisor_->power_off(guest_.uuid, {}));
    ASSERT_THAT(cards(true), ElementsAre(first_.mac, second_.mac));
    auto with_tap = first_; // of a network that wires the tap itself: it is ours to remove
    with_tap.vif_type = "tap";
    ASSERT_TRUE(run({"ip", "tuntap", "add", "dev", first_.device, "mode", "tap"}));
    for (int time = 0; time < 2; ++time) { // the second finds nothing, which is well
        const auto detached = hypervisor_->detach_interface(guest_.uuid, with_tap, {});
        EXPECT_TRUE(detached) << (detached ? "" : detached.error().text);
        EXPECT_THAT(cards(true), ElementsAre(second_.mac));
        EXPECT_FALSE(exists(first_));
    }
}

TEST_F(GuestWithCards, DetachFromARunningGuest_TakesTheCardOutOfBoth) {
    for (int time = 0; time < 2; ++time) {
        const auto detached = hypervisor_->detach_interface(guest_.uuid, first_, {});
        EXPECT_TRUE(detached) << (detached ? "" : detached.error().text);
        EXPECT_THAT(cards(false), ElementsAre(second_.mac));
        EXPECT_THAT(cards(true), ElementsAre(second_.mac));
        EXPECT_FALSE(exists(first_));
        EXPECT_TRUE(exists(second_));
        EXPECT_EQ(hypervisor_->info(guest_.uuid)->state, PowerState::Running);
    }
}

TEST_F(GuestWithCards, AGuestThatHoldsOn_LosesTheCardWithItsNextPowerCycle) {
    ASSERT_TRUE(hypervisor_->destroy(guest_.uuid, {Disks::Remove, guest_.interfaces}));
    image_.content = tests::boot_disk(); // it halts, and hears of nothing
    guest_.image.id = "00000000-0000-4000-8000-0000000000aa";
    spawn();
    const auto detached = hypervisor_->detach_interface(guest_.uuid, first_, {});
    ASSERT_FALSE(detached);
    EXPECT_EQ(detached.error().exception, "DeviceDetachFailed") << detached.error().text;
    EXPECT_THAT(cards(true), ElementsAre(second_.mac));
    EXPECT_THAT(cards(false), ElementsAre(first_.mac, second_.mac));
    EXPECT_EQ(hypervisor_->info(guest_.uuid)->state, PowerState::Running);
    std::stop_source given_up;
    given_up.request_stop();
    const auto cut_short = hypervisor_->detach_interface(guest_.uuid, first_, given_up.get_token());
    ASSERT_FALSE(cut_short);
    EXPECT_EQ(cut_short.error().code, Code::Cancelled) << cut_short.error().text;
    ASSERT_TRUE(hypervisor_->power_off(guest_.uuid, {}));
    EXPECT_THAT(cards(false), ElementsAre(second_.mac));
    EXPECT_FALSE(exists(first_));
}

TEST_F(RealGuest, DetachFromNoGuest_IsInstanceNotFound) {
    const auto detached = hypervisor_->detach_interface(guest_.uuid, tests::ovs_interface(), {});
    ASSERT_FALSE(detached);
    EXPECT_EQ(detached.error().exception, "InstanceNotFound");
}

} // namespace
} // namespace novalet::hypervisor::libvirt
