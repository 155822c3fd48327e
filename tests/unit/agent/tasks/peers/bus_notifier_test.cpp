#include "agent/tasks/peers/bus_notifier.hpp"

#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using tests::server_uuid;

class BusNotifierTest : public tests::TaskTest {
  protected:
    BusNotifierTest() { bench.bus.put_instance(tests::server_in("active", nullptr)); }

    void tell(const std::string& action, const std::string& phase, const Error* error = nullptr) {
        BusNotifier notifier(bench.bus, bench.conductor, options, bench.options);
        notifier.instance_action(bench.context,
                                 objects::Object::from_primitive(bench.instance_argument()),
                                 action,
                                 phase,
                                 error);
    }
    std::vector<std::string> told() {
        std::vector<std::string> out;
        for (const auto& one : bench.bus.notifications())
            out.push_back(one.topic + '.' + one.priority + ' ' +
                          one.message["event_type"].as_string());
        return out;
    }
    config::Notifications options;
};

TEST_F(BusNotifierTest, OffMeansThatNothingIsAskedOrSent) {
    tell("create", "end");
    EXPECT_THAT(told(), IsEmpty());
    EXPECT_THAT(bench.diary.lines(), IsEmpty());
}

TEST_F(BusNotifierTest, TheFormatIsFollowed) {
    options.enabled = true;
    tell("power_off", "end");
    EXPECT_THAT(told(), ElementsAre("notifications.info compute.instance.power_off.end"));
    options.format = config::NotificationFormat::Versioned;
    tell("power_off", "end");
    EXPECT_EQ(told().back(), "versioned_notifications.info instance.power_off.end");
    EXPECT_EQ(told().size(), 2U);
    options.format = config::NotificationFormat::Both;
    tell("power_off", "end");
    EXPECT_EQ(told().size(), 4U);
}

TEST_F(BusNotifierTest, EveryTopicHearsIt) {
    options.enabled = true;
    options.topics = {"notifications", "billing"};
    tell("delete", "start");
    EXPECT_THAT(told(),
                ElementsAre("notifications.info compute.instance.delete.start",
                            "billing.info compute.instance.delete.start"));
}

TEST_F(BusNotifierTest, PublishersAreThoseThatConsumersKnow) {
    options.enabled = true;
    options.format = config::NotificationFormat::Both;
    tell("create", "end");
    const auto sent = bench.bus.notifications();
    ASSERT_EQ(sent.size(), 2U);
    EXPECT_EQ(sent[0].message["publisher_id"].as_string(), "compute.c1");
    EXPECT_EQ(sent[0].message["payload"]["instance_id"].as_string(), server_uuid);
    EXPECT_EQ(sent[0].message["payload"]["message"].as_string(), "Success");
    EXPECT_EQ(sent[1].message["publisher_id"].as_string(), "nova-compute:c1");
}

TEST_F(BusNotifierTest, AFailureIsTold) {
    options.enabled = true;
    options.format = config::NotificationFormat::Versioned;
    const Error error{Code::Internal, "no CPUs left", "ComputeResourcesUnavailable", ""};
    tell("create", "error", &error);
    const auto sent = bench.bus.notifications();
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent.front().priority, "error");
    EXPECT_NE(sent.front().message.dump().find("no CPUs left"), std::string::npos);
}

TEST_F(BusNotifierTest, AnOutageIsNoFailureOfTheOperation) {
    options.enabled = true;
    bench.bus.set_outage(true);
    tell("power_off", "end"); // returns
    bench.bus.set_outage(false);
    EXPECT_THAT(told(), IsEmpty());
}

} // namespace
} // namespace novalet::tasks
