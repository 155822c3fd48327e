#include "agent/amqp/options.hpp"

#include "agent/core/text.hpp"

#include <algorithm>

namespace novalet::amqp {
namespace {

Failure bad_url(const std::string& why) {
    return fail(Code::InvalidArgument,
                "transport_url: " + why +
                    "; expected rabbit://user:password@host:port[,user:password@host:port]/vhost");
}

/// `position` counts the hosts from 1, for errors.
Result<Endpoint> parse_endpoint(std::string_view text, std::size_t position) {
    Endpoint endpoint;
    if (const auto at = text.rfind('@'); at != std::string_view::npos) {
        const auto credentials = text.substr(0, at);
        const auto colon = credentials.find(':');
        const auto user = percent_decode(credentials.substr(0, colon));
        const auto password = colon == std::string_view::npos
                                  ? std::optional<std::string>(std::string())
                                  : percent_decode(credentials.substr(colon + 1));
        if (!user || !password)
            return bad_url("the credentials hold a broken percent escape");
        endpoint.user = *user;
        endpoint.password = Secret(*password);
        text.remove_prefix(at + 1);
    }
    std::string_view port;
    if (text.starts_with('[')) { // IPv6
        const auto end = text.find(']');
        if (end == std::string_view::npos)
            return bad_url(cat("the IPv6 address of host ", position, " lacks its ']'"));
        endpoint.host = std::string(text.substr(1, end - 1));
        text.remove_prefix(end + 1);
        if (!text.empty() && text.front() != ':')
            return bad_url(cat("the IPv6 address of host ", position, " is followed by no port"));
        port = text.empty() ? text : text.substr(1);
    } else {
        const auto colon = text.find(':');
        if (colon != 0 && !text.empty())
            endpoint.host = std::string(text.substr(0, colon));
        if (colon != std::string_view::npos)
            port = text.substr(colon + 1);
    }
    if (!port.empty()) {
        const auto number = to_number<unsigned>(port);
        if (!number || *number == 0 || *number > 65535)
            // Not shown: with an unescaped '/' in a password, this is the password.
            return bad_url(cat("the port of host ",
                               position,
                               " is not a number from 1 to 65535 (special characters of a "
                               "password have to be percent-encoded)"));
        endpoint.port = *number;
    }
    return endpoint;
}

/// `a=1&b=2`, percent-decoded. Values are never shown: a '?' may come from a password.
Result<std::map<std::string, std::string>> parse_query(std::string_view query) {
    if (query.find('@') != std::string_view::npos)
        return bad_url("'@' after '?': a '?' in a password has to be written %3F");
    std::map<std::string, std::string> out;
    for (const auto& pair : split(query, '&')) {
        const auto equals = pair.find('=');
        const auto key = percent_decode(std::string_view(pair).substr(0, equals));
        const auto value = equals == std::string::npos
                               ? std::optional<std::string>(std::string())
                               : percent_decode(std::string_view(pair).substr(equals + 1));
        if (!key || !value)
            return bad_url("the query holds a broken percent escape");
        out[*key] = *value;
    }
    return out;
}

Result<Seconds> whole_seconds(const char* key, const std::string& text) {
    const auto value = to_number<unsigned>(text);
    if (!value || *value > 86400)
        return bad_url(
            cat(key, " is '", cut_utf8(text, 40), "', not whole seconds from 0 to 86400"));
    return Seconds(*value);
}

} // namespace

Result<TransportUrl> TransportUrl::parse(const std::string& url) {
    std::string_view rest = url;
    const auto scheme_end = rest.find("://");
    if (scheme_end == std::string_view::npos)
        return bad_url("'://' is missing");
    const auto scheme = rest.substr(0, scheme_end);
    if (scheme != "rabbit" && scheme != "amqp" && scheme != "kombu+amqp")
        return bad_url("the scheme is not supported");
    rest.remove_prefix(scheme_end + 3);

    TransportUrl out;
    if (const auto query = rest.find('?'); query != std::string_view::npos) {
        NOVALET_ASSIGN(out.overrides, parse_query(rest.substr(query + 1)));
        if (const auto ssl = out.overrides.find("ssl"); ssl != out.overrides.end()) {
            out.tls = to_bool(ssl->second);
            if (!out.tls)
                return bad_url("the value of query parameter ssl is not 0 or 1");
        }
        rest = rest.substr(0, query);
    }
    if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
        const auto vhost = percent_decode(rest.substr(slash + 1));
        if (!vhost)
            return bad_url("the virtual host holds a broken percent escape");
        if (rest.find('@', slash) != std::string_view::npos)
            return bad_url("'@' after the first '/': a '/' in a password has to be written %2F");
        if (!vhost->empty())
            out.virtual_host = *vhost;
        rest = rest.substr(0, slash);
    }
    const auto hosts = split(rest, ',');
    for (const auto& host : hosts) {
        if (host.empty() && hosts.size() > 1)
            return bad_url(cat("host ", out.endpoints.size() + 1, " is empty"));
        NOVALET_ASSIGN(auto endpoint, parse_endpoint(host, out.endpoints.size() + 1));
        out.endpoints.push_back(std::move(endpoint));
    }
    if (out.endpoints.empty())
        out.endpoints.emplace_back();
    return out;
}

Result<void> apply_overrides(Options& options) {
    if (options.url.tls)
        options.tls.enabled = *options.url.tls;
    const auto& given = options.url.overrides;
    const auto text = [&given](const char* key, std::string& target) {
        if (const auto found = given.find(key); found != given.end())
            target = found->second;
    };
    text("ssl_ca_file", options.tls.ca_file);
    text("ssl_cert_file", options.tls.cert_file);
    text("ssl_key_file", options.tls.key_file);
    if (const auto found = given.find("ssl_enforce_hostname_verification"); found != given.end()) {
        const auto value = to_bool(found->second);
        if (!value)
            return bad_url("ssl_enforce_hostname_verification is not true or false");
        options.tls.verify_host_name = *value;
    }
    for (const auto& [key, target] : {std::pair{"heartbeat_timeout_threshold", &options.heartbeat},
                                      std::pair{"rabbit_retry_interval", &options.retry_interval},
                                      std::pair{"rabbit_retry_backoff", &options.retry_backoff},
                                      std::pair{"rabbit_interval_max", &options.retry_max}}) {
        const auto found = given.find(key);
        if (found == given.end())
            continue;
        NOVALET_ASSIGN(*target, whole_seconds(key, found->second));
    }
    if (const auto found = given.find("rabbit_qos_prefetch_count"); found != given.end()) {
        const auto value = to_number<std::uint16_t>(found->second);
        if (!value)
            return bad_url("rabbit_qos_prefetch_count is not a number from 0 to 65535");
        // 0 is "no limit" at the control plane; here the inbox stays bounded.
        if (*value > 0)
            options.prefetch = *value;
    }
    return {};
}

Seconds pause_before(unsigned failed_rounds, const Options& options) {
    if (failed_rounds == 0)
        return Seconds(0);
    // Compared before multiplying: a broker may be away for weeks.
    const auto steps = std::min<Seconds::rep>(failed_rounds - 1, options.retry_max.count());
    const auto pause = options.retry_interval + options.retry_backoff * steps;
    return std::min(pause, options.retry_max);
}

} // namespace novalet::amqp
