#include "agent/rpc/dead_queues.hpp"
#include "agent/rpc/recent_ids.hpp"
#include "tests/support/fake_clock.hpp"

#include <gtest/gtest.h>

namespace novalet::rpc {
namespace {

TEST(RecentIds, KnowsTheLastOnes) {
    RecentIds ids(2);
    EXPECT_TRUE(ids.insert("a"));
    EXPECT_FALSE(ids.insert("a"));
    EXPECT_TRUE(ids.insert("b"));
    EXPECT_FALSE(ids.insert("a"));
    EXPECT_TRUE(ids.insert("c")); // pushes a out
    EXPECT_TRUE(ids.insert("a"));
    EXPECT_FALSE(ids.insert("c"));
}

TEST(RecentIds, TakesMessagesWithoutAnId) {
    RecentIds ids(2);
    EXPECT_TRUE(ids.insert(""));
    EXPECT_TRUE(ids.insert(""));
}

TEST(RecentIds, ForgetsWhatWillComeAgain) {
    RecentIds ids(2);
    ids.insert("a");
    ids.insert("b");
    ids.forget("a");
    ids.forget("never seen");
    EXPECT_TRUE(ids.insert("a"));
    EXPECT_FALSE(ids.insert("b"));
}

TEST(DeadQueues, AreDeadForAMinute) {
    tests::FakeClock clock;
    DeadQueues dead(200, Milliseconds(60000), clock);
    EXPECT_FALSE(dead.contains("q"));
    dead.remember("q");
    EXPECT_TRUE(dead.contains("q"));
    EXPECT_FALSE(dead.contains("other"));
    clock.advance(Milliseconds(59999));
    EXPECT_TRUE(dead.contains("q"));
    clock.advance(Milliseconds(1));
    EXPECT_FALSE(dead.contains("q"));
}

TEST(DeadQueues, ForgetTheOldestOverTheLimit) {
    tests::FakeClock clock;
    DeadQueues dead(2, Milliseconds(60000), clock);
    dead.remember("z");
    dead.remember("a");
    dead.remember("m");
    EXPECT_FALSE(dead.contains("z"));
    EXPECT_TRUE(dead.contains("a"));
    EXPECT_TRUE(dead.contains("m"));
}

TEST(DeadQueues, KeepTheFirstTimeWhenToldTwice) {
    tests::FakeClock clock;
    DeadQueues dead(2, Milliseconds(60000), clock);
    dead.remember("q");
    clock.advance(Milliseconds(30000));
    dead.remember("q");
    clock.advance(Milliseconds(30000));
    EXPECT_FALSE(dead.contains("q"));
}

} // namespace
} // namespace novalet::rpc
