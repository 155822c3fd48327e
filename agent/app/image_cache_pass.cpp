#include "agent/app/image_cache_pass.hpp"

#include "agent/core/log.hpp"
#include "hypervisor/storage/cache_cleaning.hpp"
#include "hypervisor/storage/image_cache.hpp"
#include "hypervisor/storage/storage_users.hpp"

namespace novalet::app {
namespace {

namespace storage = hypervisor::storage;

constexpr unsigned bits_of_mib = 20;
constexpr unsigned bits_of_gib = 30;

void add_use(storage::CacheUse& use,
             const objects::Object& instance,
             const std::string& default_format) {
    for (const char* field : {"image_ref", "kernel_id", "ramdisk_id"})
        if (const auto& image = instance.text(field); !image.empty())
            use.images.insert(image);
    const auto& flavor = instance.child("flavor");
    if (const auto swap = flavor["swap"].as_int(); swap > 0)
        use.blank_bases.insert(storage::blank_base_name(
            static_cast<std::uint64_t>(swap) << bits_of_mib, "swap", default_format));
    // Of other file systems: the disks that they back are found in the folder.
    if (const auto ephemeral = flavor["ephemeral_gb"].as_int(); ephemeral > 0)
        use.blank_bases.insert(storage::blank_base_name(
            static_cast<std::uint64_t>(ephemeral) << bits_of_gib, default_format, default_format));
}

Result<storage::CleaningReport> clean(const config::Config& config, objects::Conductor& conductor) {
    NOVALET_ASSIGN(const auto hosts,
                   storage::register_storage_use(config.instances_path, config.host, {}));
    Json names = Json::array();
    for (const auto& host : hosts)
        names.push_back(host);
    Json filters = Json::object();
    filters.set("deleted", false).set("soft_deleted", true).set("host", std::move(names));
    NOVALET_ASSIGN(
        const auto instances,
        conductor.instances_by_filters(std::move(filters), {"flavor"}, rpc::Context::admin()));
    storage::CacheUse use;
    for (const auto& instance : instances)
        add_use(use, instance, config.images.default_ephemeral_format);
    storage::CleaningOptions options;
    options.instances_path = config.instances_path;
    options.subdirectory = config.image_cache.subdirectory_name;
    options.remove_unused = config.image_cache.remove_unused_base_images;
    options.original_minimum_age = config.image_cache.remove_unused_original_minimum_age;
    return storage::clean_image_cache(options, use);
}

} // namespace

void run_image_cache_pass(const config::Config& config, objects::Conductor& conductor) {
    const auto report = clean(config, conductor);
    if (!report) {
        log::warning("the image cache was not cleaned", {{"error", report.error().text}});
        return;
    }
    if (!report->removed.empty())
        log::info("unused images left the cache",
                  {{"removed", report->removed.size()},
                   {"used", report->used.size()},
                   {"freed_mib", report->freed_bytes >> bits_of_mib}});
}

} // namespace novalet::app
