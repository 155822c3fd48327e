#pragma once
// Which release is the control plane (reference 10 §4.3)?
#include "agent/objects/conductor.hpp"

#include <optional>
#include <string>

namespace novalet::objects {

/// What the operator's configuration says: compat.release and compat.service_version.
struct ReleaseWish {
    std::string release = "auto"; ///< "auto" or the name of a profile
    int service_version = 0;      ///< reported number; 0 = the release's own
};

/// What was found and how sure it is.
struct DetectedRelease {
    Release release;            ///< the rules, with the number to report
    std::string source;         ///< "configuration", "conductor records" or "version probe"
    std::optional<int> minimum; ///< over the live nova-conductor records
    std::optional<int> maximum;
    [[nodiscard]] bool mixed() const { return minimum != maximum; }
};

/// The configuration's word; else the minimum version of the live nova-conductor records ("live" =
/// seen within `service_down_time` of the newest one, so this host's clock does not matter); else
/// the impossible-version probe. A disagreement with the configuration is logged as a warning.
/// NotFound for a release name that is not known; Unsupported for a control plane that is too old;
/// the conductor's error, with what to configure, when nothing answered.
[[nodiscard]] Result<DetectedRelease>
detect_release(Conductor& conductor, const ReleaseWish& wish, Seconds service_down_time);

/// The number for our record: the release's, but never below what is stored there already unless
/// the operator set it (reference 10 §4.3 step 6). `stored` is not valid() when there is no record.
[[nodiscard]] int version_to_report(const DetectedRelease& found, const Object& stored);

} // namespace novalet::objects
