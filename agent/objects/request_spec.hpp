#pragma once
// What the scheduler's side says of a build: RequestSpec, SchedulerLimits, NetworkRequestList
// (reference 02 §6). Views as in instance.hpp.
#include "agent/objects/instance.hpp"
#include "agent/objects/object.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace novalet::objects {

/// One requested network, in the user's order. Empty = null.
struct NetworkRequest {
    std::string network_id; ///< also "auto" or "none"
    std::string port_id;
    std::string address; ///< fixed IP
    std::string tag;
    std::string pci_request_id;
    std::string arq_uuid;
    std::string device_profile;
    [[nodiscard]] bool is_auto() const { return network_id == "auto"; }
    [[nodiscard]] bool is_none() const { return network_id == "none"; }
};

/// `requested_networks` of a request: a NetworkRequestList primitive or null (= nothing was said).
/// InvalidArgument when it is something else.
[[nodiscard]] Result<std::vector<NetworkRequest>> parse_network_requests(const Json& primitive);

/// SchedulerLimits, also in the older form of a plain dict.
class LimitsView {
  public:
    /// `limits`: the argument as it came: a primitive, a plain dict or null.
    explicit LimitsView(const Json& limits);
    explicit LimitsView(Json&&) = delete;
    /// Fields of NUMATopologyLimits; null when none.
    [[nodiscard]] const Json& numa_topology() const { return data_of((*fields_)["numa_topology"]); }
    [[nodiscard]] std::optional<std::int64_t> memory_mib() const;
    [[nodiscard]] std::optional<std::int64_t> disk_gib() const;
    [[nodiscard]] std::optional<std::int64_t> vcpus() const;

  private:
    const Json* fields_;
};

class RequestSpecView {
  public:
    explicit RequestSpecView(const Object& spec) : fields_(&spec.data()) {}
    explicit RequestSpecView(const Json& fields) : fields_(&fields) {}
    explicit RequestSpecView(Object&&) = delete;
    explicit RequestSpecView(Json&&) = delete;

    [[nodiscard]] bool present() const noexcept { return fields_->is_object(); }
    [[nodiscard]] const std::string& instance_uuid() const {
        return (*fields_)["instance_uuid"].as_string();
    }
    [[nodiscard]] bool is_volume_backed() const { return (*fields_)["is_bfv"].as_bool(); }
    [[nodiscard]] FlavorView flavor() const { return FlavorView(data_of((*fields_)["flavor"])); }
    /// Fields of ImageMeta; null when none.
    [[nodiscard]] const Json& image() const { return data_of((*fields_)["image"]); }
    /// {"group": ["<uuid or name>"], "hint": [..]}
    [[nodiscard]] const Json& scheduler_hints() const { return (*fields_)["scheduler_hints"]; }
    /// First text of scheduler hint `key`; empty when there is none.
    [[nodiscard]] const std::string& scheduler_hint(std::string_view key) const;
    /// {requester id (port): provider uuids} of requested_resources; none when it is unset or empty
    /// (reference 02 §4).
    [[nodiscard]] std::map<std::string, std::vector<std::string>> provider_mapping() const;

  private:
    const Json* fields_;
};

} // namespace novalet::objects
