#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"
#include "agent/rpc/bus_caller.hpp"
#include "agent/rpc/endpoint_table.hpp"
#include "agent/rpc/envelope.hpp"
#include "agent/rpc/server.hpp"
#include "tests/support/mailbox.hpp"
#include "tests/support/rabbitmq_broker.hpp"

#include <atomic>
#include <gtest/gtest.h>

namespace novalet::rpc {
namespace {

using tests::Mailbox;
using tests::RabbitMqBroker;
using tests::shared_broker;

amqp::Options options_for(const RabbitMqBroker& broker) {
    amqp::Options options;
    amqp::Endpoint endpoint;
    endpoint.host = "127.0.0.1";
    endpoint.port = broker.port();
    options.url.endpoints = {endpoint};
    options.heartbeat = Seconds(10);
    return options;
}

double counted(const std::string& name, metrics::Labels labels = {}) {
    return metrics::counter(name, "", std::move(labels)).value();
}

/// What stands behind a server, with its methods' requests in a mailbox where they do not answer.
class Endpoints final : public Dispatcher {
  public:
    struct Held {
        Request request;
        Responder responder;
    };
    Endpoints() {
        add_base_api(table);
        Method echo;
        echo.name = "echo";
        echo.required = {"value"};
        echo.handler = [](const Request& request, const Responder& responder) {
            responder.reply(request.args["value"]);
        };
        Method break_down;
        break_down.name = "break_down";
        break_down.handler = [](const Request&, const Responder& responder) {
            responder.reply(fail_as("InstanceNotFound", Code::NotFound, "Instance x is gone."));
        };
        Method hold;
        hold.name = "hold";
        hold.any_arguments = true;
        hold.handler = [this](Request request, Responder responder) {
            held.put({std::move(request), std::move(responder)});
        };
        table.add("", "6.1", {echo, break_down, hold});
    }
    Result<Admission> accept(const Request& request) override {
        if (refusals > 0) {
            --refusals;
            return fail(Code::ResourceExhausted, "the disk is full");
        }
        accepted.put(request.method);
        return Admission{};
    }
    void dispatch(Request request, Responder responder) override {
        table.dispatch(std::move(request), std::move(responder));
    }
    EndpointTable table;
    Mailbox<Held> held;
    Mailbox<std::string> accepted;
    std::atomic<int> refusals{0};
};

/// One compute host and one client of it.
struct Pair {
    explicit Pair(const RabbitMqBroker& broker, TopologyOptions topology = {})
        : host("host-" + new_uuid_hex()), options(options_for(broker)), topic_options(topology),
          caller(client, topology),
          server(requests, replier, endpoints, topology, "compute", host) {
        server.start();
        target.topic = "compute";
        target.server = host;
        target.version = "6.0";
    }
    ~Pair() { server.stop_consuming(Deadline::after(Seconds(20))); }
    Pair(const Pair&) = delete;
    Pair& operator=(const Pair&) = delete;

    Result<Json> call(const std::string& method, Json args, CallOptions how = {}) {
        return caller.call(target, method, std::move(args), Context::admin(), how);
    }
    /// The queue is bound once a call comes back.
    void wait_until_it_serves() {
        CallOptions impatient;
        impatient.timeout = Milliseconds(1000);
        const auto deadline = Deadline::after(Seconds(60));
        Result<Json> answer;
        do
            answer = call("echo", Json::Object{{"value", "there"}}, impatient);
        while (!answer && !deadline.passed());
        ASSERT_TRUE(answer) << answer.error().text;
        while (endpoints.accepted.size() > 0)
            discard(endpoints.accepted.take(), "of the calls above");
    }
    /// Bytes as they are to the host's queue; returns when the broker has them.
    void send_raw(const std::string& body) {
        const auto outcome = std::make_shared<Mailbox<Result<void>>>();
        amqp::Publication publication;
        publication.message = {"", "compute." + host, body, "", true};
        publication.done = [outcome](Result<void> result) { outcome->put(std::move(result)); };
        ASSERT_TRUE(client.publish(std::move(publication)));
        const auto sent = outcome->take();
        ASSERT_TRUE(sent.has_value());
        ASSERT_TRUE(*sent) << sent->error().text;
    }

