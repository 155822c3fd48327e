#include "agent/amqp/session.hpp"

#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"
#include "tests/support/mailbox.hpp"
#include "tests/support/rabbitmq_broker.hpp"

#include <gtest/gtest.h>
#include <set>

namespace novalet::amqp {
namespace {

using tests::Mailbox;
using tests::RabbitMqBroker;
using tests::shared_broker;

Options options_for(const RabbitMqBroker& broker) {
    Options options;
    Endpoint endpoint;
    endpoint.host = "127.0.0.1";
    endpoint.port = broker.port();
    options.url.endpoints = {endpoint};
    options.heartbeat = Seconds(10);
    options.connection_name = "novalet-test";
    return options;
}

double counted(const std::string& name, const std::string& session) {
    return metrics::counter(name, "", {{"session", session}}).value();
}

Subscription topic(const std::string& name, bool durable = false) {
    Subscription subscription;
    subscription.exchange = {"test", "topic", false, false};
    subscription.queue.name = name;
    subscription.queue.durable = durable;
    subscription.binding_key = name;
    return subscription;
}

/// A consumer that acknowledges and hands the bodies over. May end before the session.
class Consumer {
  public:
    Consumer(Session& session, Subscription subscription) {
        subscription.on_message = [box = box_, &session](Incoming message) {
            session.acknowledge(message);
            box->put(std::move(message.body));
        };
        session.subscribe(std::move(subscription));
    }

  private:
    std::shared_ptr<Mailbox<std::string>> box_ = std::make_shared<Mailbox<std::string>>();

  public:
    Mailbox<std::string>& bodies = *box_;
};

/// Until the counter of the session has this value.
::testing::AssertionResult
counts(const std::string& name, const std::string& session, double wanted) {
    const auto deadline = Deadline::after(Seconds(30));
    while (counted(name, session) < wanted)
        if (deadline.passed())
            return ::testing::AssertionFailure() << name << " is " << counted(name, session);
        else
            std::this_thread::yield();
    return ::testing::AssertionSuccess();
}

/// The outcome of one publication.
Result<void> publish(Session& session,
                     const std::string& exchange,
                     const std::string& key,
                     const std::string& body,
                     bool mandatory = false,
                     std::vector<Declaration> first = {}) {
    const auto outcome = std::make_shared<Mailbox<Result<void>>>();
    Publication publication;
    publication.message = {exchange, key, body, "", mandatory};
    publication.declare_first = std::move(first);
    publication.done = [outcome](Result<void> result) { outcome->put(std::move(result)); };
    const auto queued = session.publish(std::move(publication));
    if (!queued)
        return queued;
    return outcome->take().value_or(fail(Code::Internal, "never completed"));
}

/// A message goes round: proof that the consumer is there.
void expect_round_trip(Session& session, Consumer& consumer, const std::string& key) {
    Result<void> sent;
    const auto deadline = Deadline::after(Seconds(60));
    do // until the queue is bound
        sent = publish(session, "", key, "round", true);
    while (!sent && sent.error().code == Code::NotFound && !deadline.passed());
    ASSERT_TRUE(sent) << sent.error().text;
    for (;;) {
        const auto body = consumer.bodies.take();
        ASSERT_TRUE(body) << "nothing arrived on " << key;
        if (*body == "round")
            return;
    }
}

class SessionTest : public ::testing::Test {
  protected:
    SessionTest()
        : name_(cat(::testing::UnitTest::GetInstance()->current_test_info()->name(),
                    '-',
                    new_uuid_hex().substr(0, 8))) {} // counters and queues of this run alone
    /// A link of its own, to do things behind the session's back.
    static std::unique_ptr<Link> stranger(const RabbitMqBroker& broker = shared_broker()) {
        const auto options = options_for(broker);
        auto link = Link::open(options.url.endpoints[0], options);
        if (!link)
            throw std::runtime_error(link.error().text);
        if (const auto opened = (*link)->open_channel(1); !opened)
            throw std::runtime_error(opened.error().text);
        return std::move(*link);
    }
    const std::string name_;
};

TEST_F(SessionTest, CarriesMessagesAndConfirmsThem) {
    Session session(options_for(shared_broker()), name_);
    Consumer consumer(session, topic(name_));
    expect_round_trip(session, consumer, name_);
    ASSERT_TRUE(publish(session, "test", name_, "through the exchange"));
    EXPECT_EQ(consumer.bodies.take(), "through the exchange");
    const std::string large(3'000'000, 'x'); // many frames
    ASSERT_TRUE(publish(session, "", name_, large));
    EXPECT_EQ(consumer.bodies.take(), large);
    ASSERT_TRUE(publish(session, "", name_, ""));
    EXPECT_EQ(consumer.bodies.take(), "");
}

TEST_F(SessionTest, TellsThatNobodyListens) {
    Session session(options_for(shared_broker()), name_);
    const auto missing = publish(session, "", "no-such-queue", "x", true);
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::NotFound);
    EXPECT_TRUE(publish(session, "", "no-such-queue", "x", false));
}

TEST_F(SessionTest, FailsOnlyThePublicationToAMissingExchange) {
    Session session(options_for(shared_broker()), name_);
    Consumer consumer(session, topic(name_));
    expect_round_trip(session, consumer, name_);
    const auto missing = publish(session, "no-such-exchange", "k", "x");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::NotFound);
    expect_round_trip(session, consumer, name_);
    EXPECT_EQ(counted("novalet_amqp_connections_lost_total", name_), 0);
    EXPECT_EQ(counted("novalet_amqp_channels_closed_total", name_), 2); // tried once more
}

