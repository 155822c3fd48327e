#pragma once
// What a resource provider offers, in Placement's words (reference 05 §3, §4).
#include "agent/core/json.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <string>

namespace novalet::scheduler_hooks::model {

struct Inventory {
    std::int64_t total = 0;
    std::int64_t reserved = 0;
    std::int64_t min_unit = 1;
    std::int64_t max_unit = 0;
    std::int64_t step_size = 1;
    double allocation_ratio = 1.0;
    [[nodiscard]] bool operator==(const Inventory&) const = default;
};

using Inventories = std::map<std::string, Inventory>; ///< by resource class
using Traits = std::set<std::string>;

/// The `inventories` member of GET and PUT /resource_providers/{uuid}/inventories.
[[nodiscard]] Json to_json(const Inventories& inventories);
[[nodiscard]] Result<Inventories> inventories_from_json(const Json& document);
[[nodiscard]] Json traits_to_json(const Traits& traits);
[[nodiscard]] Result<Traits> traits_from_json(const Json& document);

} // namespace novalet::scheduler_hooks::model
