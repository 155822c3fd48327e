#pragma once
// Flavor and image as the rules of reference 08 read them. Plain values, any thread.
#include "agent/core/json.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace novalet::scheduler_hooks::model {

using TextMap = std::map<std::string, std::string, std::less<>>;

struct FlavorSpec {
    std::string name;
    unsigned vcpus = 0;
    std::int64_t memory_mib = 0;
    TextMap extra_specs; ///< "hw:cpu_policy" → "dedicated"

    /// Text of an extra spec; empty optional when not set.
    [[nodiscard]] std::optional<std::string_view> extra(std::string_view key) const;
};

/// Properties in Glance's flat text form: "hw_numa_cpus.0" → "0-1", "trait:HW_…" → "required".
struct ImageSpec {
    std::string id;
    std::string name;
    TextMap properties;

    [[nodiscard]] std::optional<std::string_view> property(std::string_view key) const;
};

/// A Flavor primitive, its data, or {"name","vcpus","memory_mb","extra_specs"}.
[[nodiscard]] Result<FlavorSpec> flavor_from_json(const Json& document);
/// An ImageMeta or ImageMetaProps primitive, its data, or a map of flat properties; values may be
/// typed (numbers, booleans, lists as ImageMetaProps has them) or text. Null: no properties.
[[nodiscard]] Result<ImageSpec> image_from_json(const Json& document);

} // namespace novalet::scheduler_hooks::model
