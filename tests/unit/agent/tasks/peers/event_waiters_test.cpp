#include "agent/tasks/peers/event_waiters.hpp"

#include <gtest/gtest.h>
#include <thread>

namespace novalet::tasks {
namespace {

const InstanceUuid instance{"11111111-1111-1111-1111-111111111111"};
const EventKey plugged_a{"network-vif-plugged", "port-a"};
const EventKey plugged_b{"network-vif-plugged", "port-b"};

TEST(EventWaiters, ReturnsWhenEveryAwaitedEventCame) {
    EventWaiters waiters;
    EventWaiters::Waiter waiter(waiters, instance, {plugged_a, plugged_b});
    EXPECT_TRUE(waiters.deliver(instance, plugged_a, true)); // before anybody waits
    std::jthread neutron([&] { waiters.deliver(instance, plugged_b, true); });
    EXPECT_TRUE(waiter.wait(Deadline::after(Seconds(20)), {}));
}

TEST(EventWaiters, NamesWhatIsMissingWhenTheTimeIsUp) {
    EventWaiters waiters;
    EventWaiters::Waiter waiter(waiters, instance, {plugged_a, plugged_b});
    waiters.deliver(instance, plugged_a, true);
    const auto result = waiter.wait(Deadline::after(Milliseconds(0)), {});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::Timeout);
    EXPECT_NE(result.error().text.find("port-b"), std::string::npos);
    EXPECT_EQ(result.error().text.find("port-a"), std::string::npos);
}

TEST(EventWaiters, FailsAtOnceWhenNeutronReportsAFailure) {
    EventWaiters waiters;
    EventWaiters::Waiter waiter(waiters, instance, {plugged_a, plugged_b});
    waiters.deliver(instance, plugged_a, false);
    const auto result = waiter.wait(Deadline::after(Seconds(20)), {});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::Remote);
}

TEST(EventWaiters, GivesUpWhenStopped) {
    EventWaiters waiters;
    EventWaiters::Waiter waiter(waiters, instance, {plugged_a});
    std::stop_source stop;
    std::jthread deleter([&] { stop.request_stop(); });
    const auto result = waiter.wait(Deadline::after(Seconds(20)), stop.get_token());
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::Cancelled);
}

TEST(EventWaiters, KnowsWhetherAnybodyWaited) {
    EventWaiters waiters;
    EXPECT_FALSE(waiters.deliver(instance, plugged_a, true));
    {
        EventWaiters::Waiter waiter(waiters, instance, {plugged_a});
        EXPECT_FALSE(waiters.deliver(InstanceUuid("other"), plugged_a, true));
        EXPECT_TRUE(waiters.deliver(instance, plugged_a, true));
        EXPECT_FALSE(waiters.deliver(instance, plugged_a, true));
    }
    EXPECT_FALSE(waiters.deliver(instance, plugged_a, true));
}

} // namespace
} // namespace novalet::tasks
