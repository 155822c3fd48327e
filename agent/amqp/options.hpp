#pragma once
// How to reach the broker and how entities are declared (reference 01 §2, §3).
#include "agent/core/clock.hpp"
#include "agent/core/result.hpp"
#include "agent/core/secret.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace novalet::amqp {

struct Endpoint {
    std::string host = "localhost";
    unsigned port = 5672;
    std::string user = "guest";
    Secret password = Secret("guest");
};

/// transport_url taken apart.
struct TransportUrl {
    std::vector<Endpoint> endpoints; ///< at least one
    std::string virtual_host = "/";
    std::optional<bool> tls; ///< `?ssl=1` of the URL
    /// All `key=value` of the query, percent-decoded: driver options of the control plane's name
    /// (`ssl_ca_file`, `heartbeat_timeout_threshold`, `rabbit_quorum_queue`, …) that come before
    /// the configuration's own (oslo_messaging/_drivers/common.py, ConfigOptsProxy).
    std::map<std::string, std::string> overrides;

    /// `rabbit://user:pass@host:port,user:pass@host2/vhost?ssl=1`; credentials percent-encoded.
    /// Each host carries its own credentials (none: guest/guest); an empty virtual host is `/`.
    /// Errors name what is wrong and never show a part of the URL that may be a credential.
    [[nodiscard]] static Result<TransportUrl> parse(const std::string& url);
};

struct TlsOptions {
    bool enabled = false;
    std::string ca_file;   ///< empty = the system's store
    std::string cert_file; ///< client certificate and key; both or none
    std::string key_file;
    bool verify_host_name = true;
};

struct Options {
    TransportUrl url;
    TlsOptions tls;
    Seconds heartbeat{60};       ///< 0 = off; negotiated down by the broker
    Seconds connect_timeout{10}; ///< for TCP, TLS and login together
    Seconds retry_interval{1};   ///< first pause after a lost connection
    Seconds retry_backoff{2};    ///< added after each failed round over all hosts
    Seconds retry_max{30};
    unsigned prefetch = 256;            ///< deliveries that may be unacknowledged at once, to 65535
    std::size_t max_body = 128U << 20U; ///< bytes; larger deliveries are rejected unread
    /// Bytes of unacknowledged deliveries in memory; above, the socket is not read for a while.
    std::size_t max_unsettled = 256U << 20U;
    std::string connection_name = "novalet"; ///< what the broker's operator sees
};

/// Puts the overrides of `options.url` that concern the connection into `options`. Keys of others
/// are left alone. InvalidArgument names key and value.
[[nodiscard]] Result<void> apply_overrides(Options& options);

/// Pause before the next attempt: retry_interval, growing by retry_backoff up to retry_max.
[[nodiscard]] Seconds pause_before(unsigned failed_rounds, const Options& options);

} // namespace novalet::amqp
