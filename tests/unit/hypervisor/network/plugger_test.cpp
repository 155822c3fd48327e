// What the plugger asks programs to do. No device of these names exists on a host.
#include "hypervisor/network/plugger.hpp"

#include "agent/core/text.hpp"
#include "tests/support/fake_processes.hpp"
#include "tests/support/temporary_folder.hpp"

#include <fstream>
#include <gmock/gmock.h>

namespace novalet::hypervisor::network {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const InstanceUuid instance("87c8a4c6-c059-466c-966f-f61b0316c04c");

class PluggerTest : public testing::Test {
  protected:
    void SetUp() override {
        interface_.port = PortId("f0f1f2f3-f4f5-4000-8000-000000000001");
        interface_.mac = "fa:16:3e:00:00:01";
        interface_.device = "tapf0f1f2f3-f4";
        interface_.bridge = "br-int";
        interface_.mtu = 1450;
        interface_.vif = Json::object();
    }
    void detail(const char* key, Json value) {
        interface_.vif.member("details").set(key, std::move(value));
    }
    Result<void> plug(const char* type, bool multiqueue = false) {
        interface_.vif_type = type;
        return plugger_.plug(interface_, instance, multiqueue);
    }
    Result<void> unplug(const char* type) {
        interface_.vif_type = type;
        return plugger_.unplug(interface_);
    }
    /// One line per command.
    [[nodiscard]] std::vector<std::string> lines() const {
        std::vector<std::string> out;
        for (const auto& argv : processes_.commands())
            out.push_back(join(argv, " "));
        return out;
    }