TEST_F(SessionTest, DeclaresWhatAPublicationNeeds) {
    Session session(options_for(shared_broker()), name_);
    const auto queue = "needed-" + new_uuid_hex();
    ASSERT_TRUE(publish(session, "test", queue, "kept", true, {topic(queue)}));
    Consumer late(session, topic(queue));
    EXPECT_EQ(late.bodies.take(), "kept");
}

TEST_F(SessionTest, RefusesNamesThatWouldBreakAFrame) {
    Session session(options_for(shared_broker()), name_);
    const auto refused = publish(session, "", std::string(256, 'k'), "x");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::InvalidArgument);
    EXPECT_TRUE(publish(session, "", std::string(255, 'k'), "x"));
    EXPECT_EQ(counted("novalet_amqp_connections_lost_total", name_), 0);
}

TEST_F(SessionTest, ConsumesAgainWhenItsQueueIsDeleted) {
    Session session(options_for(shared_broker()), name_);
    Consumer consumer(session, topic(name_));
    expect_round_trip(session, consumer, name_);
    ASSERT_TRUE(stranger()->delete_queue(1, name_));
    EXPECT_TRUE(counts("novalet_amqp_cancelled_total", name_, 1));
    expect_round_trip(session, consumer, name_);
    EXPECT_EQ(counted("novalet_amqp_connections_lost_total", name_), 0);
}

TEST_F(SessionTest, UsesAnExchangeAndAQueueThatExistWithOtherProperties) {
    const auto other = stranger();
    ASSERT_TRUE(other->declare(1, ExchangeSpec{"mismatched", "topic", true, false}));
    ASSERT_TRUE(other->declare(1, QueueSpec{name_, true, false, {}}));
    Session session(options_for(shared_broker()), name_);
    auto subscription = topic(name_);
    subscription.exchange.name = "mismatched";
    Consumer consumer(session, std::move(subscription));
    expect_round_trip(session, consumer, name_);
    ASSERT_TRUE(publish(session, "mismatched", name_, "bound"));
    EXPECT_EQ(consumer.bodies.take(), "bound");
    EXPECT_EQ(counted("novalet_amqp_mismatched_declarations_total", name_), 2);
    EXPECT_EQ(counted("novalet_amqp_connections_lost_total", name_), 0);
    ASSERT_TRUE(other->delete_queue(1, name_));
}

