#pragma once
// PCI requests of a guest and pools of alike free devices of the host (reference 08 §4.7).
#include "agent/core/json.hpp"
#include "scheduler_hooks/model/flavor_image.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace novalet::scheduler_hooks::model {

enum class PciNumaPolicy { Legacy, Required, Preferred, Socket };
[[nodiscard]] const char* name_of(PciNumaPolicy policy) noexcept;
[[nodiscard]] std::optional<PciNumaPolicy> pci_numa_policy_from(std::string_view text) noexcept;

struct PciRequest {
    std::int64_t count = 1;
    std::vector<TextMap> spec; ///< alternatives; each maps a pool key to the wanted text
    PciNumaPolicy numa_policy = PciNumaPolicy::Legacy;
    std::string alias_name;
    std::string request_id;
};

/// `attributes` has every key a spec may ask for: vendor_id, product_id, dev_type, tags.
struct PciPool {
    std::int64_t count = 0; ///< free devices
    std::optional<int> numa_node;
    TextMap attributes;
};

/// InstancePCIRequests primitive, or a list of InstancePCIRequest primitives or plain dicts; null:
/// none.
[[nodiscard]] Result<std::vector<PciRequest>> pci_requests_from_json(const Json& document);
/// PciDevicePoolList primitive, or a list of PciDevicePool primitives or plain dicts; null: none.
[[nodiscard]] Result<std::vector<PciPool>> pci_pools_from_json(const Json& document);

} // namespace novalet::scheduler_hooks::model