    tests::FakeProcesses processes_;
    Plugger plugger_{processes_};
    InterfaceSpec interface_;
};

const std::string ids = R"(external_ids:iface-id="f0f1f2f3-f4f5-4000-8000-000000000001" )"
                        R"(external_ids:iface-status=active )"
                        R"(external_ids:attached-mac="fa:16:3e:00:00:01" )"
                        R"(external_ids:vm-uuid="87c8a4c6-c059-466c-966f-f61b0316c04c")";

TEST_F(PluggerTest, TheBridgeOfANetworkLearnsAddresses) {
    interface_.bridge = "brqf0f1f2f3-f4";
    ASSERT_TRUE(plug("bridge"));
    EXPECT_THAT(lines(),
                testing::ElementsAre("ip link add name brqf0f1f2f3-f4 type bridge forward_delay 0 "
                                     "stp_state 0 mcast_snooping 0",
                                     "ip link set dev brqf0f1f2f3-f4 up"));
}

TEST_F(PluggerTest, ABridgeThatOthersMakeIsLeftToThem) {
    interface_.vif = Json::object();
    interface_.vif.member("network").member("meta").set("should_create_bridge", false);
    ASSERT_TRUE(plug("bridge"));
    EXPECT_THAT(lines(), IsEmpty());
}

TEST_F(PluggerTest, AnOvsPortIsMadeBeforeTheTap) {
    interface_.vif.set("delegate_create", true);
    ASSERT_TRUE(plug("ovs"));
    EXPECT_THAT(
        lines(),
        testing::ElementsAre("ovs-vsctl --timeout=120 -- --may-exist add-br br-int -- set Bridge "
                             "br-int datapath_type=system -- --may-exist add-port br-int "
                             "tapf0f1f2f3-f4 -- set Interface tapf0f1f2f3-f4 " +
                             ids));
}

TEST_F(PluggerTest, ThePortOfAnOldRecordIsLibvirts) {
    detail("datapath_type", "netdev");
    ASSERT_TRUE(plug("ovs"));
    EXPECT_THAT(lines(),
                testing::ElementsAre("ovs-vsctl --timeout=120 -- --may-exist add-br "
                                     "br-int -- set Bridge br-int datapath_type=netdev"));
}

TEST_F(PluggerTest, TheNameOfThePortInOvsMayBeAnotherOne) {
    interface_.vif.set("delegate_create", true);
    interface_.vif.set("ovs_interfaceid", "other-id");
    ASSERT_TRUE(plug("ovs"));
    EXPECT_THAT(lines().at(0), HasSubstr(R"(iface-id="other-id")"));
}

TEST_F(PluggerTest, TheHybridWayHasABridgeAndAVethPair) {
    detail("ovs_hybrid_plug", true);
    ASSERT_TRUE(plug("ovs"));
    EXPECT_THAT(lines(),
                testing::ElementsAre(
                    "ip link add name qbrf0f1f2f3-f4 type bridge forward_delay 0 stp_state 0 "
                    "mcast_snooping 0 ageing_time 0",
                    "ip link set dev qbrf0f1f2f3-f4 up",
                    "ip link add name qvbf0f1f2f3-f4 type veth peer name qvof0f1f2f3-f4",
                    "ip link set dev qvbf0f1f2f3-f4 mtu 1450 promisc on up",
                    "ip link set dev qvof0f1f2f3-f4 mtu 1450 promisc on up",
                    "ip link set dev qvbf0f1f2f3-f4 master qbrf0f1f2f3-f4",
                    "ovs-vsctl --timeout=120 -- --may-exist add-br br-int -- set Bridge br-int "
                    "datapath_type=system -- --may-exist add-port br-int qvof0f1f2f3-f4 -- set "
                    "Interface qvof0f1f2f3-f4 " +
                        ids));
}

TEST_F(PluggerTest, WithoutAnMtuTheVethPairHasTheUsualOne) {
    detail("ovs_hybrid_plug", true);
    interface_.mtu = 0;
    ASSERT_TRUE(plug("ovs"));
    EXPECT_THAT(lines().at(3), HasSubstr("mtu 1500"));
}

TEST_F(PluggerTest, ATapIsMadeForNetworksThatWireItThemselves) {
    detail("mac_address", "00:61:fe:ed:ca:fe");
    ASSERT_TRUE(plug("tap", true));
    EXPECT_THAT(lines(),
                testing::ElementsAre("ip tuntap add dev tapf0f1f2f3-f4 mode tap multi_queue",
                                     "ip link set dev tapf0f1f2f3-f4 address 00:61:fe:ed:ca:fe",
                                     "ip link set dev tapf0f1f2f3-f4 up",
                                     "ip link set dev tapf0f1f2f3-f4 mtu 1450"));
}

TEST_F(PluggerTest, AVhostuserPortOfOvsIsTheOtherEndOfTheSocket) {
    detail("vhostuser_ovs_plug", true);
    detail("vhostuser_socket", "/run/vhu");
    ASSERT_TRUE(plug("vhostuser"));
    detail("vhostuser_mode", "client");
    ASSERT_TRUE(plug("vhostuser"));
    EXPECT_THAT(lines().at(0),
                testing::AllOf(HasSubstr("add-port br-int vhuf0f1f2f3-f4"),
                               HasSubstr("datapath_type=netdev"),
                               HasSubstr("type=dpdkvhostuserclient "
                                         R"(options:vhost-server-path="/run/vhu")"),
                               HasSubstr("mtu_request=1450")));
    EXPECT_THAT(lines().at(1),
                testing::AllOf(HasSubstr("type=dpdkvhostuser mtu"),
                               testing::Not(HasSubstr("server-path"))));
}

TEST_F(PluggerTest, AVhostuserPortOfAnotherSwitchNeedsNothing) {
    ASSERT_TRUE(plug("vhostuser"));
    ASSERT_TRUE(unplug("vhostuser"));
    EXPECT_THAT(lines(), IsEmpty());
}

TEST_F(PluggerTest, WhatIsNotSupportedIsNamed) {
    const auto refused = plug("hw_veb");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "VirtualInterfacePlugException");
    EXPECT_THAT(refused.error().text,
                testing::AllOf(HasSubstr(interface_.port.str()), HasSubstr("'hw_veb'")));
    EXPECT_TRUE(unplug("hw_veb"));
}

