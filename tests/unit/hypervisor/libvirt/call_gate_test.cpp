#include "hypervisor/libvirt/call_gate.hpp"

#include "hypervisor/hypervisor.hpp"

#include <atomic>
#include <gtest/gtest.h>
#include <optional>
#include <thread>
#include <vector>

namespace novalet::hypervisor::libvirt {
namespace {

using Kind = CallKind;

Deadline at_once() {
    return Deadline::after(Milliseconds(0));
}

Deadline patient() {
    return Deadline::after(Seconds(60));
}

/// The gate with what is under way in it, by kind.
struct Gate {
    CallGate gate;
    std::vector<CallGate::Place> places;

    [[nodiscard]] bool take(Kind kind) {
        auto place = gate.enter(kind, "a call", at_once());
        if (place)
            places.push_back(std::move(*place));
        return place.has_value();
    }
    [[nodiscard]] std::size_t take_all(Kind kind) {
        std::size_t taken = 0;
        while (take(kind))
            ++taken;
        return taken;
    }
};

/// Somebody who waits for a place, and keeps it until told.
class Waiter {
  public:
    Waiter(CallGate& gate, Kind kind, std::vector<int>& order, int number) {
        const auto before = gate.waiting();
        thread_ = std::jthread([&gate, kind, &order, number] {
            const auto place = gate.enter(kind, "a call that waits", patient());
            if (place)
                order.push_back(number); // one place is free at a time: no two write at once
        });
        while (gate.waiting() == before)
            std::this_thread::yield();
    }
    void join() { thread_.join(); }

  private:
    std::jthread thread_;
};

TEST(CallGate, FourQuestionsAreUnderWay_TheFifthWaits) {
    Gate g;
    EXPECT_EQ(g.take_all(Kind::Question), 4U);
    g.places.pop_back();
    EXPECT_TRUE(g.take(Kind::Question));
    EXPECT_FALSE(g.take(Kind::Question));
}

TEST(CallGate, WhatLastsLong_LeavesPlacesToTheRest) {
    Gate g;
    EXPECT_EQ(g.take_all(Kind::Long), 2U);
    EXPECT_EQ(g.take_all(Kind::Change), 1U);
    EXPECT_EQ(g.take_all(Kind::Question), 1U);
}

TEST(CallGate, ChangesAlone_LeaveOnePlaceToQuestions) {
    Gate g;
    EXPECT_EQ(g.take_all(Kind::Change), 3U);
    EXPECT_EQ(g.take_all(Kind::Long), 0U);
    EXPECT_EQ(g.take_all(Kind::Question), 1U);
}

TEST(CallGate, QuestionsMayTakeWhatChangesLeave) {
    Gate g;
    EXPECT_TRUE(g.take(Kind::Change));
    EXPECT_EQ(g.take_all(Kind::Question), 3U);
    EXPECT_EQ(g.take_all(Kind::Change), 0U);
}

TEST(CallGate, NoPlaceInTime_IsALinkFailureThatNamesWhatIsUnderWay) {
    CallGate gate;
    const auto first = gate.enter(Kind::Long, "save domain one", at_once());
    const auto second = gate.enter(Kind::Long, "save domain two", at_once());
    ASSERT_TRUE(first && second);
    const auto third = gate.enter(Kind::Long, "save domain three", at_once());
    ASSERT_FALSE(third);
    EXPECT_EQ(third.error().code, Code::Unavailable);
    EXPECT_TRUE(third.error().retryable);
    EXPECT_TRUE(link_lost(third.error()));
    for (const char* word : {"save domain one", "save domain two", "save domain three"})
        EXPECT_NE(third.error().text.find(word), std::string::npos) << third.error().text;
    EXPECT_EQ(gate.waiting(), 0U);
}

TEST(CallGate, FirstComeFirstServed) {
    CallGate gate;
    std::optional<CallGate::Place> held;
    std::vector<CallGate::Place> others;
    for (int i = 0; i < 3; ++i)
        others.push_back(std::move(*gate.enter(Kind::Question, "another", at_once())));
    held.emplace(std::move(*gate.enter(Kind::Question, "the one that ends", at_once())));
    std::vector<int> order;
    std::vector<Waiter> waiters;
    for (int i = 0; i < 6; ++i)
        waiters.emplace_back(gate, i % 2 == 0 ? Kind::Question : Kind::Change, order, i);
    EXPECT_EQ(gate.waiting(), 6U);
    held.reset();
    for (auto& waiter : waiters)
        waiter.join();
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5}));
}

TEST(CallGate, WhoMayNotGoYet_KeepsNobodyBehindIt) {
    CallGate gate;
    std::vector<CallGate::Place> saves;
    for (int i = 0; i < 2; ++i)
        saves.push_back(std::move(*gate.enter(Kind::Long, "save", at_once())));
    std::vector<int> order;
    Waiter third_save(gate, Kind::Long, order, 1);
    EXPECT_TRUE(gate.enter(Kind::Question, "state", at_once()));
    EXPECT_TRUE(gate.enter(Kind::Change, "start", at_once()));
    saves.pop_back();
    third_save.join();
    EXPECT_EQ(order, std::vector<int>{1});
}

TEST(CallGate, TooManyWaiting_AreTurnedAway) {
    CallGate gate;
    std::vector<CallGate::Place> places;
    for (int i = 0; i < 4; ++i)
        places.push_back(std::move(*gate.enter(Kind::Question, "state", at_once())));
    std::vector<std::jthread> threads;
    std::atomic<unsigned> served{0};
    for (std::size_t i = 0; i < CallGate::longest_queue; ++i)
        threads.emplace_back([&] {
            if (gate.enter(Kind::Question, "state", patient()))
                ++served;
        });
    while (gate.waiting() < CallGate::longest_queue)
        std::this_thread::yield();
    const auto turned_away = gate.enter(Kind::Question, "state", patient());
    ASSERT_FALSE(turned_away);
    EXPECT_TRUE(link_lost(turned_away.error()));
    places.clear();
    threads.clear();
    EXPECT_EQ(served, CallGate::longest_queue);
}

} // namespace
} // namespace novalet::hypervisor::libvirt
