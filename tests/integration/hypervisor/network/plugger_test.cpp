// Bridges, veth pairs and taps of the real kernel, in a network namespace that each test has for
// itself: it lives as long as the thread that made it. Open vSwitch is not needed: what is asked
// of ovs-vsctl is kept and answered here.
#include "hypervisor/network/plugger.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "tests/support/fake_processes.hpp"

#include <cerrno>
#include <functional>
#include <gmock/gmock.h>
#include <net/if.h>
#include <sched.h>
#include <thread>

namespace novalet::hypervisor::network {
namespace {

using testing::HasSubstr;
using testing::Not;

const InstanceUuid instance("87c8a4c6-c059-466c-966f-f61b0316c04c");
const std::string tail = "f0f1f2f3-f4";

class PluggerInNamespace : public testing::Test {
  protected:
    void SetUp() override {
        interface_.port = PortId("f0f1f2f3-f4f5-4000-8000-000000000001");
        interface_.mac = "fa:16:3e:00:00:01";
        interface_.device = "tap" + tail;
        interface_.bridge = "brq" + tail;
        interface_.mtu = 1450;
        interface_.vif = Json::object();
        processes_.answer = [](const ProcessRequest& request) -> Result<ProcessOutcome> {
            if (request.argv.at(0) == "ovs-vsctl")
                return ProcessOutcome();
            return system_processes().run(request);
        };
    }
    /// Runs the body in a namespace of its own; skipped where that is not allowed.
    void isolated(const std::function<void()>& body) {
        int refused = 0;
        std::thread([&] {
            if (unshare(CLONE_NEWNET) != 0)
                refused = errno;
            else
                body();
        }).join();
        if (refused != 0)
            GTEST_SKIP() << "no network namespace: " << errno_text(refused);
    }
    Result<void> plug(const char* type, bool multiqueue = false) {
        interface_.vif_type = type;
        return plugger_.plug(interface_, instance, multiqueue);
    }
    Result<void> unplug(const char* type) {
        interface_.vif_type = type;
        return plugger_.unplug(interface_);
    }
    static bool there(const std::string& name) { return if_nametoindex(name.c_str()) != 0; }
    static std::string details(const std::string& name) {
        ProcessRequest request;
        request.argv = {"ip", "-d", "link", "show", "dev", name};
        const auto shown = system_processes().check(request);
        EXPECT_TRUE(shown) << shown.error().text;
        return shown ? shown->out : std::string();
    }
    static std::string setting(const std::string& name) {
        const auto text = read_file("/proc/sys/net/" + name);
        EXPECT_TRUE(text) << text.error().text;
        return std::string(trim(text.value_or("")));
    }
    static void command(std::vector<std::string> argv) {
        ProcessRequest request;
        request.argv = std::move(argv);
        const auto done = system_processes().check(request);
        ASSERT_TRUE(done) << done.error().text;
    }
    static void expect_host_kept_off(const std::string& bridge) {
        EXPECT_EQ(setting("ipv6/conf/" + bridge + "/disable_ipv6"), "1");
        EXPECT_EQ(setting("ipv4/conf/" + bridge + "/arp_ignore"), "1");
        EXPECT_EQ(setting("ipv4/conf/" + bridge + "/arp_announce"), "2");
    }

