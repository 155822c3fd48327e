#include "agent/amqp/unsettled.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <set>

namespace novalet::amqp {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Acknowledgement = Unsettled::Acknowledgement;

class UnsettledTest : public ::testing::Test {
  protected:
    UnsettledTest() {
        for (std::uint64_t tag = 1; tag <= 5; ++tag)
            unsettled_.delivered(tag);
    }
    Unsettled unsettled_;
};

TEST_F(UnsettledTest, OneFrameTellsOfAllInARow) {
    for (const std::uint64_t tag : {1U, 2U, 3U})
        ASSERT_TRUE(unsettled_.acknowledge(tag));
    EXPECT_THAT(unsettled_.take(), ElementsAre(Acknowledgement{3, true}));
    EXPECT_THAT(unsettled_.take(), IsEmpty());
    ASSERT_TRUE(unsettled_.acknowledge(4));
    EXPECT_THAT(unsettled_.take(), ElementsAre(Acknowledgement{4, false}));
    EXPECT_EQ(unsettled_.size(), 1U);
}

TEST_F(UnsettledTest, WhatIsStillWorkedOnIsNotCovered) {
    for (const std::uint64_t tag : {5U, 1U, 3U})
        ASSERT_TRUE(unsettled_.acknowledge(tag));
    EXPECT_THAT(unsettled_.take(),
                ElementsAre(Acknowledgement{1, false},
                            Acknowledgement{5, false},
                            Acknowledgement{3, false}));
    ASSERT_TRUE(unsettled_.acknowledge(2));
    ASSERT_TRUE(unsettled_.acknowledge(4));
    EXPECT_THAT(unsettled_.take(), ElementsAre(Acknowledgement{4, true}));
}

TEST_F(UnsettledTest, RejectedOnesAreNoGap) {
    unsettled_.rejected(2);
    ASSERT_TRUE(unsettled_.acknowledge(1));
    ASSERT_TRUE(unsettled_.acknowledge(3));
    EXPECT_THAT(unsettled_.take(), ElementsAre(Acknowledgement{3, true}));
}

TEST_F(UnsettledTest, KnowsNothingOfOthers) {
    EXPECT_FALSE(unsettled_.acknowledge(6));
    ASSERT_TRUE(unsettled_.acknowledge(1));
    EXPECT_FALSE(unsettled_.acknowledge(1)) << "twice";
    unsettled_.clear();
    EXPECT_FALSE(unsettled_.acknowledge(2));
    EXPECT_THAT(unsettled_.take(), IsEmpty());
}

/// A broker that takes the frames at their word: each tag settled once, none before its time.
TEST(UnsettledBroker, HearsOfEachOnce) {
    std::mt19937 random(99); // NOLINT: the same story every time
    Unsettled unsettled;
    std::set<std::uint64_t> kept;    // by the broker
    std::set<std::uint64_t> working; // of those, neither acknowledged nor rejected
    std::uint64_t last = 0;
    for (int step = 0; step < 20000; ++step) {
        const auto what = random() % 8;
        if (what < 3) {
            unsettled.delivered(++last);
            kept.insert(last);
            working.insert(last);
        } else if (what < 7 && !working.empty()) {
            auto one = working.begin();
            std::advance(one, static_cast<std::ptrdiff_t>(random() % working.size()));
            if (random() % 10 == 0) {
                unsettled.rejected(*one);
                kept.erase(*one);
            } else {
                ASSERT_TRUE(unsettled.acknowledge(*one));
            }
            working.erase(one);
        } else {
            for (const auto& frame : unsettled.take()) {
                ASSERT_EQ(kept.count(frame.tag), 1U) << "unknown delivery tag " << frame.tag;
                kept.erase(frame.multiple ? kept.begin() : kept.find(frame.tag),
                           kept.upper_bound(frame.tag));
            }
            ASSERT_EQ(kept, working);
        }
    }
    EXPECT_GT(last, 5000U);
}

} // namespace
} // namespace novalet::amqp