TEST_F(SessionTest, GoesOnAfterAClosedConsumeChannel) {
    Session session(options_for(shared_broker()), name_);
    Consumer consumer(session, topic(name_));
    expect_round_trip(session, consumer, name_);
    Incoming never_delivered;
    never_delivered.tag = 4711; // 406 unknown delivery tag
    for (never_delivered.generation = 1; never_delivered.generation < 3;
         ++never_delivered.generation)
        session.acknowledge(never_delivered);
    EXPECT_TRUE(counts("novalet_amqp_channels_closed_total", name_, 1));
    expect_round_trip(session, consumer, name_);
    EXPECT_EQ(counted("novalet_amqp_connections_lost_total", name_), 0);
}

TEST_F(SessionTest, RejectsWhatIsOverTheSizeLimit) {
    auto options = options_for(shared_broker());
    options.max_body = 1000;
    Session session(options, name_);
    Consumer consumer(session, topic(name_));
    expect_round_trip(session, consumer, name_);
    const double before = metrics::counter("novalet_amqp_oversized_total", "").value();
    ASSERT_TRUE(publish(session, "", name_, std::string(1'000'000, 'x')));
    ASSERT_TRUE(publish(session, "", name_, "small"));
    EXPECT_EQ(consumer.bodies.take(), "small");
    EXPECT_EQ(metrics::counter("novalet_amqp_oversized_total", "").value(), before + 1);
}

TEST_F(SessionTest, ReadsOnWhenMemoryIsFreeAgain) {
    auto options = options_for(shared_broker());
    options.max_unsettled = 1000; // one message is over it
    Session session(options, name_);
    Mailbox<Incoming> held;
    auto subscription = topic(name_);
    subscription.on_message = [&held](Incoming message) { held.put(std::move(message)); };
    session.subscribe(std::move(subscription));
    Session sender(options_for(shared_broker()), name_ + "-sender");
    const std::string body(2000, 'x');
    for (int i = 0; i < 20; ++i)
        ASSERT_TRUE(publish(sender, "test", name_, body, true, {topic(name_)}));
    for (int i = 0; i < 20; ++i) {
        const auto message = held.take();
        ASSERT_TRUE(message) << i;
        EXPECT_EQ(message->body, body);
        session.acknowledge(*message);
    }
}

TEST_F(SessionTest, StopsConsumingAndKeepsTheConnection) {
    Session session(options_for(shared_broker()), name_);
    Consumer consumer(session, topic(name_));
    expect_round_trip(session, consumer, name_);
    session.stop_consuming(Deadline::after(Seconds(30)));
    ASSERT_TRUE(publish(session, "", name_, "later", true));
    EXPECT_TRUE(session.drain(Deadline::after(Seconds(30))));
    Session next(options_for(shared_broker()), name_ + "-next");
    Consumer heir(next, topic(name_));
    EXPECT_EQ(heir.bodies.take(), "later");
    EXPECT_EQ(consumer.bodies.size(), 0U);
}

TEST_F(SessionTest, RemovesItsFanOutQueueAtTheEnd) {
    {
        Session session(options_for(shared_broker()), name_);
        auto subscription = topic(name_);
        subscription.delete_on_stop = true;
        Consumer consumer(session, std::move(subscription));
        expect_round_trip(session, consumer, name_);
    }
    EXPECT_FALSE(stranger()->declare(1, QueueSpec{name_, false, false, {}}, true));
}

TEST_F(SessionTest, WaitsWhileTheBrokerIsBlocked) {
    auto& broker = shared_broker();
    Session session(options_for(broker), name_);
    Consumer consumer(session, topic(name_));
    expect_round_trip(session, consumer, name_);
    broker.control({"set_vm_memory_high_watermark", "absolute", "1MB"});
    const auto outcome = std::make_shared<Mailbox<Result<void>>>();
    Publication publication; // what makes the broker tell that it is blocked
    publication.message = {"", name_, "held back", "", false};
    publication.done = [outcome](Result<void> result) { outcome->put(std::move(result)); };
    ASSERT_TRUE(session.publish(std::move(publication)));
    auto& blocked = metrics::counter("novalet_amqp_blocked_total", "", {{"session", name_}});
    const auto deadline = Deadline::after(Seconds(30));
    while (blocked.value() < 1 && !deadline.passed())
        ASSERT_FALSE(outcome->take(Milliseconds(100)).has_value()); // not confirmed while blocked
    broker.control({"set_vm_memory_high_watermark", "absolute", "1GB"});
    const auto result = outcome->take();
    ASSERT_TRUE(result.has_value());
    EXPECT_TRUE(*result);
    EXPECT_EQ(consumer.bodies.take(), "held back");
    EXPECT_EQ(blocked.value(), 1);
    EXPECT_EQ(counted("novalet_amqp_connections_lost_total", name_), 0);
}

