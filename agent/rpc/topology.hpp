#pragma once
// Names and properties of exchanges and queues (reference 01 §1, §2). Pure functions.
#include "agent/amqp/session.hpp"

#include <cstdint>
#include <map>
#include <string>

namespace novalet::rpc {

/// Options that have to equal the control plane's, since exchanges and queues are shared.
struct TopologyOptions {
    std::string control_exchange = "nova";
    bool durable = false;     ///< amqp_durable_queues
    bool auto_delete = false; ///< amqp_auto_delete
    bool ha_queues = false;   ///< rabbit_ha_queues
    bool quorum = false;      ///< rabbit_quorum_queue
    std::int64_t quorum_delivery_limit = 0;
    std::int64_t quorum_max_memory_length = 0;
    std::int64_t quorum_max_memory_bytes = 0;
    bool transient_quorum = false; ///< rabbit_transient_quorum_queue (2025.1 and later)
    Seconds transient_ttl{1800};   ///< rabbit_transient_queues_ttl; 0 = for ever
};

/// Puts the values of transport_url's query (`TransportUrl::overrides`) that concern declarations
/// into `options`. Other keys are left alone. InvalidArgument names the key.
[[nodiscard]] Result<void> apply_overrides(const std::map<std::string, std::string>& overrides,
                                           TopologyOptions& options);

[[nodiscard]] amqp::ExchangeSpec control_exchange(const TopologyOptions& options);
[[nodiscard]] amqp::ExchangeSpec fanout_exchange(const std::string& topic,
                                                 const TopologyOptions& options);
/// Queue `name` of the control exchange, bound by its own name.
[[nodiscard]] amqp::Subscription topic_queue(const std::string& name,
                                             const TopologyOptions& options);
/// Fan-out queue of this process; `unique` is kept over reconnects.
[[nodiscard]] amqp::Subscription
fanout_queue(const std::string& topic, const std::string& unique, const TopologyOptions& options);
/// Reply queue of this process, on the default exchange.
[[nodiscard]] amqp::Subscription reply_queue(const std::string& name,
                                             const TopologyOptions& options);

} // namespace novalet::rpc
