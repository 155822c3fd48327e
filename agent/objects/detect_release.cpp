// Which release is the control plane? Procedure of reference 10 §4.3.
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/objects/conductor.hpp"

#include <algorithm>
#include <ctime>
#include <iomanip>
#include <sstream>

namespace novalet::objects {
namespace {

std::optional<std::time_t> parse_time(const std::string& iso) {
    std::tm parts{};
    std::istringstream in(iso);
    in >> std::get_time(&parts, "%Y-%m-%dT%H:%M:%S");
    if (in.fail())
        return std::nullopt;
    return timegm(&parts);
}

/// Minimum version of the records that were seen lately, measured against the newest record and
/// not against this host's clock. Without a live one, the newest record speaks.
std::optional<int> live_minimum(const std::vector<Object>& services, Seconds down_time) {
    std::time_t newest = 0;
    for (const auto& service : services)
        newest = std::max(newest, parse_time(service.text("last_seen_up")).value_or(0));
    std::optional<int> minimum;
    for (const auto& service : services) {
        const auto seen = parse_time(service.text("last_seen_up")).value_or(0);
        if (service.get("forced_down").as_bool() || newest - seen > down_time.count())
            continue;
        const auto version = static_cast<int>(service.get("version").as_int());
        minimum = std::min(minimum.value_or(version), version);
    }
    return minimum;
}

/// Asks for a version that cannot exist; the refusal names what the conductor knows (§4.2).
Result<Release> probe(Conductor& conductor, const rpc::Context& context) {
    static const std::string impossible = "1.999";
    const auto answer = conductor.probe_version("ImageMetaProps", impossible, context);
    if (!answer)
        return Failure(answer.error());
    return release_by_fingerprint(*answer);
}

} // namespace

Result<Release> detect_release(Conductor& conductor,
                               const std::optional<Release>& forced,
                               Seconds service_down_time) {
    const auto context = rpc::Context::admin();
    if (forced) {
        log::info("release is set by configuration", {{"release", forced->name}});
        return *forced;
    }
    const auto services = conductor.services("nova-conductor", context);
    if (services)
        if (const auto version = live_minimum(*services, service_down_time)) {
            NOVALET_ASSIGN(auto release, release_by_service_version(*version));
            return release;
        }
    auto probed = probe(conductor, context);
    if (!probed)
        return Failure(probed.error().in(
            "the control plane's release cannot be found: no live nova-conductor record and no "
            "answer to the version probe; set compat.release"));
    return probed;
}

} // namespace novalet::objects