TEST_F(SessionTest, ComesBackAfterTheBrokerWasKilledAndLosesNothingConfirmed) {
    RabbitMqBroker broker;
    Session session(options_for(broker), name_);
    Session sender(options_for(broker), name_ + "-sender");
    Consumer consumer(session, topic(name_, true));
    expect_round_trip(sender, consumer, name_);
    std::set<std::string> confirmed;
    Mailbox<std::string> told;
    int under_way = 0;
    const auto send = [&](int number) {
        Publication publication;
        const std::string body = std::to_string(number);
        publication.message = {"", name_, body, "", true};
        publication.done = [&told, body](const Result<void>& result) {
            told.put(result ? body : "failed: " + result.error().text);
        };
        ASSERT_TRUE(sender.publish(std::move(publication)));
        ++under_way;
    };
    for (int i = 0; i < 500; ++i)
        send(i);
    ASSERT_TRUE(told.take()); // in the middle of it
    --under_way;
    broker.kill();
    for (int i = 500; i < 600; ++i)
        send(i);
    broker.start();
    for (; under_way > 0; --under_way) {
        const auto outcome = told.take(Seconds(90));
        ASSERT_TRUE(outcome);
        // A queue that is not back yet is said so; everything else arrives.
        if (outcome->find("failed") == std::string::npos)
            confirmed.insert(*outcome);
    }
    EXPECT_GE(confirmed.size(), 400U);
    while (!confirmed.empty()) {
        const auto body = consumer.bodies.take();
        ASSERT_TRUE(body) << confirmed.size() << " confirmed messages were lost";
        confirmed.erase(*body);
    }
    EXPECT_GE(counted("novalet_amqp_connects_total", name_), 2);
}

TEST_F(SessionTest, GivesUpASilentBroker) {
    RabbitMqBroker broker;
    auto options = options_for(broker);
    options.heartbeat = Seconds(2);
    options.connect_timeout = Seconds(2);
    Session session(options, name_);
    Consumer consumer(session, topic(name_));
    expect_round_trip(session, consumer, name_);
    broker.freeze();
    const auto deadline = Deadline::after(Seconds(30));
    auto& lost = metrics::counter("novalet_amqp_connections_lost_total", "", {{"session", name_}});
    while (lost.value() < 1 && !deadline.passed())
        discard(consumer.bodies.take(Milliseconds(50)), "nothing can come");
    EXPECT_EQ(lost.value(), 1);
    EXPECT_FALSE(session.connected());
    broker.thaw();
    expect_round_trip(session, consumer, name_);
}

TEST_F(SessionTest, TakesTheNextHostWhenOneIsAway) {
    auto options = options_for(shared_broker());
    Endpoint nobody;
    nobody.host = "127.0.0.1";
    nobody.port = 1;
    options.url.endpoints.insert(options.url.endpoints.begin(), nobody);
    Session session(options, name_);
    Consumer consumer(session, topic(name_));
    expect_round_trip(session, consumer, name_);
}

TEST_F(SessionTest, SaysThatTheLoginIsWrongWithoutThePassword) {
    auto options = options_for(shared_broker());
    options.url.endpoints[0].password = Secret("topsecret");
    const auto link = Link::open(options.url.endpoints[0], options);
    ASSERT_FALSE(link);
    EXPECT_EQ(link.error().code, Code::Unauthorized);
    EXPECT_NE(link.error().text.find("guest"), std::string::npos);
    EXPECT_EQ(link.error().text.find("topsecret"), std::string::npos);
}

