#include "agent/amqp/outbox.hpp"

#include "tests/support/fake_clock.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace novalet::amqp {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class OutboxTest : public ::testing::Test {
  protected:
    void add(const std::string& key, Milliseconds patience = Milliseconds(60000)) {
        Publication publication;
        publication.message.routing_key = key;
        publication.message.mandatory = true;
        publication.patience = patience;
        publication.done = [this, key](const Result<void>& result) {
            told_.push_back(key +
                            (result ? " ok" : std::string(" ") + name_of(result.error().code)));
        };
        ASSERT_TRUE(outbox_.add(std::move(publication)));
    }
    /// Sends what may be sent; the keys in order.
    std::vector<std::string> send() {
        std::vector<std::string> keys;
        while (auto entry = outbox_.take()) {
            keys.push_back(entry->publication.message.routing_key);
            outbox_.sent(std::move(*entry));
        }
        return keys;
    }
    void confirm(std::uint64_t tag, bool multiple = false, bool positive = true) {
        Outbox::run(outbox_.confirmed({1, tag, multiple, positive}));
    }

    tests::FakeClock clock_;
    Outbox outbox_{5, clock_};
    std::vector<std::string> told_;
};

TEST_F(OutboxTest, CompletesWhatTheBrokerConfirms) {
    add("a");
    add("b");
    add("c");
    EXPECT_THAT(send(), ElementsAre("a", "b", "c"));
    EXPECT_THAT(told_, IsEmpty());
    confirm(2);
    EXPECT_THAT(told_, ElementsAre("b ok"));
    confirm(3, true);
    EXPECT_THAT(told_, ElementsAre("b ok", "a ok", "c ok"));
    EXPECT_EQ(outbox_.size(), 0U);
}

TEST_F(OutboxTest, IsFullAtItsLimitAndSaysSo) {
    for (const char* key : {"a", "b", "c", "d", "e"})
        add(key);
    send(); // under way counts as well
    const auto refused = outbox_.add({});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::ResourceExhausted);
}

TEST_F(OutboxTest, TellsTheOneThatWasReturned) {
    add("gone");
    add("here");
    add("gone");
    send();
    outbox_.returned({1, "gone", 312});
    confirm(1);
    EXPECT_THAT(told_, ElementsAre("gone not_found"));
    confirm(3, true);
    EXPECT_THAT(told_, ElementsAre("gone not_found", "here ok", "gone ok"));
}

TEST_F(OutboxTest, SendsAgainInOrderAfterALostConnection) {
    add("a");
    add("b");
    send();
    add("c");
    confirm(1);
    outbox_.connection_lost();
    EXPECT_THAT(send(), ElementsAre("b", "c"));
    confirm(2, true); // numbers start anew with the connection
    EXPECT_THAT(told_, ElementsAre("a ok", "b ok", "c ok"));
}

TEST_F(OutboxTest, FindsTheMessageThatClosesTheChannel) {
    add("good");
    add("bad");
    add("fine");
    send();
    Outbox::run(outbox_.channel_closed(406, "PRECONDITION_FAILED"));
    EXPECT_THAT(told_, IsEmpty());
    EXPECT_THAT(send(), ElementsAre("good")); // alone
    confirm(1);
    EXPECT_THAT(send(), ElementsAre("bad"));
    Outbox::run(outbox_.channel_closed(406, "PRECONDITION_FAILED"));
    EXPECT_THAT(told_, ElementsAre("good ok", "bad invalid_argument"));
    EXPECT_THAT(send(), ElementsAre("fine"));
    confirm(1);
    EXPECT_THAT(told_, ElementsAre("good ok", "bad invalid_argument", "fine ok"));
}

TEST_F(OutboxTest, TriesALoneMessageTwiceBeforeItIsBlamed) {
    add("a");
    send();
    Outbox::run(outbox_.channel_closed(404, "no exchange"));
    EXPECT_THAT(told_, IsEmpty()); // the exchange is declared again meanwhile
    EXPECT_THAT(send(), ElementsAre("a"));
    Outbox::run(outbox_.channel_closed(404, "no exchange"));
    EXPECT_THAT(told_, ElementsAre("a not_found"));
}

TEST_F(OutboxTest, AsksARefusingBrokerOnceASecondAndLetsOthersPass) {
    add("a");
    send();
    confirm(1, false, false);
    EXPECT_THAT(send(), IsEmpty());
    EXPECT_FALSE(outbox_.ready());
    add("b");
    EXPECT_THAT(send(), ElementsAre("b"));
    clock_.advance(Milliseconds(1000));
    EXPECT_THAT(send(), ElementsAre("a"));
    confirm(3, true);
    EXPECT_THAT(told_, ElementsAre("b ok", "a ok"));
}

TEST_F(OutboxTest, LosesPatienceWithWaitingAndWithSentOnes) {
    add("sent", Milliseconds(1000));
    send();
    add("waiting", Milliseconds(1000));
    add("patient", Milliseconds(5000));
    clock_.advance(Milliseconds(999));
    Outbox::run(outbox_.expire());
    EXPECT_THAT(told_, IsEmpty());
    clock_.advance(Milliseconds(1));
    Outbox::run(outbox_.expire());
    EXPECT_THAT(told_, ElementsAre("sent unavailable", "waiting unavailable"));
    // The number of the expired one is still taken: the late confirm is not the next one's.
    EXPECT_THAT(send(), ElementsAre("patient"));
    confirm(1);
    EXPECT_EQ(told_.size(), 2U);
    confirm(2);
    EXPECT_THAT(told_, ElementsAre("sent unavailable", "waiting unavailable", "patient ok"));
}

TEST_F(OutboxTest, DoesNotSendAnExpiredOneAgain) {
    add("a", Milliseconds(1000));
    send();
    clock_.advance(Milliseconds(1000));
    Outbox::run(outbox_.expire());
    outbox_.connection_lost();
    EXPECT_THAT(send(), IsEmpty());
    EXPECT_THAT(told_, ElementsAre("a unavailable"));
}

TEST_F(OutboxTest, SendsAgainWhatNobodyWaitsFor) {
    ASSERT_TRUE(outbox_.add({})); // no callback
    send();
    outbox_.connection_lost();
    EXPECT_EQ(send().size(), 1U);
}

TEST_F(OutboxTest, CompletesEverythingAtTheEnd) {
    add("sent");
    send();
    add("waiting");
    Outbox::run(outbox_.cancel_all());
    EXPECT_THAT(told_, ElementsAre("sent cancelled", "waiting cancelled"));
    EXPECT_EQ(outbox_.size(), 0U);
}

} // namespace
} // namespace novalet::amqp
