#include "hypervisor/libvirt/stop_delay.hpp"

#include "tests/support/fake_clock.hpp"

#include <gtest/gtest.h>

namespace novalet::hypervisor::libvirt {
namespace {

using Kind = GuestEvent::Kind;

struct Delayed {
    tests::FakeClock clock;
    StopDelay delay{Seconds(15)};
    std::optional<GuestEvent> take(const char* uuid, Kind kind) {
        return delay.take({InstanceUuid(uuid), kind}, clock.monotonic());
    }
    std::vector<std::string> due() {
        std::vector<std::string> out;
        for (const auto& event : delay.due(clock.monotonic())) {
            EXPECT_EQ(event.kind, Kind::Stopped);
            out.push_back(event.uuid.str());
        }
        return out;
    }
};

TEST(StopDelay, Stop_IsToldAfterTheDelay) {
    Delayed d;
    EXPECT_FALSE(d.take("a", Kind::Stopped));
    EXPECT_EQ(d.delay.next(), d.clock.monotonic() + Seconds(15));
    d.clock.advance(Milliseconds(14999));
    EXPECT_TRUE(d.due().empty());
    d.clock.advance(Milliseconds(1));
    EXPECT_EQ(d.due(), std::vector<std::string>{"a"});
    EXPECT_FALSE(d.delay.next());
}

TEST(StopDelay, Start_TakesThePlaceOfTheStop) {
    Delayed d;
    EXPECT_FALSE(d.take("a", Kind::Stopped));
    EXPECT_FALSE(d.take("b", Kind::Stopped));
    ASSERT_TRUE(d.take("a", Kind::Started));
    d.clock.advance(Seconds(60));
    EXPECT_EQ(d.due(), std::vector<std::string>{"b"});
}

TEST(StopDelay, SecondStop_WaitsAnew) {
    Delayed d;
    EXPECT_FALSE(d.take("a", Kind::Stopped));
    d.clock.advance(Seconds(10));
    EXPECT_FALSE(d.take("a", Kind::Stopped));
    d.clock.advance(Seconds(10));
    EXPECT_TRUE(d.due().empty());
    d.clock.advance(Seconds(5));
    EXPECT_EQ(d.due(), std::vector<std::string>{"a"});
}

TEST(StopDelay, SeveralStops_ComeInOrder) {
    Delayed d;
    EXPECT_FALSE(d.take("z", Kind::Stopped));
    d.clock.advance(Seconds(1));
    EXPECT_FALSE(d.take("a", Kind::Stopped));
    d.clock.advance(Seconds(20));
    EXPECT_EQ(d.due(), (std::vector<std::string>{"z", "a"}));
}

TEST(StopDelay, OtherEvents_PassAtOnce) {
    Delayed d;
    for (const auto kind : {Kind::Started, Kind::Paused, Kind::Resumed, Kind::Suspended}) {
        const auto told = d.take("a", kind);
        ASSERT_TRUE(told);
        EXPECT_EQ(told->kind, kind);
    }
    EXPECT_FALSE(d.delay.next());
}

} // namespace
} // namespace novalet::hypervisor::libvirt
