#include "agent/objects/image_meta.hpp"

#include "agent/core/text.hpp"
#include "agent/objects/object.hpp"

#include <algorithm>
#include <array>

namespace novalet::objects {
namespace {

constexpr std::string_view image_prefix = "image_";
constexpr int most_cells = 128; // numbered properties end here

/// Names of earlier releases that images may still carry, and the present ones
/// (nova.objects.image_meta).
constexpr std::array<std::pair<std::string_view, std::string_view>, 20> legacy_names{{
    {"architecture", "hw_architecture"},
    {"auto_disk_config", "hw_auto_disk_config"},
    {"bdm_v2", "img_bdm_v2"},
    {"bittorrent", "img_bittorrent"},
    {"block_device_mapping", "img_block_device_mapping"},
    {"cache_in_nova", "img_cache_in_nova"},
    {"hypervisor_type", "img_hv_type"},
    {"hypervisor_version_requires", "img_hv_requested_version"},
    {"ipxe_boot", "hw_ipxe_boot"},
    {"mappings", "img_mappings"},
    {"owner_id", "img_owner_id"},
    {"root_device_name", "img_root_device_name"},
    {"vm_mode", "hw_vm_mode"},
    {"vmware_disktype", "hw_disk_type"},
    {"vmware_image_version", "img_version"},
    {"vmware_linked_clone", "img_linked_clone"},
    {"vmware_ostype", "os_distro"},
    {"xenapi_device_id", "hw_device_id"},
    {"xenapi_image_compression_level", "img_compression_level"},
    {"xenapi_use_agent", "img_use_agent"},
}};

/// Too large for system_metadata; never read from there.
constexpr std::array<std::string_view, 4> skipped{
    "mappings", "block_device_mapping", "img_mappings", "img_block_device_mapping"};
/// Base fields that are inherited by system_metadata; all other keys are properties.
constexpr std::array<std::string_view, 4> inherited{
    "min_ram", "min_disk", "disk_format", "container_format"};

std::int64_t natural(const Json& value) {
    if (value.is_string())
        return std::max<std::int64_t>(0,
                                      to_number<std::int64_t>(trim(value.as_string())).value_or(0));
    return std::max<std::int64_t>(0, value.as_int());
}

void read_base(ImageMeta& image, const Json& fields) {
    image.id = fields["id"].as_string();
    image.name = fields["name"].as_string();
    image.status = fields["status"].as_string();
    image.owner = fields["owner"].as_string();
    image.checksum = fields["checksum"].as_string();
    image.disk_format = fields["disk_format"].as_string();
    image.container_format = fields["container_format"].as_string();
    image.min_ram_mib = natural(fields["min_ram"]);
    image.min_disk_gib = natural(fields["min_disk"]);
    if (!fields["size"].is_null())
        image.size = natural(fields["size"]);
}

/// The present name wins when an image carries both.
void add_property(ImageMeta& image, std::string_view name, const Json& value) {
    if (value.is_null())
        return;
    const auto legacy = std::find_if(
        legacy_names.begin(), legacy_names.end(), [&](const auto& p) { return p.first == name; });
    if (legacy == legacy_names.end())
        image.properties.set(name, value);
    else if (!image.properties.contains(legacy->second)) // a present name that follows overwrites
        image.properties.set(legacy->second, value);
}

Failure wrong(std::string_view property, const std::string& value, const char* expected) {
    return fail(Code::InvalidArgument,
                cat("image property ", property, "='", value, "': expected ", expected));
}

/// "0-2,5" or "0,^1" of CPUs.
Result<std::set<int>> cpu_set(std::string_view property, const std::string& text) {
    constexpr int most_cpus = 4096;
    std::set<int> in;
    std::set<int> out;
    for (const auto& part : split(text, ',')) {
        auto range = trim(part);
        const bool excluded = range.starts_with('^');
        if (excluded)
            range.remove_prefix(1);
        const auto dash = range.find('-');
        const auto first = to_number<int>(trim(range.substr(0, dash)));
        const auto last =
            dash == std::string_view::npos ? first : to_number<int>(trim(range.substr(dash + 1)));
        if (!first || !last || *first < 0 || *last < *first || *last >= most_cpus)
            return wrong(property, text, "CPUs like 0-2,5");
        for (int cpu = *first; cpu <= *last; ++cpu)
            (excluded ? out : in).insert(cpu);
    }
    for (const int cpu : out)
        in.erase(cpu);
    return in;
}

} // namespace

std::string ImageMeta::text(std::string_view property) const {
    const auto& value = properties[property];
    if (value.is_null())
        return {};
    return value.is_string() ? value.as_string() : value.dump();
}

Result<std::optional<bool>> ImageMeta::flag(std::string_view property) const {
    const auto& value = properties[property];
    if (value.is_null())
        return std::nullopt;
    if (value.is_bool())
        return value.as_bool();
    const auto parsed = to_bool(text(property));
    if (!parsed)
        return wrong(property, text(property), "true or false");
    return *parsed;
}

Result<std::optional<std::int64_t>> ImageMeta::number(std::string_view property) const {
    const auto& value = properties[property];
    if (value.is_null())
        return std::nullopt;
    if (value.is_integer())
        return value.as_int();
    const auto parsed = to_number<std::int64_t>(trim(value.as_string()));
    if (!parsed)
        return wrong(property, text(property), "a whole number");
    return *parsed;
}

Result<std::vector<std::set<int>>> ImageMeta::numa_cpus() const {
    std::vector<std::set<int>> cells;
    for (const auto& list : properties["hw_numa_cpus"].items()) {
        auto& cell = cells.emplace_back();
        for (const auto& cpu : list.items())
            cell.insert(static_cast<int>(cpu.as_int()));
    }
    for (int cell = 0; cells.size() == static_cast<std::size_t>(cell) && cell < most_cells;
         ++cell) {
        const auto property = cat("hw_numa_cpus.", cell);
        if (!properties.contains(property))
            break;
        NOVALET_ASSIGN(auto cpus, cpu_set(property, text(property)));
        cells.push_back(std::move(cpus));
    }
    return cells;
}

Result<std::vector<std::int64_t>> ImageMeta::numa_memory_mib() const {
    std::vector<std::int64_t> cells;
    for (const auto& memory : properties["hw_numa_mem"].items())
        cells.push_back(memory.as_int());
    for (int cell = 0; cells.size() == static_cast<std::size_t>(cell) && cell < most_cells;
         ++cell) {
        const auto property = cat("hw_numa_mem.", cell);
        NOVALET_ASSIGN(const auto memory, number(property));
        if (!memory)
            break;
        cells.push_back(*memory);
    }
    return cells;
}

ImageMeta ImageMeta::from_system_metadata(const Json& system_metadata,
                                          const std::string& image_ref) {
    ImageMeta image;
    Json base = Json::object();
    for (const auto& [key, value] : system_metadata.members()) {
        std::string_view name = key;
        if (name.starts_with(image_prefix))
            name.remove_prefix(image_prefix.size());
        if (value.is_null() || std::find(skipped.begin(), skipped.end(), name) != skipped.end())
            continue;
        if (std::find(inherited.begin(), inherited.end(), name) != inherited.end())
            base.set(name, value);
        else
            add_property(image, name, value);
    }
    read_base(image, base);
    image.id = image_ref;
    return image;
}

ImageMeta ImageMeta::from_dict(const Json& fields) {
    ImageMeta image;
    read_base(image, fields);
    for (const auto& [name, value] : fields["properties"].members())
        add_property(image, name, value);
    return image;
}

ImageMeta ImageMeta::from_object(const Json& fields) {
    ImageMeta image;
    read_base(image, fields);
    image.properties = data_of(fields["properties"]);
    if (!image.properties.is_object())
        image.properties = Json::object();
    return image;
}

} // namespace novalet::objects