    const std::string host;
    const amqp::Options options;
    const TopologyOptions topic_options;
    Endpoints endpoints;
    amqp::Session requests{options, host + "-requests"};
    amqp::Session calls{options, host + "-calls"};
    amqp::Session client{options, host + "-client"};
    Timer timer;
    Replier replier{calls, timer};
    BusCaller caller;
    Server server;
    Target target;
};

class RpcTest : public ::testing::Test {
  protected:
    static Json value(Json content) {
        Json args = Json::object();
        args.set("value", std::move(content));
        return args;
    }
};

TEST_F(RpcTest, CallsAreAnswered) {
    Pair pair(shared_broker());
    pair.wait_until_it_serves();
    const auto answer = pair.call("echo", value("h\xC3\xA9llo \"world\"\n"));
    ASSERT_TRUE(answer) << answer.error().text;
    EXPECT_EQ(answer->as_string(), "h\xC3\xA9llo \"world\"\n");
    pair.target.name_space = "baseapi";
    pair.target.version = "1.0";
    const auto pong = pair.call("ping", Json::Object{{"arg", 7}});
    ASSERT_TRUE(pong) << pong.error().text;
    EXPECT_EQ(pong->dump(), R"({"arg":7,"service":"compute"})");
}

TEST_F(RpcTest, FailuresKeepTheirClass) {
    Pair pair(shared_broker());
    pair.wait_until_it_serves();
    const auto expect = [&pair](const std::string& version,
                                const std::string& method,
                                const std::string& exception,
                                Code code) {
        pair.target.version = version;
        const auto answer = pair.call(method, Json::object());
        ASSERT_FALSE(answer);
        EXPECT_EQ(answer.error().exception, exception);
        EXPECT_EQ(answer.error().code, code);
    };
    expect("6.0", "break_down", "InstanceNotFound", Code::NotFound);
    expect("6.0", "no_such", "NoSuchMethod", Code::Unsupported);
    expect("6.9", "echo", "UnsupportedVersion", Code::Unsupported);
    expect("6.0", "echo", "TypeError", Code::Remote); // the argument is missing
}

TEST_F(RpcTest, CastsReachTheHostAndTheFanOut) {
    Pair pair(shared_broker());
    pair.wait_until_it_serves();
    ASSERT_TRUE(pair.caller.cast(pair.target, "hold", value(1), Context::admin()));
    const auto one = pair.endpoints.held.take();
    ASSERT_TRUE(one.has_value());
    EXPECT_FALSE(one->request.is_call());
    EXPECT_TRUE(one->request.context.keys()["is_admin"].as_bool());
    Target everybody = pair.target;
    everybody.server.clear();
    everybody.fanout = true;
    ASSERT_TRUE(pair.caller.cast(everybody, "hold", value(2), Context::admin()));
    const auto two = pair.endpoints.held.take();
    ASSERT_TRUE(two.has_value());
    EXPECT_EQ(two->request.args["value"].as_int(), 2);
}

TEST_F(RpcTest, NotificationsWaitInTheirQueue) {
    Pair pair(shared_broker());
    const std::string topic = "notes" + new_uuid_hex();
    ASSERT_TRUE(pair.caller.notify(topic, "info", value("news"), Context::admin()));
    Mailbox<std::string> got;
    auto subscription = topic_queue(topic + ".info", {});
    subscription.on_message = [&](const amqp::Incoming& message) {
        pair.client.acknowledge(message);
        got.put(message.body);
    };
    pair.client.subscribe(std::move(subscription));
    const auto body = got.take();
    ASSERT_TRUE(body);
    EXPECT_EQ((*unwrap(*body))["value"].as_string(), "news");
}

TEST_F(RpcTest, HeartbeatsKeepAMonitoredCallAlive) {
    Pair pair(shared_broker());
    pair.wait_until_it_serves();
    CallOptions monitored;
    monitored.timeout = Milliseconds(60000);
    monitored.monitor = Seconds(2);
    Mailbox<Result<Json>> answer;
    const std::jthread caller([&] { answer.put(pair.call("hold", Json::object(), monitored)); });
    auto held = pair.endpoints.held.take();
    ASSERT_TRUE(held.has_value());
    EXPECT_EQ(held->request.monitor, std::chrono::seconds(2));
    EXPECT_FALSE(answer.take(Milliseconds(5000)).has_value()) << "longer than the monitor allows";
    held->responder.reply("done");
    const auto done = answer.take();
    ASSERT_TRUE(done.has_value());
    ASSERT_TRUE(*done) << done->error().text;
    EXPECT_EQ((*done)->as_string(), "done");
}

TEST_F(RpcTest, ACallWithoutAnAnswerTimesOut) {
    Pair pair(shared_broker());
    pair.wait_until_it_serves();
    CallOptions hurried;
    hurried.timeout = Milliseconds(300);
    const auto answer = pair.call("hold", Json::object(), hurried);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::Timeout);
    EXPECT_EQ(answer.error().exception, "MessagingTimeout");
    // The late reply hurts nobody.
    pair.endpoints.held.take()->responder.reply("late");
    EXPECT_TRUE(pair.call("echo", value(1)));
}

TEST_F(RpcTest, ACallWhileTheBrokerIsAwayIsUnavailable) {
    amqp::Options nowhere = options_for(shared_broker());
    nowhere.url.endpoints[0].port = 1;
    amqp::Session session(nowhere, "nowhere");
    BusCaller caller(session, {});
    CallOptions hurried;
    hurried.timeout = Milliseconds(300);
    const auto answer = caller.call(
        {"conductor", "", "", "3.0", false}, "ping", Json::object(), Context::admin(), hurried);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::Unavailable);
}

