#include "agent/tasks/engine/instance_queue.hpp"

#include <atomic>
#include <gtest/gtest.h>
#include <latch>
#include <utility>

namespace novalet::tasks {
namespace {

TEST(InstanceQueues, RunsWorkOfOneInstanceInOrderAndNeverTwiceAtOnce) {
    TaskPool pool(8);
    InstanceQueues queues(pool);
    std::vector<int> order;
    std::atomic<int> inside{0};
    std::atomic<bool> overlapped{false};
    for (int i = 0; i < 200; ++i)
        queues.post("a", [&, i](const std::stop_token&) {
            overlapped = overlapped || ++inside != 1;
            order.push_back(i);
            --inside;
        });
    ASSERT_TRUE(pool.wait_idle(Deadline::after(Seconds(20))));
    EXPECT_FALSE(overlapped);
    ASSERT_EQ(order.size(), 200U);
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
    EXPECT_FALSE(queues.busy("a"));
}

TEST(InstanceQueues, RunsDifferentInstancesInParallel) {
    TaskPool pool(4);
    InstanceQueues queues(pool);
    std::latch together(3); // only opens when all three run at the same time
    for (const char* key : {"a", "b", "c"})
        queues.post(key, [&](const std::stop_token&) { together.arrive_and_wait(); });
    EXPECT_TRUE(pool.wait_idle(Deadline::after(Seconds(20))));
}

TEST(InstanceQueues, InterruptReachesTheRunningWorkOnly) {
    TaskPool pool(2);
    InstanceQueues queues(pool);
    std::latch started(1);
    std::latch interrupted(1);
    bool first_stopped = false;
    bool second_stopped = true;
    queues.post("a", [&](const std::stop_token& stop) {
        started.count_down();
        interrupted.wait();
        first_stopped = stop.stop_requested();
    });
    queues.post("a", [&](const std::stop_token& stop) { second_stopped = stop.stop_requested(); });
    started.wait();
    queues.interrupt("a");
    interrupted.count_down();
    ASSERT_TRUE(pool.wait_idle(Deadline::after(Seconds(20))));
    EXPECT_TRUE(first_stopped);
    EXPECT_FALSE(second_stopped);
}

TEST(InstanceQueues, InterruptReachesWorkThatHasNotBegun) {
    TaskPool pool(1);
    InstanceQueues queues(pool);
    std::latch go_on(1);
    bool stopped = false;
    pool.post([&] { go_on.wait(); });
    queues.post("a", [&](const std::stop_token& stop) { stopped = stop.stop_requested(); });
    queues.interrupt("a");
    go_on.count_down();
    ASSERT_TRUE(pool.wait_idle(Deadline::after(Seconds(20))));
    EXPECT_TRUE(stopped);
}

TEST(InstanceQueues, WhatWorkHoldsMayWakeOthersWhenItEnds) {
    TaskPool pool(1);
    InstanceQueues queues(pool);
    std::atomic<bool> woken{false};
    Turn::Wake wake;
    bool first = true;
    queues.post_turns("waits", [&](const std::stop_token& /*stop*/) {
        if (!std::exchange(first, false)) {
            woken = true;
            return Turn::done();
        }
        return Turn::parked([&](Turn::Wake again) { wake = std::move(again); });
    });
    ASSERT_TRUE(pool.wait_idle(Deadline::after(Seconds(20))));
    // As in a gate: the end of one is the turn of who waits.
    std::shared_ptr<void> place(nullptr, [&](void*) { wake(); });
    queues.post("ends", [place = std::move(place)](const std::stop_token& /*stop*/) {
        EXPECT_FALSE(place);
    });
    ASSERT_TRUE(pool.wait_idle(Deadline::after(Seconds(20))));
    EXPECT_TRUE(woken);
}

} // namespace
} // namespace novalet::tasks
