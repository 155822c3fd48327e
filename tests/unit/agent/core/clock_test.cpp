#include "agent/core/clock.hpp"

#include "tests/support/fake_clock.hpp"

#include <gtest/gtest.h>

namespace novalet {
namespace {

TEST(Clock, TimesAreWrittenInUtc) {
    const WallTime time(std::chrono::microseconds(1'795'234'136'000'007));
    EXPECT_EQ(to_iso(time), "2026-11-21T04:08:56Z");
    EXPECT_EQ(to_iso_micro(time), "2026-11-21T04:08:56.000007");
    EXPECT_EQ(to_utc_text(time), "2026-11-21 04:08:56");
}

TEST(Clock, TheEpochAndTimesBeforeItHaveRightFractions) {
    EXPECT_EQ(to_iso_micro(WallTime{}), "1970-01-01T00:00:00.000000");
    EXPECT_EQ(to_iso_micro(WallTime(std::chrono::microseconds(-1))), "1969-12-31T23:59:59.999999");
}

TEST(Deadline, CountsDownToZeroAndNoFurther) {
    tests::FakeClock clock;
    const auto deadline = Deadline::after(Milliseconds(100), clock);
    EXPECT_EQ(deadline.left(), Milliseconds(100));
    EXPECT_FALSE(deadline.passed());
    clock.advance(Milliseconds(99));
    EXPECT_EQ(deadline.left(), Milliseconds(1));
    clock.advance(Milliseconds(1));
    EXPECT_EQ(deadline.left(), Milliseconds(0));
    EXPECT_TRUE(deadline.passed());
    clock.advance(Seconds(10));
    EXPECT_EQ(deadline.left(), Milliseconds(0));
}

TEST(Deadline, DoesNotCareAboutTheWallClock) {
    tests::FakeClock clock;
    const auto deadline = Deadline::after(Seconds(5), clock);
    clock.set_wall(WallTime{});
    EXPECT_EQ(deadline.left(), Seconds(5));
}

TEST(SystemClock, MovesForward) {
    const auto first = system_clock().monotonic();
    EXPECT_GE(system_clock().monotonic(), first);
    EXPECT_GT(system_clock().wall(), WallTime(Seconds(1'700'000'000)));
}

} // namespace
} // namespace novalet