TEST_F(RpcTest, DuplicatesAreTakenOnce) {
    Pair pair(shared_broker());
    pair.wait_until_it_serves();
    const auto body = wrap(make_request("hold", value(1), "6.0", "", Context::admin()));
    pair.send_raw(body);
    pair.send_raw(body);
    pair.send_raw(wrap(make_request("hold", value(2), "6.0", "", Context::admin())));
    EXPECT_EQ(pair.endpoints.held.take()->request.args["value"].as_int(), 1);
    EXPECT_EQ(pair.endpoints.held.take()->request.args["value"].as_int(), 2);
}

TEST_F(RpcTest, WhatCannotBeWrittenDownComesAgain) {
    Pair pair(shared_broker());
    pair.wait_until_it_serves();
    const double before = counted("novalet_rpc_given_back_total");
    pair.endpoints.refusals = 1;
    ASSERT_TRUE(pair.caller.cast(pair.target, "hold", value(1), Context::admin()));
    const auto held = pair.endpoints.held.take();
    ASSERT_TRUE(held.has_value()) << "the request was lost";
    EXPECT_EQ(held->request.args["value"].as_int(), 1);
    EXPECT_EQ(counted("novalet_rpc_given_back_total"), before + 1);
}

TEST_F(RpcTest, PoisonIsRejectedAndTheNextRequestServed) {
    Pair pair(shared_broker());
    pair.wait_until_it_serves();
    const double before = counted("novalet_rpc_rejected_total");
    const std::string deep = std::string(100000, '[') + std::string(100000, ']');
    Json envelope = Json::object();
    envelope.set("oslo.version", "2.0");
    envelope.set("oslo.message", R"({"method":"hold","args":{"x":)" + deep + "}}");
    std::string many = R"({"method":"hold","args":{"x":[)";
    for (std::size_t i = 0; i < message_limits.max_values; ++i)
        many += "{},";
    many += "0]}}";
    const std::vector<std::string> poison{"",
                                          "not json",
                                          std::string("{\"method\":\"hold\"}\0", 18),
                                          "{\"method\":\"\xFF\xFE\"}",
                                          deep,
                                          envelope.dump(),
                                          R"({"oslo.version":"9.0","oslo.message":"{}"})",
                                          std::string(12'000'000, '{'),
                                          many};
    for (const auto& body : poison)
        pair.send_raw(body);
    CallOptions patient; // the debug build reads the large ones slowly
    patient.timeout = Milliseconds(120000);
    const auto answer = pair.call("echo", value("alive"), patient);
    ASSERT_TRUE(answer) << answer.error().text;
    EXPECT_EQ(counted("novalet_rpc_rejected_total"), before + double(poison.size()));
    EXPECT_EQ(pair.endpoints.held.size(), 0U);
}

TEST_F(RpcTest, ALargeHonestRequestIsServed) {
    Pair pair(shared_broker());
    pair.wait_until_it_serves();
    const std::string large(12'000'000, 'x');
    const auto answer = pair.call("echo", value(large));
    ASSERT_TRUE(answer) << answer.error().text;
    EXPECT_EQ(answer->as_string().size(), large.size());
}

