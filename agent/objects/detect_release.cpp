#include "agent/objects/detect_release.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/objects/compute_host.hpp"

#include <algorithm>
#include <ctime>
#include <iomanip>
#include <sstream>
#include <vector>

namespace novalet::objects {
namespace {

/// Seconds since 1970 of a DateTime field; zero when it is null or damaged (= never seen).
std::time_t seconds_of(const std::string& iso) {
    std::tm parts{};
    std::istringstream in(iso);
    in >> std::get_time(&parts, "%Y-%m-%dT%H:%M:%S");
    return in.fail() ? 0 : timegm(&parts);
}

struct Range {
    int minimum = 0;
    int maximum = 0;
};

/// Versions of the records seen lately, measured against the newest of them: stale records of
/// removed conductors are common, and this host's clock may be wrong.
std::optional<Range> live_versions(const std::vector<Object>& services, Seconds down_time) {
    std::time_t newest = 0;
    for (const auto& service : services)
        newest = std::max(newest, seconds_of(service.text("last_seen_up")));
    std::optional<Range> found;
    for (const auto& object : services) {
        const ServiceView service(object);
        if (service.forced_down() || service.version() <= 0 ||
            newest - seconds_of(service.last_seen_up()) > down_time.count())
            continue;
        if (!found)
            found = Range{service.version(), service.version()};
        found->minimum = std::min(found->minimum, service.version());
        found->maximum = std::max(found->maximum, service.version());
    }
    return found;
}

Result<Release> configured(const ReleaseWish& wish, const std::optional<Range>& live) {
    if (wish.release != "auto" && !wish.release.empty()) {
        auto release = release_by_name(wish.release);
        if (!release)
            return Failure(release.error().in("compat.release"));
        // The number stays the operator's: needed while a control plane jumps over releases.
        if (wish.service_version != 0)
            release->service_version = wish.service_version;
        return release;
    }
    auto release = release_by_service_version(live ? live->minimum : wish.service_version);
    if (!release)
        return Failure(release.error().in("compat.service_version"));
    release->service_version = wish.service_version;
    return release;
}

void warn_of_difference(const Release& chosen, const std::optional<Range>& live) {
    if (!live)
        return;
    const auto seen = release_by_service_version(live->minimum);
    if (seen && seen->name == chosen.name && live->minimum == chosen.service_version)
        return;
    log::warning("the configured release is not what the nova-conductor records say; the "
                 "configuration is followed (compat.release, compat.service_version)",
                 {{"configured", chosen.name},
                  {"configured_version", chosen.service_version},
                  {"found_version", live->minimum}});
}

Result<Release> probed(Conductor& conductor, const rpc::Context& context) {
    static const std::string impossible = "1.999";
    NOVALET_ASSIGN(const auto version,
                   conductor.probe_version("ImageMetaProps", impossible, context));
    return release_by_fingerprint(version);
}

} // namespace

Result<DetectedRelease>
detect_release(Conductor& conductor, const ReleaseWish& wish, Seconds service_down_time) {
    const auto context = rpc::Context::admin();
    const auto services = conductor.services("nova-conductor", context);
    const auto live = services ? live_versions(*services, service_down_time) : std::nullopt;
    DetectedRelease found;
    if (live) {
        found.minimum = live->minimum;
        found.maximum = live->maximum;
    }
    if ((wish.release != "auto" && !wish.release.empty()) || wish.service_version != 0) {
        NOVALET_ASSIGN(found.release, configured(wish, live));
        found.source = "configuration";
        warn_of_difference(found.release, live);
        return found;
    }
    if (live) {
        NOVALET_ASSIGN(found.release, release_by_service_version(live->minimum));
        found.source = "conductor records";
        if (found.mixed())
            log::info("nova-conductors of several versions are running; the lowest counts",
                      {{"minimum", live->minimum}, {"maximum", live->maximum}});
        return found;
    }
    auto answer = probed(conductor, context);
    if (!answer)
        return Failure(answer.error().in(cat(
            "the control plane's release cannot be found: ",
            services ? "there is no live nova-conductor record"
                     : "reading the nova-conductor records failed (" + services.error().text + ")",
            ", and the version probe failed too; set compat.release")));
    found.release = std::move(*answer);
    found.source = "version probe";
    return found;
}

int version_to_report(const DetectedRelease& found, const Object& stored) {
    const int own = found.release.service_version;
    if (found.source == "configuration" || !stored.valid())
        return own;
    return std::max(own, ServiceView(stored).version());
}

} // namespace novalet::objects
