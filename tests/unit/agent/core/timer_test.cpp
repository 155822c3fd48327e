#include "agent/core/timer.hpp"

#include <future>
#include <gtest/gtest.h>
#include <vector>

namespace novalet {
namespace {

TEST(Timer, RunsWorkInTheOrderOfItsTime) {
    std::vector<int> order;
    std::promise<void> last;
    {
        Timer timer;
        timer.after(Milliseconds(40), [&] {
            order.push_back(2);
            last.set_value();
        });
        timer.after(Milliseconds(1), [&] { order.push_back(1); });
        last.get_future().wait();
    }
    EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(Timer, WorkMayAskForMoreWork) {
    std::promise<void> done;
    Timer timer;
    timer.after(Milliseconds(0), [&] { timer.after(Milliseconds(0), [&] { done.set_value(); }); });
    done.get_future().wait();
}

TEST(Timer, WhatIsNotDueAtTheEndIsDropped) {
    bool ran = false;
    {
        Timer timer;
        timer.after(Seconds(3600), [&] { ran = true; });
    }
    EXPECT_FALSE(ran);
}

} // namespace
} // namespace novalet
