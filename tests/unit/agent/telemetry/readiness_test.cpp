#include "agent/telemetry/readiness.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "tests/support/temporary_folder.hpp"

#include <cstddef>
#include <cstdlib>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace novalet::telemetry {
namespace {

/// What systemd would be.
class Manager {
  public:
    explicit Manager(const std::string& name) : fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un own{};
        own.sun_family = AF_UNIX;
        name.copy(own.sun_path, sizeof own.sun_path - 1);
        if (name.front() == '@')
            own.sun_path[0] = '\0';
        EXPECT_EQ(bind(fd_.get(),
                       reinterpret_cast<const sockaddr*>(&own),
                       static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size())),
                  0);
    }
    std::string heard() const {
        std::string buffer(1000, '\0');
        const auto got = recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        return got < 0 ? "" : buffer.substr(0, static_cast<std::size_t>(got));
    }

  private:
    Fd fd_;
};

TEST(Readiness, TellsEachThingInItsOwnDatagram) {
    const tests::TemporaryFolder folder;
    const auto path = (folder / "notify").string();
    const Manager manager(path);
    const Readiness readiness(path);
    ASSERT_TRUE(readiness.ready("3 guests\nREADY=0"));
    EXPECT_EQ(manager.heard(), "READY=1\nSTATUS=3 guests READY=0");
    ASSERT_TRUE(readiness.status("broker is gone"));
    EXPECT_EQ(manager.heard(), "STATUS=broker is gone");
    ASSERT_TRUE(readiness.alive());
    EXPECT_EQ(manager.heard(), "WATCHDOG=1");
    ASSERT_TRUE(readiness.stopping());
    EXPECT_EQ(manager.heard(), "STOPPING=1");
}

TEST(Readiness, KnowsTheAbstractNamespace) {
    const auto name = cat("@novalet-test-", static_cast<long>(getpid()));
    const Manager manager(name);
    ASSERT_TRUE(Readiness(name).stopping());
    EXPECT_EQ(manager.heard(), "STOPPING=1");
}

TEST(Readiness, WithoutAManagerNothingHappens) {
    EXPECT_TRUE(Readiness("").ready("x"));
    EXPECT_FALSE(Readiness("").watchdog_period());
}

TEST(Readiness, AManagerThatIsGoneIsAnErrorThatNamesIt) {
    const auto gone = Readiness("/no/such/socket").alive();
    ASSERT_FALSE(gone);
    EXPECT_NE(gone.error().text.find("/no/such/socket"), std::string::npos);
    EXPECT_FALSE(Readiness("relative").alive());
    EXPECT_FALSE(Readiness("/" + std::string(200, 'x')).alive());
}

TEST(Readiness, ReadsTheEnvironment) {
    const tests::TemporaryFolder folder;
    const auto path = (folder / "notify").string();
    const Manager manager(path);
    const auto with = [](const char* usec, const std::string& pid) {
        setenv("WATCHDOG_USEC", usec, 1);
        setenv("WATCHDOG_PID", pid.c_str(), 1);
        return Readiness::from_environment().watchdog_period();
    };
    setenv("NOTIFY_SOCKET", path.c_str(), 1);
    const auto own = std::to_string(getpid());
    EXPECT_EQ(with("30000000", own), Milliseconds(15000));
    EXPECT_EQ(with("30000000", "1"), std::nullopt) << "it is meant for another process";
    EXPECT_EQ(with("0", own), std::nullopt);
    EXPECT_EQ(with("soon", own), std::nullopt);
    EXPECT_TRUE(Readiness::from_environment().alive());
    EXPECT_EQ(manager.heard(), "WATCHDOG=1");
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
        unsetenv(name);
    EXPECT_TRUE(Readiness::from_environment().alive());
    EXPECT_EQ(manager.heard(), "");
}

} // namespace
} // namespace novalet::telemetry
