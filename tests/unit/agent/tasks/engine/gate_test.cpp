#include "agent/tasks/engine/gate.hpp"

#include "agent/tasks/engine/outage.hpp"
#include "tests/support/mailbox.hpp"

#include <atomic>
#include <gtest/gtest.h>
#include <latch>

namespace novalet::tasks {
namespace {

TEST(Gate, LetsInSoManyAndTheOthersInTheirOrder) {
    Gate gate(2);
    std::vector<std::string> woken;
    auto first = std::make_unique<Gate::Ticket>(gate);
    auto second = std::make_unique<Gate::Ticket>(gate);
    Gate::Ticket third(gate);
    Gate::Ticket fourth(gate);
    EXPECT_TRUE(first->enter());
    EXPECT_TRUE(second->enter());
    EXPECT_FALSE(third.enter());
    third.wait([&] { woken.emplace_back("third"); });
    fourth.wait([&] { woken.emplace_back("fourth"); });
    EXPECT_TRUE(woken.empty());
    second.reset();
    EXPECT_EQ(woken, std::vector<std::string>{"third"});
    EXPECT_TRUE(third.enter()) << "the place was handed over";
    EXPECT_FALSE(fourth.enter());
    first.reset();
    EXPECT_EQ(woken.back(), "fourth");
    EXPECT_EQ(gate.inside(), 2U);
}

TEST(Gate, WhoLeavesTheLineIsNotWaitedFor) {
    Gate gate(1);
    std::vector<std::string> woken;
    auto inside = std::make_unique<Gate::Ticket>(gate);
    auto gone = std::make_unique<Gate::Ticket>(gate);
    Gate::Ticket next(gate);
    ASSERT_TRUE(inside->enter());
    gone->wait([&] { woken.emplace_back("gone"); });
    next.wait([&] { woken.emplace_back("next"); });
    gone.reset();
    inside.reset();
    EXPECT_EQ(woken, std::vector<std::string>{"next"});
    EXPECT_EQ(gate.inside(), 1U);
}

TEST(Gate, NobodyPassesThoseInTheLine) {
    Gate gate(1);
    auto inside = std::make_unique<Gate::Ticket>(gate);
    ASSERT_TRUE(inside->enter());
    Gate::Ticket waiting(gate);
    bool woken = false;
    waiting.wait([&] { woken = true; });
    Gate::Ticket late(gate);
    inside.reset();
    EXPECT_TRUE(woken);
    EXPECT_FALSE(late.enter());
}

TEST(Gate, WithoutALimitEverybodyIsInside) {
    Gate gate(0);
    std::deque<Gate::Ticket> tickets;
    for (int i = 0; i < 100; ++i)
        EXPECT_TRUE(tickets.emplace_back(gate).enter());
    EXPECT_EQ(gate.inside(), 100U);
    tickets.clear();
    EXPECT_EQ(gate.inside(), 0U);
}

TEST(Outage, OneTriesAfterAPauseAndAllGoOnWhenItIsOver) {
    tests::Mailbox<std::string> woken;
    Timer timer;
    Outage outage(timer, Milliseconds(1));
    EXPECT_FALSE(outage.present());
    outage.wait([&] { woken.put("first"); });
    EXPECT_EQ(woken.take(), "first");
    EXPECT_FALSE(outage.present());
    Outage long_one(timer, std::chrono::hours(1));
    long_one.wait([&] { woken.put("second"); });
    long_one.wait([&] { woken.put("third"); });
    EXPECT_TRUE(long_one.present());
    long_one.over();
    EXPECT_EQ(woken.take(), "second");
    EXPECT_EQ(woken.take(), "third");
    EXPECT_FALSE(long_one.present());
}

TEST(InstanceQueues, ParkedWorkHoldsNoThreadAndKeepsItsPlace) {
    TaskPool pool(1);
    InstanceQueues queues(pool);
    tests::Mailbox<Turn::Wake> wakes;
    std::vector<std::string> order;
    int turns = 0;
    queues.post_turns("a", [&](const std::stop_token&) {
        order.push_back("a" + std::to_string(++turns));
        return turns == 2 ? Turn::done()
                          : Turn::parked([&](Turn::Wake wake) { wakes.put(std::move(wake)); });
    });
    queues.post("a", [&](const std::stop_token&) { order.emplace_back("behind a"); });
    const auto wake = wakes.take().value();
    queues.post("b", [&](const std::stop_token&) { order.emplace_back("b"); });
    ASSERT_TRUE(pool.wait_idle(Deadline::after(Seconds(20))));
    EXPECT_EQ(order, (std::vector<std::string>{"a1", "b"})) << "the only thread was free";
    EXPECT_TRUE(queues.busy("a"));
    EXPECT_EQ(queues.parked(), 1U);
    wake();
    wake();
    ASSERT_TRUE(pool.wait_idle(Deadline::after(Seconds(20))));
    EXPECT_EQ(order, (std::vector<std::string>{"a1", "b", "a2", "behind a"}));
    EXPECT_FALSE(queues.busy("a"));
}

TEST(InstanceQueues, AnInterruptWakesParkedWork) {
    TaskPool pool(2);
    InstanceQueues queues(pool);
    tests::Mailbox<std::string> said;
    queues.post_turns("a", [&](const std::stop_token& stop) {
        said.put(stop.stop_requested() ? "gives up" : "waits");
        return stop.stop_requested() ? Turn::done()
                                     : Turn::parked([&](const Turn::Wake&) { said.put("parked"); });
    });
    EXPECT_EQ(said.take(), "waits");
    EXPECT_EQ(said.take(), "parked");
    queues.interrupt("a");
    EXPECT_EQ(said.take(), "gives up");
    ASSERT_TRUE(pool.wait_idle(Deadline::after(Seconds(20))));
}

TEST(InstanceQueues, AnInterruptJustBeforeTheParkingIsNotLost) {
    TaskPool pool(2);
    InstanceQueues queues(pool);
    std::latch begun(1);
    std::latch interrupted(1);
    tests::Mailbox<std::string> said;
    bool arranged = false;
    queues.post_turns("a", [&](const std::stop_token& stop) {
        if (stop.stop_requested()) {
            said.put("gives up");
            return Turn::done();
        }
        begun.count_down();
        interrupted.wait();
        return Turn::parked([&](const Turn::Wake&) { arranged = true; });
    });
    begun.wait();
    queues.interrupt("a");
    interrupted.count_down();
    EXPECT_EQ(said.take(), "gives up");
    ASSERT_TRUE(pool.wait_idle(Deadline::after(Seconds(20))));
    EXPECT_FALSE(arranged);
}

TEST(InstanceQueues, StoppedQueuesDropWhatIsParked) {
    TaskPool pool(2);
    InstanceQueues queues(pool);
    tests::Mailbox<Turn::Wake> wakes;
    std::atomic<int> turns{0};
    auto held = std::make_shared<int>(1);
    const std::weak_ptr<int> watched = held;
    queues.post_turns("a", [&, held = std::move(held)](const std::stop_token&) {
        ++turns;
        return Turn::parked([&](Turn::Wake wake) { wakes.put(std::move(wake)); });
    });
    const auto wake = wakes.take().value();
    ASSERT_TRUE(pool.wait_idle(Deadline::after(Seconds(20))));
    queues.stop();
    EXPECT_TRUE(watched.expired()) << "what it held is released";
    wake();
    ASSERT_TRUE(pool.wait_idle(Deadline::after(Seconds(20))));
    EXPECT_EQ(turns, 1);
}

} // namespace
} // namespace novalet::tasks
