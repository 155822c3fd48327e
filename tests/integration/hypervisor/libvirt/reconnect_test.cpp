// A libvirtd that goes away and comes back, seen by the connection.
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/libvirt/connection.hpp"
#include "tests/integration/hypervisor/libvirt/event_log.hpp"
#include "tests/integration/hypervisor/libvirt/libvirt_daemon.hpp"
#include "tests/integration/hypervisor/libvirt/socket_relay.hpp"
#include "tests/support/temporary_folder.hpp"

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <gtest/gtest.h>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

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

// Numbers of libvirt's remote protocol.
constexpr std::uint32_t define_procedure = 11;
constexpr std::uint32_t host_name_procedure = 59;

std::string domain_xml(const InstanceUuid& uuid) {
    return cat("<domain type='qemu'><name>novalet-",
               uuid.str(),
               "</name><uuid>",
               uuid.str(),
               "</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>"
               "<os><type machine='pc'>hvm</type></os></domain>");
}

double calls_that_waited() {
    return metrics::counter("novalet_libvirt_calls_waited_total", "").value();
}

class Reconnect : public ::testing::Test {
  protected:
    void SetUp() override {
        std::signal(SIGPIPE, SIG_IGN); // as the agent does: libvirt writes to what was closed
        ASSERT_TRUE(daemon_.is_up());
        relay_.open();
    }
    /// A connection through the relay.
    void connect(ConnectionOptions options = {}) {
        options.uri = cat("qemu+unix:///system?socket=", (folder_ / "sock").string());
        connection_ = std::make_unique<Connection>(options);
        const auto started =
            connection_->start([this](const GuestEvent& event) { events_.add(event); },
                               [this](bool up, const std::string&) { link_.add(up); });
        ASSERT_TRUE(started) << started.error().text;
    }
    static ConnectionOptions without_delay() {
        ConnectionOptions options;
        options.stop_event_delay = Seconds(0);
        return options;
    }
    void remove(const InstanceUuid& uuid) {
        EXPECT_TRUE(connection_->destroy(uuid));
        EXPECT_TRUE(connection_->undefine(uuid));
    }
    tests::LibvirtDaemon daemon_;
    tests::TemporaryFolder folder_;
    tests::SocketRelay relay_{(folder_ / "sock").string(), "/run/libvirt/libvirt-sock"};
    tests::EventLog events_;
    LinkLog link_;
    std::unique_ptr<Connection> connection_;
};

TEST_F(Reconnect, LostConnection_IsToldAndComesBackByItself) {
    connect(without_delay());
    EXPECT_EQ(connection_->generation(), 1U);
    EXPECT_TRUE(connection_->reachable());
    EXPECT_TRUE(connection_->guests());
    relay_.cut();
    EXPECT_TRUE(link_.reaches({false}));
    EXPECT_FALSE(connection_->reachable());
    const auto meanwhile = connection_->guests();
    ASSERT_FALSE(meanwhile);
    EXPECT_EQ(meanwhile.error().code, Code::Unavailable);
    EXPECT_TRUE(link_lost(meanwhile.error()));
    EXPECT_TRUE(meanwhile.error().text.find("sock") != std::string::npos);
    relay_.open();
    EXPECT_TRUE(link_.reaches({false, true})); // nobody asked anything
    EXPECT_TRUE(connection_->reachable());
    EXPECT_EQ(connection_->generation(), 2U);
    EXPECT_TRUE(connection_->guests());
}

TEST_F(Reconnect, NextRequest_OpensANewConnectionAtOnce) {
    connect(without_delay());
    relay_.cut();
    EXPECT_TRUE(link_.reaches({false}));
    relay_.open();
    const auto asked = connection_->host_name();
    EXPECT_TRUE(asked) << (asked ? "" : asked.error().text);
    EXPECT_TRUE(link_.reaches({false, true}));
}

TEST_F(Reconnect, EventsComeOverTheNewConnectionToo) {
    connect(without_delay());
    relay_.cut();
    EXPECT_TRUE(link_.reaches({false}));
    relay_.open();
    ASSERT_TRUE(link_.reaches({false, true}));
    const InstanceUuid uuid(new_uuid());
    ASSERT_TRUE(connection_->define(domain_xml(uuid)));
    const auto launched = connection_->launch(uuid, true);
    EXPECT_TRUE(launched) << (launched ? "" : launched.error().text);
    EXPECT_TRUE(events_.has(uuid, GuestEvent::Kind::Started));
    remove(uuid);
}

TEST_F(Reconnect, TwentyAskALibvirtdThatStandsStill_FourCallsAreUnderWay) {
    connect();
    const auto before = calls_that_waited();
    relay_.hold();
    std::atomic<int> answered{0};
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 20; ++i)
            threads.emplace_back([&, i] {
                const InstanceUuid nobody(new_uuid());
                const bool served = i % 2 == 0
                                        ? connection_->host_name().has_value()
                                        : connection_->launch(nobody, false).error().exception ==
                                              "InstanceNotFound";
                answered += served ? 1 : 0;
            });
        ASSERT_TRUE(relay_.reaches(4));
        const auto patience = Deadline::after(Seconds(20));
        while (calls_that_waited() < before + 16 && !patience.passed())
            std::this_thread::yield();
        EXPECT_EQ(calls_that_waited(), before + 16);
        relay_.go_on();
    }
    EXPECT_EQ(answered, 20);
    EXPECT_EQ(relay_.most(), 4U);
    EXPECT_EQ(connection_->generation(), 1U);
}

