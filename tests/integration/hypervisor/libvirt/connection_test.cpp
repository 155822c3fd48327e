// The C API through libvirt's own test driver: no daemon, no QEMU.
#include "hypervisor/libvirt/connection.hpp"

#include "hypervisor/domain/capabilities.hpp"
#include "hypervisor/domain/domain.hpp"
#include "tests/integration/hypervisor/libvirt/event_log.hpp"

#include <gtest/gtest.h>

namespace novalet::hypervisor::libvirt {
namespace {

using Kind = GuestEvent::Kind;

const InstanceUuid nobody("00000000-1111-2222-3333-444444444444");
const InstanceUuid ours("2f7e3d2a-3b1f-4c6c-9a55-7f7d3f8f0001");

class TestDriver : public ::testing::Test {
  protected:
    void SetUp() override {
        const auto started =
            connection_.start([this](const GuestEvent& event) { events_.add(event); },
                              [](bool, const std::string&) {});
        ASSERT_TRUE(started) << started.error().text;
    }
    tests::EventLog events_;
    Connection connection_{ConnectionOptions{"test:///default", Seconds(0)}};
};

TEST_F(TestDriver, HostIsAsked) {
    EXPECT_FALSE(connection_.host_name().value_or("").empty());
    EXPECT_EQ(connection_.type().value_or(""), "TEST");
    EXPECT_GT(connection_.library_version().value_or(0), 6000000);
    EXPECT_GT(connection_.memory_mib().value_or(0), 0U);
    const auto xml = connection_.capabilities();
    ASSERT_TRUE(xml) << xml.error().text;
    const auto host = domain::read_capabilities(*xml);
    ASSERT_TRUE(host) << host.error().text;
    EXPECT_FALSE(host->arch.empty());
    EXPECT_EQ(connection_.generation(), 1U);
}

TEST_F(TestDriver, UnknownDomain_IsInstanceNotFound) {
    for (const auto& answer : {connection_.launch(nobody, false),
                               connection_.destroy(nobody),
                               connection_.undefine(nobody),
                               connection_.suspend(nobody)}) {
        ASSERT_FALSE(answer);
        EXPECT_EQ(answer.error().exception, "InstanceNotFound");
        EXPECT_EQ(answer.error().code, Code::NotFound);
    }
    EXPECT_EQ(connection_.info(nobody).error().exception, "InstanceNotFound");
}

TEST_F(TestDriver, DomainLivesThroughItsStates) {
    const std::string xml = "<domain type='test'><name>one</name><uuid>" + ours.str() +
                            "</uuid><memory unit='MiB'>64</memory><vcpu>2</vcpu>"
                            "<os><type>hvm</type></os></domain>";
    ASSERT_TRUE(connection_.define(xml));
    EXPECT_EQ(connection_.info(ours)->state, PowerState::Shutdown);
    EXPECT_EQ(connection_.running_id(ours).value_or(0), -1);
    ASSERT_TRUE(connection_.launch(ours, false)); // this driver cannot start paused
    ASSERT_TRUE(connection_.suspend(ours));
    EXPECT_EQ(connection_.info(ours)->state, PowerState::Paused);
    ASSERT_TRUE(connection_.resume(ours));
    const auto info = connection_.info(ours);
    ASSERT_TRUE(info);
    EXPECT_EQ(info->state, PowerState::Running);
    EXPECT_EQ(info->name, "one");
    EXPECT_EQ(info->memory_mib, 64U);
    EXPECT_EQ(info->vcpus, 2U);
    EXPECT_GE(connection_.running_id(ours).value_or(-1), 0);
    ASSERT_TRUE(connection_.suspend(ours));
    const auto again = connection_.launch(ours, false);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().exception, "libvirtError");
    const auto all = connection_.guests();
    ASSERT_TRUE(all);
    EXPECT_TRUE(std::any_of(
        all->begin(), all->end(), [](const auto& guest) { return guest.uuid == ours; }));
    ASSERT_TRUE(connection_.destroy(ours));
    EXPECT_TRUE(connection_.destroy(ours)); // is off already
    EXPECT_TRUE(events_.has(ours, Kind::Started));
    EXPECT_TRUE(events_.has(ours, Kind::Resumed));
    EXPECT_TRUE(events_.has(ours, Kind::Paused));
    EXPECT_TRUE(events_.has(ours, Kind::Stopped));
    ASSERT_TRUE(connection_.undefine(ours));
    EXPECT_EQ(connection_.info(ours).error().code, Code::NotFound);
}

TEST_F(TestDriver, BrokenXml_IsAnErrorWithLibvirtsReason) {
    const auto defined = connection_.define("<domain type='test'><name>x</name>");
    ASSERT_FALSE(defined);
    EXPECT_EQ(defined.error().code, Code::InvalidArgument);
    EXPECT_NE(defined.error().text.find("define domain"), std::string::npos);
}

TEST(ConnectionAlone, NoLibvirtd_IsUnavailableWithTheAddress) {
    Connection connection({"qemu+unix:///system?socket=/nonexistent/novalet-sock", Seconds(0)});
    const auto started =
        connection.start([](const GuestEvent&) {}, [](bool, const std::string&) {});
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code, Code::Unavailable);
    EXPECT_NE(started.error().text.find("/nonexistent/novalet-sock"), std::string::npos);
}

TEST(ConnectionAlone, BeforeItsStartAndAfterItsStop_AsksNothing) {
    Connection connection({"test:///default", Seconds(0)});
    const auto before = connection.host_name();
    ASSERT_FALSE(before);
    EXPECT_TRUE(link_lost(before.error()));
    EXPECT_FALSE(connection.reachable());
    ASSERT_TRUE(connection.start([](const GuestEvent&) {}, [](bool, const std::string&) {}));
    EXPECT_TRUE(connection.reachable());
    connection.stop();
    EXPECT_FALSE(connection.reachable());
    const auto after = connection.host_name();
    ASSERT_FALSE(after);
    EXPECT_TRUE(link_lost(after.error()));
}

} // namespace
} // namespace novalet::hypervisor::libvirt
