#include "agent/rpc/topology.hpp"

#include <gtest/gtest.h>

namespace novalet::rpc {
namespace {

using amqp::Arguments;

TEST(Topology, IsNovasWithoutOptions) {
    const TopologyOptions options;
    const auto queue = topic_queue("compute.host", options);
    EXPECT_EQ(queue.exchange.name, "nova");
    EXPECT_EQ(queue.exchange.type, "topic");
    EXPECT_FALSE(queue.exchange.durable);
    EXPECT_FALSE(queue.exchange.auto_delete);
    EXPECT_EQ(queue.queue.name, "compute.host");
    EXPECT_EQ(queue.binding_key, "compute.host");
    EXPECT_FALSE(queue.queue.durable);
    EXPECT_TRUE(queue.queue.arguments.empty());

    const auto fanout = fanout_queue("compute", "abc", options);
    EXPECT_EQ(fanout.exchange.name, "compute_fanout");
    EXPECT_EQ(fanout.exchange.type, "fanout");
    EXPECT_TRUE(fanout.exchange.auto_delete);
    EXPECT_FALSE(fanout.exchange.durable);
    EXPECT_EQ(fanout.queue.name, "compute_fanout_abc");
    EXPECT_EQ(fanout.binding_key, "compute");
    EXPECT_FALSE(fanout.queue.auto_delete);
    EXPECT_TRUE(fanout.delete_on_stop);
    EXPECT_EQ(fanout.queue.arguments, (Arguments{{"x-expires", std::int64_t{1800000}}}));

    const auto reply = reply_queue("reply_1", options);
    EXPECT_TRUE(reply.exchange.name.empty());
    EXPECT_FALSE(reply.delete_on_stop);
    EXPECT_EQ(reply.queue.arguments, (Arguments{{"x-expires", std::int64_t{1800000}}}));
}

TEST(Topology, FollowsDurableAndHighAvailability) {
    TopologyOptions options;
    options.durable = true;
    options.auto_delete = true;
    options.ha_queues = true;
    options.transient_ttl = Seconds(0);
    const auto queue = topic_queue("compute", options);
    EXPECT_TRUE(queue.exchange.durable);
    EXPECT_TRUE(queue.exchange.auto_delete);
    EXPECT_TRUE(queue.queue.durable);
    EXPECT_TRUE(queue.queue.auto_delete);
    EXPECT_EQ(queue.queue.arguments, (Arguments{{"x-ha-policy", std::string("all")}}));
    const auto reply = reply_queue("r", options);
    EXPECT_FALSE(reply.queue.durable);
    EXPECT_EQ(reply.queue.arguments, (Arguments{{"x-ha-policy", std::string("all")}}));
}

TEST(Topology, FollowsQuorumAndItsLimits) {
    TopologyOptions options;
    options.quorum = true;
    options.quorum_delivery_limit = 3;
    options.quorum_max_memory_length = 4;
    options.quorum_max_memory_bytes = 5;
    const auto queue = topic_queue("compute", options);
    EXPECT_TRUE(queue.exchange.durable);
    EXPECT_TRUE(queue.queue.durable);
    EXPECT_EQ(queue.queue.arguments,
              (Arguments{{"x-queue-type", std::string("quorum")},
                         {"x-delivery-limit", std::int64_t{3}},
                         {"x-max-in-memory-length", std::int64_t{4}},
                         {"x-max-in-memory-bytes", std::int64_t{5}}}));
    EXPECT_FALSE(reply_queue("r", options).queue.durable);
    options.transient_quorum = true;
    EXPECT_TRUE(reply_queue("r", options).queue.durable);
    EXPECT_TRUE(fanout_exchange("compute", options).durable);
    EXPECT_EQ(reply_queue("r", options).queue.arguments.count("x-queue-type"), 1U);
}

TEST(TopologyOverrides, ReplaceTheConfiguredValues) {
    TopologyOptions options;
    ASSERT_TRUE(apply_overrides({{"amqp_durable_queues", "true"},
                                 {"rabbit_quorum_delivery_limit", "7"},
                                 {"rabbit_transient_queues_ttl", "60"},
                                 {"ssl", "1"}},
                                options));
    EXPECT_TRUE(options.durable);
    EXPECT_EQ(options.quorum_delivery_limit, 7);
    EXPECT_EQ(options.transient_ttl, Seconds(60));
    const auto wrong = apply_overrides({{"rabbit_quorum_queue", "maybe"}}, options);
    ASSERT_FALSE(wrong);
    EXPECT_NE(wrong.error().text.find("rabbit_quorum_queue"), std::string::npos);
}

} // namespace
} // namespace novalet::rpc
