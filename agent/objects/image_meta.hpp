#pragma once
// What the agent knows of an image: base fields, and properties under their present names
// (reference 06 §2, 02 ImageMeta).
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace novalet::objects {

struct ImageMeta {
    std::string id; ///< empty = none (booted from a volume)
    std::string name;
    std::string status;
    std::string owner;
    std::string checksum; ///< md5; empty when Glance has none
    std::string disk_format;
    std::string container_format;
    std::int64_t min_ram_mib = 0;
    std::int64_t min_disk_gib = 0;
    std::optional<std::int64_t> size; ///< bytes
    /// {"hw_disk_bus": "virtio", …}; values as they came: texts in system_metadata, perhaps numbers
    /// and truth values elsewhere. Legacy names ("vm_mode") are replaced by the present ones.
    Json properties = Json::object();

    /// Text of a property (numbers and truth values as text); empty when absent or null.
    [[nodiscard]] std::string text(std::string_view property) const;
    /// Truth value as Nova reads it; empty when absent. InvalidArgument for other texts.
    [[nodiscard]] Result<std::optional<bool>> flag(std::string_view property) const;
    /// Whole number; empty when absent. InvalidArgument for other texts.
    [[nodiscard]] Result<std::optional<std::int64_t>> number(std::string_view property) const;
    /// hw_numa_cpus: guest CPUs per cell, from `hw_numa_cpus.N` or the list form.
    [[nodiscard]] Result<std::vector<std::set<int>>> numa_cpus() const;
    /// hw_numa_mem: MiB per cell.
    [[nodiscard]] Result<std::vector<std::int64_t>> numa_memory_mib() const;

    /// From Instance.system_metadata; `image_ref` becomes the id.
    [[nodiscard]] static ImageMeta from_system_metadata(const Json& system_metadata,
                                                        const std::string& image_ref);
    /// From the plain dict that travels in requests: {"id", "name", "disk_format", …,
    /// "properties": {…}}.
    [[nodiscard]] static ImageMeta from_dict(const Json& image);
    /// From the fields of an ImageMeta object (RequestSpec.image).
    [[nodiscard]] static ImageMeta from_object(const Json& fields);
};

} // namespace novalet::objects
