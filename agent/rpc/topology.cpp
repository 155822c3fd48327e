#include "agent/rpc/topology.hpp"

#include "agent/core/text.hpp"

namespace novalet::rpc {
namespace {

amqp::Arguments quorum_arguments(const TopologyOptions& options) {
    amqp::Arguments arguments{{"x-queue-type", std::string("quorum")}};
    if (options.quorum_delivery_limit > 0)
        arguments["x-delivery-limit"] = options.quorum_delivery_limit;
    if (options.quorum_max_memory_length > 0)
        arguments["x-max-in-memory-length"] = options.quorum_max_memory_length;
    if (options.quorum_max_memory_bytes > 0)
        arguments["x-max-in-memory-bytes"] = options.quorum_max_memory_bytes;
    return arguments;
}

amqp::QueueSpec transient_queue(const std::string& name, const TopologyOptions& options) {
    amqp::QueueSpec queue;
    queue.name = name;
    queue.durable = options.transient_quorum;
    if (options.transient_quorum)
        queue.arguments = quorum_arguments(options);
    if (options.ha_queues)
        queue.arguments["x-ha-policy"] = std::string("all");
    if (options.transient_ttl > Seconds(0))
        queue.arguments["x-expires"] =
            std::int64_t{std::chrono::duration_cast<Milliseconds>(options.transient_ttl).count()};
    return queue;
}

} // namespace

Result<void> apply_overrides(const std::map<std::string, std::string>& overrides,
                             TopologyOptions& options) {
    const auto wrong = [](const char* key, const char* expected) {
        return fail(Code::InvalidArgument,
                    cat("transport_url: query parameter ", key, " is not ", expected));
    };
    for (const auto& [key, target] :
         {std::pair{"amqp_durable_queues", &options.durable},
          std::pair{"amqp_auto_delete", &options.auto_delete},
          std::pair{"rabbit_ha_queues", &options.ha_queues},
          std::pair{"rabbit_quorum_queue", &options.quorum},
          std::pair{"rabbit_transient_quorum_queue", &options.transient_quorum}}) {
        const auto found = overrides.find(key);
        if (found == overrides.end())
            continue;
        const auto value = to_bool(found->second);
        if (!value)
            return wrong(key, "true or false");
        *target = *value;
    }
    std::int64_t ttl = options.transient_ttl.count();
    for (const auto& [key, target] :
         {std::pair{"rabbit_quorum_delivery_limit", &options.quorum_delivery_limit},
          std::pair{"rabbit_quorum_max_memory_length", &options.quorum_max_memory_length},
          std::pair{"rabbit_quorum_max_memory_bytes", &options.quorum_max_memory_bytes},
          std::pair{"rabbit_transient_queues_ttl", &ttl}}) {
        const auto found = overrides.find(key);
        if (found == overrides.end())
            continue;
        const auto value = to_number<std::uint32_t>(found->second);
        if (!value)
            return wrong(key, "a whole number from 0 to 4294967295");
        *target = *value;
    }
    options.transient_ttl = Seconds(ttl);
    return {};
}

amqp::ExchangeSpec control_exchange(const TopologyOptions& options) {
    return {
        options.control_exchange, "topic", options.durable || options.quorum, options.auto_delete};
}

amqp::ExchangeSpec fanout_exchange(const std::string& topic, const TopologyOptions& options) {
    return {topic + "_fanout", "fanout", options.transient_quorum, true};
}

amqp::Subscription topic_queue(const std::string& name, const TopologyOptions& options) {
    amqp::Subscription subscription;
    subscription.exchange = control_exchange(options);
    subscription.queue.name = name;
    subscription.queue.durable = options.durable || options.quorum;
    subscription.queue.auto_delete = options.auto_delete;
    if (options.quorum)
        subscription.queue.arguments = quorum_arguments(options);
    if (options.ha_queues)
        subscription.queue.arguments["x-ha-policy"] = std::string("all");
    subscription.binding_key = name;
    return subscription;
}

amqp::Subscription
fanout_queue(const std::string& topic, const std::string& unique, const TopologyOptions& options) {
    amqp::Subscription subscription;
    subscription.exchange = fanout_exchange(topic, options);
    subscription.queue = transient_queue(topic + "_fanout_" + unique, options);
    subscription.binding_key = topic;
    subscription.delete_on_stop = true;
    subscription.expendable = true;
    return subscription;
}

amqp::Subscription reply_queue(const std::string& name, const TopologyOptions& options) {
    amqp::Subscription subscription;
    subscription.expendable = true;
    subscription.queue = transient_queue(name, options);
    return subscription;
}

} // namespace novalet::rpc
