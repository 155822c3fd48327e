#include "hypervisor/topology/uptime.hpp"

#include "agent/core/file.hpp"
#include "tests/support/fake_clock.hpp"
#include "tests/support/temporary_folder.hpp"

#include <cstdlib>
#include <gtest/gtest.h>

namespace novalet::hypervisor::topology {
namespace {

std::string uptime_of(const char* up, unsigned users) {
    const tests::TemporaryFolder root;
    std::filesystem::create_directories(root / "proc");
    EXPECT_TRUE(write_file_atomically(root / "proc/uptime", up));
    EXPECT_TRUE(write_file_atomically(root / "proc/loadavg", "0.99 1.22 1.31 2/345 678\n"));
    setenv("TZ", "UTC", 1);
    tzset();
    const tests::FakeClock clock; // 08:00:00 UTC
    const auto text = uptime_text(root.path(), users, clock);
    return text ? *text : text.error().text;
}

TEST(Uptime, HasTheFormOfTheProgram) {
    EXPECT_EQ(uptime_of("125267.12 9.9\n", 2),
              " 08:00:00 up 1 day, 10:47,  2 users,  load average: 0.99, 1.22, 1.31\n");
    EXPECT_EQ(uptime_of("6720.00 9.9\n", 1),
              " 08:00:00 up  1:52,  1 user,  load average: 0.99, 1.22, 1.31\n");
    EXPECT_EQ(uptime_of("172860.00 9.9\n", 0),
              " 08:00:00 up 2 days, 1 min,  0 users,  load average: 0.99, 1.22, 1.31\n");
}

TEST(Uptime, OtherForm_IsAnError) {
    EXPECT_NE(uptime_of("x", 0).find("another form"), std::string::npos);
}

TEST(Uptime, ThisHost_HasOne) {
    EXPECT_TRUE(uptime_text("/", logged_in_users()));
}

} // namespace
} // namespace novalet::hypervisor::topology