TEST_F(PluggerTest, NamesThatAreNoneReachNoProgram) {
    for (const char* name :
         {"", "-x", "../x", "a/b", "a b", "a;b", "sixteen-letters!", "..", "abcdefghijklmnop"}) {
        interface_.bridge = name;
        EXPECT_FALSE(plug("bridge")) << name;
        interface_.bridge = "br-int";
        interface_.device = name;
        interface_.vif.set("delegate_create", true);
        EXPECT_FALSE(plug("ovs")) << name;
        EXPECT_FALSE(plug("tap")) << name;
        EXPECT_FALSE(unplug("tap")) << name;
        EXPECT_FALSE(unplug("ovs")) << name;
    }
    interface_.device = "tapf0f1f2f3-f4";
    for (const char* mac : {"",
                            "fa:16:3e:00:00",
                            "fa:16:3e:00:00:0g",
                            "fa-16-3e-00-00-01",
                            "fa:16:3e:00:00:01 set Bridge"}) {
        interface_.mac = mac;
        EXPECT_FALSE(plug("ovs")) << mac;
    }
    EXPECT_THAT(lines(), IsEmpty());
}

TEST_F(PluggerTest, TheProgramsReasonIsTold) {
    processes_.answer = [](const ProcessRequest&) {
        ProcessOutcome outcome;
        outcome.exit_status = 1;
        outcome.err = "ovs-vsctl: unix:/run/db.sock: database connection failed";
        return outcome;
    };
    const auto refused = plug("ovs");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "VirtualInterfacePlugException");
    EXPECT_THAT(refused.error().text, HasSubstr("database connection failed"));
}

TEST_F(PluggerTest, UnpluggingWhatIsNotThereAsksOvsAlone) {
    ASSERT_TRUE(unplug("ovs"));
    detail("ovs_hybrid_plug", true);
    ASSERT_TRUE(unplug("ovs"));
    ASSERT_TRUE(unplug("tap"));
    ASSERT_TRUE(unplug("bridge"));
    EXPECT_THAT(lines(),
                testing::ElementsAre("ovs-vsctl --timeout=120 -- --if-exists del-port "
                                     "tapf0f1f2f3-f4",
                                     "ovs-vsctl --timeout=120 -- --if-exists del-port "
                                     "qvof0f1f2f3-f4"));
}

TEST_F(PluggerTest, TheBridgeOfATrunkGoesWithItsPort) {
    interface_.bridge = "tbr-12345678-9";
    ASSERT_TRUE(unplug("ovs"));
    EXPECT_THAT(lines().at(0), HasSubstr("-- --if-exists del-br tbr-12345678-9"));
}

TEST(PortDevices, AreThoseThatNovaNames) {
    const tests::TemporaryFolder folder;
    for (const char* name : {"tapaabbccdd-00",
                             "qvbaabbccdd-01",
                             "qvoaabbccdd-01",
                             "qbraabbccdd-01",
                             "tapaabbccdd-02", // a DHCP agent's veth
                             "tap0",
                             "brqaabbccdd-00",
                             "tapaabbccddx00",
                             "lo"})
        std::filesystem::create_directories(folder / name);
    std::ofstream(folder / "tapaabbccdd-00/tun_flags") << "0x1002";
    EXPECT_THAT(port_devices(folder.path()),
                testing::ElementsAre(
                    "qbraabbccdd-01", "qvbaabbccdd-01", "qvoaabbccdd-01", "tapaabbccdd-00"));
    EXPECT_EQ(port_part("tapaabbccdd-00"), "aabbccdd-00");
    for (const char* other : {"", "tap", "tapaabbccdd-0", "tapaabbccdd-000", "ethaabbccdd-00"})
        EXPECT_EQ(port_part(other), "") << other;
}

TEST(PortDevices, AStrayOneLeavesOpenVSwitchToo) {
    tests::FakeProcesses processes;
    Plugger plugger(processes);
    ASSERT_TRUE(plugger.remove_stray("tapaabbccdd-00"));
    EXPECT_THAT(
        processes.commands(),
        testing::ElementsAre(testing::ElementsAre(
            "ovs-vsctl", "--timeout=120", "--", "--if-exists", "del-port", "tapaabbccdd-00")));
    processes.answer = [](const ProcessRequest&) -> Result<ProcessOutcome> {
        return fail(Code::NotFound, "ovs-vsctl is not installed");
    };
    EXPECT_TRUE(plugger.remove_stray("tapaabbccdd-00"));
    EXPECT_EQ(plugger.remove_stray("eth0").error().code, Code::InvalidArgument);
}

} // namespace
} // namespace novalet::hypervisor::network