TEST_F(Reconnect, LibvirtdThatStandsStill_EndsEveryCallAsALostLink) {
    ConnectionOptions options;
    options.keepalive_interval = Seconds(1);
    options.keepalive_count = 1;
    options.patience = Seconds(6);
    connect(options);
    relay_.hold();
    std::mutex mutex;
    std::vector<Error> errors;
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 12; ++i)
            threads.emplace_back([&, i] {
                const auto answer =
                    i % 2 == 0
                        ? connection_->define("<domain/>")
                        : Result<void>(connection_->host_name().map([](const std::string&) {}));
                const std::lock_guard lock(mutex);
                if (!answer)
                    errors.push_back(answer.error());
            });
    }
    ASSERT_EQ(errors.size(), 12U);
    for (const auto& error : errors) {
        EXPECT_TRUE(link_lost(error)) << error.text;
        EXPECT_EQ(error.code, Code::Unavailable) << error.text;
        EXPECT_TRUE(error.retryable) << error.text;
    }
    EXPECT_TRUE(link_.reaches({false})); // a new connection is not answered either
    EXPECT_FALSE(connection_->reachable());
    relay_.go_on();
    EXPECT_TRUE(link_.reaches({false, true}));
    EXPECT_TRUE(connection_->host_name());
}

TEST_F(Reconnect, NewConnectionThatIsNotAnswered_KeepsNoEventBack) {
    ConnectionOptions options;
    options.stop_event_delay = Seconds(4); // the connection is tried again before
    options.patience = Seconds(2);
    connect(options);
    const InstanceUuid stopped(new_uuid());
    const InstanceUuid later(new_uuid());
    for (const auto& uuid : {stopped, later})
        ASSERT_TRUE(connection_->define(domain_xml(uuid)));
    ASSERT_TRUE(connection_->launch(stopped, true));
    ASSERT_TRUE(connection_->destroy(stopped));
    ASSERT_TRUE(connection_->launch(later, true));
    ASSERT_TRUE(events_.has(later, GuestEvent::Kind::Started)); // so the stop has come before it
    relay_.hold();
    relay_.drop();
    EXPECT_TRUE(link_.reaches({false}));
    const auto unanswered = connection_->guests();
    ASSERT_FALSE(unanswered);
    EXPECT_TRUE(link_lost(unanswered.error()));
    EXPECT_NE(unanswered.error().text.find("does not answer a new connection"), std::string::npos)
        << unanswered.error().text;
    EXPECT_TRUE(events_.has(stopped, GuestEvent::Kind::Stopped));
    EXPECT_FALSE(connection_->reachable());
    relay_.go_on();
    EXPECT_TRUE(link_.reaches({false, true}));
    remove(stopped);
    remove(later);
}

TEST_F(Reconnect, StopWhileANewConnectionIsNotAnswered_Returns) {
    ConnectionOptions options;
    options.patience = Seconds(1);
    connect(options);
    relay_.hold();
    relay_.drop();
    ASSERT_TRUE(link_.reaches({false}));
    EXPECT_FALSE(connection_->host_name());
    connection_->stop(); // returns, although the attempt is under way
    const auto after = connection_->host_name();
    ASSERT_FALSE(after);
    EXPECT_TRUE(link_lost(after.error()));
    connection_.reset();
    relay_.cut();
}

TEST_F(Reconnect, ChangeWhoseConnectionBreaks_IsNotRepeated) {
    connect();
    const InstanceUuid uuid(new_uuid());
    const auto before = relay_.asked(define_procedure);
    relay_.hold();
    Result<void> defined;
    {
        const std::jthread thread([&] { defined = connection_->define(domain_xml(uuid)); });
        ASSERT_TRUE(relay_.reaches(1));
        relay_.drop();
        relay_.go_on();
    }
    ASSERT_FALSE(defined);
    EXPECT_TRUE(link_lost(defined.error())) << defined.error().text;
    EXPECT_EQ(relay_.asked(define_procedure), before + 1);
    const auto again = connection_->define(domain_xml(uuid));
    EXPECT_TRUE(again) << (again ? "" : again.error().text);
    EXPECT_EQ(relay_.asked(define_procedure), before + 2);
    EXPECT_TRUE(connection_->undefine(uuid));
}

TEST_F(Reconnect, QuestionWhoseConnectionBreaks_IsAskedOnceMore) {
    connect();
    relay_.hold();
    Result<std::string> name;
    {
        const std::jthread thread([&] { name = connection_->host_name(); });
        ASSERT_TRUE(relay_.reaches(1));
        relay_.drop();
        relay_.go_on();
    }
    EXPECT_TRUE(name) << (name ? "" : name.error().text);
    EXPECT_EQ(relay_.asked(host_name_procedure), 2U);
    EXPECT_EQ(connection_->generation(), 2U);
    EXPECT_TRUE(link_.reaches({false, true}));
}

} // namespace
} // namespace novalet::hypervisor::libvirt
