#include "scheduler_hooks/model/flavor_image.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/model/primitive.hpp"

namespace novalet::scheduler_hooks::model {
namespace {

std::optional<std::string_view> find_text(const TextMap& map, std::string_view key) {
    const auto at = map.find(key);
    if (at == map.end())
        return std::nullopt;
    return std::string_view(at->second);
}

/// A scalar as the flat form has it; containers as their JSON text.
std::string flat_text(const Json& value) {
    if (value.is_string())
        return value.as_string();
    if (value.is_bool())
        return value.as_bool() ? "true" : "false";
    return value.dump();
}

/// hw_numa_cpus [[0,1],[2]] → hw_numa_cpus.0 "0,1", hw_numa_cpus.1 "2"; hw_numa_mem likewise.
void add_numa_list(TextMap& out, const std::string& key, const Json& list) {
    std::size_t index = 0;
    for (const Json& item : list.items()) {
        std::vector<std::string> parts;
        for (const Json& cpu : item.items())
            parts.push_back(flat_text(cpu));
        out[cat(key, '.', index++)] = item.is_array() ? join(parts, ",") : flat_text(item);
    }
}

void add_property(TextMap& out, const std::string& key, const Json& value) {
    if (value.is_null())
        return;
    if (value.is_array() && (key == "hw_numa_cpus" || key == "hw_numa_mem"))
        add_numa_list(out, key, value);
    else if (value.is_array() && key == "traits_required")
        for (const Json& trait : value.items())
            out[cat("trait:", trait.as_string())] = "required";
    else
        out[key] = flat_text(value);
}

} // namespace

std::optional<std::string_view> FlavorSpec::extra(std::string_view key) const {
    return find_text(extra_specs, key);
}

std::optional<std::string_view> ImageSpec::property(std::string_view key) const {
    return find_text(properties, key);
}

Result<FlavorSpec> flavor_from_json(const Json& document) {
    NOVALET_ASSIGN(const Json* data, data_of(document, "Flavor"));
    FlavorSpec flavor;
    flavor.name = (*data)["name"].as_string();
    NOVALET_ASSIGN(const std::int64_t vcpus, required_int(*data, "vcpus", "flavor"));
    if (vcpus < 1 || vcpus > CpuSet::max_cpu)
        return fail(Code::InvalidArgument,
                    cat("flavor: vcpus must be from 1 to ", CpuSet::max_cpu, ", found ", vcpus));
    flavor.vcpus = static_cast<unsigned>(vcpus);
    NOVALET_ASSIGN(flavor.memory_mib, required_int(*data, "memory_mb", "flavor"));
    // Σ over cells and KiB stay far from the limit of 64 bits.
    constexpr std::int64_t max_memory_mib = std::int64_t{1} << 40;
    if (flavor.memory_mib < 0 || flavor.memory_mib > max_memory_mib)
        return fail(Code::InvalidArgument,
                    cat("flavor: memory_mb out of range: ", flavor.memory_mib));
    const Json& extra_specs = (*data)["extra_specs"];
    if (!extra_specs.is_object() && !extra_specs.is_null())
        return fail(Code::InvalidArgument,
                    cat("flavor: extra_specs: an object expected, found ",
                        cut_utf8(extra_specs.dump(), 80)));
    for (const auto& [key, value] : extra_specs.members())
        if (!value.is_null())
            flavor.extra_specs[key] = flat_text(value);
    return flavor;
}

Result<ImageSpec> image_from_json(const Json& document) {
    ImageSpec image;
    if (document.is_null())
        return image;
    const Json* data = &document;
    if (document["nova_object.name"].as_string() != "ImageMetaProps") {
        NOVALET_ASSIGN(data, data_of(document, "ImageMeta"));
    }
    image.id = (*data)["id"].as_string();
    image.name = (*data)["name"].as_string();
    const Json* properties = data;
    if (data->contains("properties"))
        properties = &(*data)["properties"];
    if (properties->is_null())
        return image;
    NOVALET_ASSIGN(const Json* values, data_of(*properties, "ImageMetaProps"));
    for (const auto& [key, value] : values->members())
        add_property(image.properties, key, value);
    return image;
}

} // namespace novalet::scheduler_hooks::model