    tests::FakeProcesses processes_;
    Plugger plugger_{processes_};
    InterfaceSpec interface_;
};

TEST_F(PluggerInNamespace, TheBridgeOfANetwork) {
    isolated([&] {
        const auto plugged = plug("bridge");
        ASSERT_TRUE(plugged) << plugged.error().text;
        const auto shown = details(interface_.bridge);
        for (const char* part : {"forward_delay 0 ", "stp_state 0 ", "mcast_snooping 0 ", ",UP"})
            EXPECT_THAT(shown, HasSubstr(part));
        EXPECT_THAT(shown, HasSubstr("ageing_time 30000 "));
        expect_host_kept_off(interface_.bridge);
        EXPECT_TRUE(unplug("bridge"));
        EXPECT_TRUE(there(interface_.bridge)); // other guests are on it
    });
}

TEST_F(PluggerInNamespace, ABridgeThatIsThereIsNotTouched) {
    isolated([&] {
        command({"ip", "link", "add", "name", interface_.bridge, "type", "bridge"});
        ASSERT_TRUE(plug("bridge"));
        EXPECT_THAT(details(interface_.bridge), HasSubstr("mcast_snooping 1 "));
        EXPECT_EQ(setting("ipv4/conf/" + interface_.bridge + "/arp_ignore"), "0");
    });
}

TEST_F(PluggerInNamespace, TheHybridWayAndBackTwice) {
    isolated([&] {
        interface_.bridge = "br-int";
        interface_.vif.member("details").set("ovs_hybrid_plug", true);
        for (int again = 0; again < 2; ++again) {
            const auto plugged = plug("ovs");
            ASSERT_TRUE(plugged) << plugged.error().text;
            const auto bridge = details("qbr" + tail);
            for (const char* part :
                 {"forward_delay 0 ", "stp_state 0 ", "mcast_snooping 0 ", "ageing_time 0 ", ",UP"})
                EXPECT_THAT(bridge, HasSubstr(part));
            expect_host_kept_off("qbr" + tail);
            for (const char* end : {"qvb", "qvo"})
                EXPECT_THAT(
                    details(end + tail),
                    testing::AllOf(HasSubstr("mtu 1450 "), HasSubstr("PROMISC"), HasSubstr(",UP")));
            EXPECT_THAT(details("qvb" + tail), HasSubstr("master qbr" + tail));
        }
        for (int again = 0; again < 2; ++again) {
            const auto unplugged = unplug("ovs");
            ASSERT_TRUE(unplugged) << unplugged.error().text;
            for (const char* device : {"qbr", "qvb", "qvo"})
                EXPECT_FALSE(there(device + tail)) << device;
        }
    });
}

TEST_F(PluggerInNamespace, AChangedMtuReachesBothEnds) {
    isolated([&] {
        interface_.vif.member("details").set("ovs_hybrid_plug", true);
        interface_.bridge = "br-int";
        ASSERT_TRUE(plug("ovs"));
        interface_.mtu = 1400;
        ASSERT_TRUE(plug("ovs"));
        EXPECT_THAT(details("qvb" + tail), HasSubstr("mtu 1400 "));
        EXPECT_THAT(details("qvo" + tail), HasSubstr("mtu 1400 "));
    });
}

TEST_F(PluggerInNamespace, AStrangersVethEndGivesWay) {
    isolated([&] {
        command(
            {"ip", "link", "add", "name", "qvo" + tail, "type", "veth", "peer", "name", "left"});
        interface_.vif.member("details").set("ovs_hybrid_plug", true);
        interface_.bridge = "br-int";
        const auto plugged = plug("ovs");
        ASSERT_TRUE(plugged) << plugged.error().text;
        EXPECT_FALSE(there("left"));
        EXPECT_THAT(details("qvb" + tail), HasSubstr("qvb" + tail + "@qvo" + tail));
    });
}

TEST_F(PluggerInNamespace, AHybridPortWhoseRecordForgotItGoesAsWell) {
    isolated([&] {
        interface_.vif.member("details").set("ovs_hybrid_plug", true);
        interface_.bridge = "br-int";
        ASSERT_TRUE(plug("ovs"));
        interface_.vif = Json::object();
        ASSERT_TRUE(unplug("ovs"));
        EXPECT_FALSE(there("qbr" + tail));
        EXPECT_FALSE(there("qvo" + tail));
    });
}

TEST_F(PluggerInNamespace, ATapComesAndGoes) {
    isolated([&] {
        interface_.vif.member("details").set("mac_address", "00:61:fe:ed:ca:fe");
        for (int again = 0; again < 2; ++again) {
            const auto plugged = plug("tap");
            ASSERT_TRUE(plugged) << plugged.error().text;
        }
        const auto shown = details(interface_.device);
        for (const char* part : {"tun type tap", "mtu 1450 ", "00:61:fe:ed:ca:fe", ",UP"})
            EXPECT_THAT(shown, HasSubstr(part));
        EXPECT_THAT(shown, Not(HasSubstr("multi_queue numqueues")));
        for (int again = 0; again < 2; ++again) {
            ASSERT_TRUE(unplug("tap"));
            EXPECT_FALSE(there(interface_.device));
        }
    });
}

TEST_F(PluggerInNamespace, ATapOfManyQueues) {
    isolated([&] {
        ASSERT_TRUE(plug("tap", true));
        EXPECT_THAT(details(interface_.device), HasSubstr("multi_queue numqueues"));
    });
}

TEST_F(PluggerInNamespace, TheKernelsRefusalIsTold) {
    isolated([&] {
        interface_.mtu = 10; // a tap takes no less than 68
        const auto refused = plug("tap");
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().exception, "VirtualInterfacePlugException");
        EXPECT_THAT(refused.error().text, HasSubstr("mtu"));
    });
}

} // namespace
} // namespace novalet::hypervisor::network
