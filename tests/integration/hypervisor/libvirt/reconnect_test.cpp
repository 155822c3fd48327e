// A libvirtd that goes away and comes back, seen by the connection.
#include "agent/core/text.hpp"
#include "hypervisor/libvirt/connection.hpp"
#include "tests/integration/hypervisor/libvirt/event_log.hpp"
#include "tests/integration/hypervisor/libvirt/libvirt_daemon.hpp"
#include "tests/integration/hypervisor/libvirt/socket_relay.hpp"
#include "tests/support/temporary_folder.hpp"

#include <condition_variable>
#include <gtest/gtest.h>

namespace novalet::hypervisor::libvirt {
namespace {

/// What the connection said of itself, to be waited for.
class LinkLog {
  public:
    void add(bool up) {
        const std::lock_guard lock(mutex_);
        said_.push_back(up);
        changed_.notify_all();
    }
    [[nodiscard]] bool reaches(const std::vector<bool>& wanted) {
        std::unique_lock lock(mutex_);
        return changed_.wait_until(
            lock, Deadline::after(Seconds(40)).time(), [&] { return said_ == wanted; });
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<bool> said_;
};

class Reconnect : public ::testing::Test {
  protected:
    void SetUp() override {
        ASSERT_TRUE(daemon_.is_up());
        relay_.open();
        const auto started =
            connection_.start([this](const GuestEvent& event) { events_.add(event); },
                              [this](bool up, const std::string&) { link_.add(up); });
        ASSERT_TRUE(started) << started.error().text;
    }
    tests::LibvirtDaemon daemon_;
    tests::TemporaryFolder folder_;
    tests::SocketRelay relay_{(folder_ / "sock").string(), "/run/libvirt/libvirt-sock"};
    tests::EventLog events_;
    LinkLog link_;
    Connection connection_{ConnectionOptions{
        cat("qemu+unix:///system?socket=", (folder_ / "sock").string()), Seconds(0)}};
};

TEST_F(Reconnect, LostConnection_IsToldAndComesBackByItself) {
    EXPECT_EQ(connection_.generation(), 1U);
    EXPECT_TRUE(connection_.guests());
    relay_.cut();
    EXPECT_TRUE(link_.reaches({false}));
    const auto meanwhile = connection_.guests();
    ASSERT_FALSE(meanwhile);
    EXPECT_EQ(meanwhile.error().code, Code::Unavailable);
    EXPECT_TRUE(meanwhile.error().text.find("sock") != std::string::npos);
    relay_.open();
    EXPECT_TRUE(link_.reaches({false, true})); // nobody asked anything
    EXPECT_EQ(connection_.generation(), 2U);
    EXPECT_TRUE(connection_.guests());
}

TEST_F(Reconnect, NextRequest_OpensANewConnectionAtOnce) {
    relay_.cut();
    EXPECT_TRUE(link_.reaches({false}));
    relay_.open();
    const auto asked = connection_.host_name();
    EXPECT_TRUE(asked) << (asked ? "" : asked.error().text);
    EXPECT_TRUE(link_.reaches({false, true}));
}

TEST_F(Reconnect, EventsComeOverTheNewConnectionToo) {
    relay_.cut();
    EXPECT_TRUE(link_.reaches({false}));
    relay_.open();
    ASSERT_TRUE(link_.reaches({false, true}));
    const InstanceUuid uuid(new_uuid());
    ASSERT_TRUE(connection_.define(cat("<domain type='qemu'><name>novalet-",
                                       uuid.str(),
                                       "</name><uuid>",
                                       uuid.str(),
                                       "</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>"
                                       "<os><type machine='pc'>hvm</type></os></domain>")));
    const auto launched = connection_.launch(uuid, true);
    EXPECT_TRUE(launched) << (launched ? "" : launched.error().text);
    EXPECT_TRUE(events_.has(uuid, GuestEvent::Kind::Started));
    EXPECT_TRUE(connection_.destroy(uuid));
    EXPECT_TRUE(connection_.undefine(uuid));
}

} // namespace
} // namespace novalet::hypervisor::libvirt