/// A CA, a server certificate for `localhost`, a client certificate.
struct Certificates {
    Certificates() {
        make("ca", "novalet test CA", {});
        sign("server", "subjectAltName=DNS:localhost");
        sign("client", "subjectAltName=DNS:client");
    }
    [[nodiscard]] std::string path(const std::string& name) const {
        return (folder / name).string();
    }

  private:
    /// A key and its certificate, signed by itself unless `more` names a CA.
    void make(const std::string& file,
              const std::string& name,
              const std::vector<std::string>& more) const {
        ProcessRequest request;
        request.argv = {"openssl",
                        "req",
                        "-x509",
                        "-newkey",
                        "ec",
                        "-pkeyopt",
                        "ec_paramgen_curve:prime256v1",
                        "-nodes",
                        "-days",
                        "2",
                        "-subj",
                        "/CN=" + name,
                        "-keyout",
                        path(file + ".key"),
                        "-out",
                        path(file + ".pem")};
        request.argv.insert(request.argv.end(), more.begin(), more.end());
        if (const auto outcome = system_processes().check(request); !outcome)
            throw std::runtime_error(outcome.error().text);
    }
    void sign(const std::string& name, const std::string& extension) const {
        make(name,
             name,
             {"-addext",
              extension,
              "-addext",
              "basicConstraints=critical,CA:FALSE",
              "-CA",
              path("ca.pem"),
              "-CAkey",
              path("ca.key")});
    }
    tests::TemporaryFolder folder;
};

TEST_F(SessionTest, SpeaksTlsAndChecksCertificateAndHostName) {
    const Certificates files;
    const RabbitMqBroker broker([&files](unsigned tls_port) {
        return cat("listeners.ssl.1 = 127.0.0.1:",
                   tls_port,
                   "\nssl_options.cacertfile = ",
                   files.path("ca.pem"),
                   "\nssl_options.certfile = ",
                   files.path("server.pem"),
                   "\nssl_options.keyfile = ",
                   files.path("server.key"),
                   "\nssl_options.verify = verify_peer"
                   "\nssl_options.fail_if_no_peer_cert = true\n");
    });
    auto options = options_for(broker);
    options.url.endpoints[0].host = "localhost";
    options.url.endpoints[0].port = broker.tls_port();
    options.tls.enabled = true;
    options.tls.ca_file = files.path("ca.pem");
    options.tls.cert_file = files.path("client.pem");
    options.tls.key_file = files.path("client.key");
    {
        Session session(options, name_);
        Consumer consumer(session, topic(name_));
        expect_round_trip(session, consumer, name_);
    }
    const auto open = [](const Options& with) { return Link::open(with.url.endpoints[0], with); };
    auto other_name = options;
    other_name.url.endpoints[0].host = "127.0.0.1";
    EXPECT_FALSE(open(other_name)) << "the certificate is for localhost";
    other_name.tls.verify_host_name = false;
    EXPECT_TRUE(open(other_name));
    auto other_ca = options;
    other_ca.tls.ca_file = files.path("client.pem");
    EXPECT_FALSE(open(other_ca)) << "signed by somebody else";
    auto anonymous = options;
    anonymous.tls.cert_file.clear();
    EXPECT_FALSE(open(anonymous)) << "the broker asks for a client certificate";
    auto missing = options;
    missing.tls.ca_file = files.path("no-such-file");
    const auto refused = open(missing);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find("no-such-file"), std::string::npos);
}

TEST_F(SessionTest, CompletesWhatItCouldNotSendAtTheEnd) {
    Mailbox<Result<void>> told;
    {
        Options nowhere = options_for(shared_broker());
        nowhere.url.endpoints[0].port = 1;
        Session session(nowhere, name_);
        Publication publication;
        publication.done = [&told](Result<void> result) { told.put(std::move(result)); };
        ASSERT_TRUE(session.publish(std::move(publication)));
        EXPECT_FALSE(session.drain(Deadline::after(Milliseconds(10))));
    }
    const auto outcome = told.take();
    ASSERT_TRUE(outcome.has_value());
    ASSERT_FALSE(*outcome);
    EXPECT_EQ(outcome->error().code, Code::Cancelled);
}

} // namespace
} // namespace novalet::amqp
