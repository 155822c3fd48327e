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

Result<Endpoint> parse_endpoint(std::string_view text) {
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
            return bad_url("an IPv6 address lacks its ']'");
        endpoint.host = std::string(text.substr(1, end - 1));
        text.remove_prefix(end + 1);
        if (text.starts_with(':'))
            port = text.substr(1);
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
            return bad_url(cat(
                "port '", port, "' of host '", endpoint.host, "' is not a number from 1 to 65535"));
        endpoint.port = *number;
    }
    return endpoint;
}

} // namespace

Result<TransportUrl> TransportUrl::parse(const std::string& url) {
    std::string_view rest = url;
    const auto scheme_end = rest.find("://");
    if (scheme_end == std::string_view::npos)
        return bad_url("'://' is missing");
    const auto scheme = rest.substr(0, scheme_end);
    if (scheme != "rabbit" && scheme != "amqp" && scheme != "kombu+amqp")
        return bad_url(cat("scheme '", scheme, "' is not supported"));
    rest.remove_prefix(scheme_end + 3);

    TransportUrl out;
    if (const auto query = rest.find('?'); query != std::string_view::npos) {
        for (const auto& pair : split(rest.substr(query + 1), '&')) {
            const auto equals = pair.find('=');
            if (pair.substr(0, equals) != "ssl")
                continue; // other driver options of the URL are configuration keys here
            const auto value = to_bool(equals == std::string::npos ? "" : pair.substr(equals + 1));
            if (!value)
                return bad_url(cat("query '", pair, "' is not ssl=0 or ssl=1"));
            out.tls = *value;
        }
        rest = rest.substr(0, query);
    }
    if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
        const auto vhost = percent_decode(rest.substr(slash + 1));
        if (!vhost)
            return bad_url("the virtual host holds a broken percent escape");
        if (!vhost->empty())
            out.virtual_host = *vhost;
        rest = rest.substr(0, slash);
    }
    for (const auto& host : split(rest, ',')) {
        NOVALET_ASSIGN(auto endpoint, parse_endpoint(host));
        out.endpoints.push_back(std::move(endpoint));
    }
    if (out.endpoints.empty())
        out.endpoints.emplace_back();
    return out;
}

Seconds pause_before(unsigned failed_rounds, const Options& options) {
    if (failed_rounds == 0)
        return Seconds(0);
    const auto pause = options.retry_interval + options.retry_backoff * (failed_rounds - 1);
    return std::min(pause, options.retry_max);
}

} // namespace novalet::amqp