TEST_F(RpcTest, AMalformedCallIsAnswered) {
    Pair pair(shared_broker());
    pair.wait_until_it_serves();
    Mailbox<std::string> got;
    const std::string queue = "reply_" + new_uuid_hex();
    auto subscription = reply_queue(queue, {});
    subscription.on_message = [&](const amqp::Incoming& message) {
        pair.client.acknowledge(message);
        got.put(message.body);
    };
    pair.client.subscribe(std::move(subscription));
    pair.send_raw(cat(R"({"method":"echo","args":[1],"version":"6.0","_msg_id":"m1","_reply_q":")",
                      queue,
                      "\"}"));
    const auto body = got.take();
    ASSERT_TRUE(body) << "the caller would wait for its timeout";
    const auto reply = unwrap(*body);
    EXPECT_EQ((*reply)["_msg_id"].as_string(), "m1");
    EXPECT_EQ(parse_failure((*reply)["failure"].as_string()).exception, "TypeError");
}

TEST_F(RpcTest, AReplyWaitsForItsQueueWithoutHoldingUpOthers) {
    Pair pair(shared_broker());
    pair.wait_until_it_serves();
    const std::string queue = "reply_" + new_uuid_hex();
    Request request;
    request.message_id = "early";
    request.reply_queue = queue;
    const double returned = counted("novalet_amqp_returned_total");
    pair.replier.responder_for(request).reply("patience");
    const auto deadline = Deadline::after(Seconds(30));
    while (counted("novalet_amqp_returned_total") < returned + 2 && !deadline.passed())
        ASSERT_TRUE(pair.call("echo", value(1))); // others are answered meanwhile
    Mailbox<std::string> got;
    auto subscription = reply_queue(queue, {});
    subscription.on_message = [&](const amqp::Incoming& message) {
        pair.client.acknowledge(message);
        got.put(message.body);
    };
    pair.client.subscribe(std::move(subscription));
    const auto body = got.take();
    ASSERT_TRUE(body) << "the reply was not tried again";
    EXPECT_EQ((*unwrap(*body))["result"].as_string(), "patience");
}

TEST_F(RpcTest, AStoppedServerLeavesRequestsToTheNextAndAnswersTheAccepted) {
    Pair pair(shared_broker());
    pair.wait_until_it_serves();
    Mailbox<Result<Json>> answer;
    const std::jthread caller([&] { answer.put(pair.call("hold", Json::object())); });
    auto held = pair.endpoints.held.take();
    ASSERT_TRUE(held.has_value());
    pair.server.stop_consuming(Deadline::after(Seconds(30)));
    pair.send_raw(wrap(make_request("hold", value("for the next"), "6.0", "", Context::admin())));
    held->responder.reply("finished");
    const auto done = answer.take();
    ASSERT_TRUE(done.has_value());
    ASSERT_TRUE(*done) << done->error().text;
    EXPECT_EQ(pair.endpoints.held.size(), 0U);
    amqp::Session session(pair.options, pair.host + "-next");
    Server next(session, pair.replier, pair.endpoints, {}, "compute", pair.host);
    next.start();
    const auto left = pair.endpoints.held.take();
    ASSERT_TRUE(left.has_value());
    EXPECT_EQ(left->request.args["value"].as_string(), "for the next");
    next.stop_consuming(Deadline::after(Seconds(30)));
}

TEST_F(RpcTest, ServesAgainAfterTheBrokerWasKilledWithACallUnderWay) {
    RabbitMqBroker broker;
    TopologyOptions durable;
    durable.durable = true;
    Pair pair(broker, durable);
    pair.wait_until_it_serves();
    Mailbox<Result<Json>> answer;
    CallOptions patient;
    patient.timeout = Milliseconds(180000);
    const std::jthread caller([&] { answer.put(pair.call("hold", Json::object(), patient)); });
    auto held = pair.endpoints.held.take();
    ASSERT_TRUE(held.has_value());
    broker.kill();
    held->responder.reply("over the restart"); // both reply queue and connection are gone now
    broker.start();
    const auto done = answer.take(Milliseconds(120000));
    ASSERT_TRUE(done.has_value());
    ASSERT_TRUE(*done) << done->error().text;
    EXPECT_EQ((*done)->as_string(), "over the restart");
    const auto fresh = pair.call("echo", value("again"), patient);
    ASSERT_TRUE(fresh) << fresh.error().text;
}

} // namespace
} // namespace novalet::rpc
