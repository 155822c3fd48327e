#include "agent/tasks/books/host_report.hpp"

#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/books/host_books.hpp"

namespace novalet::tasks {

namespace claims = scheduler_hooks::claims;
namespace model = scheduler_hooks::model;
namespace provider = scheduler_hooks::placement;

namespace {

void set_if_changed(objects::Object& node, const char* field, Json value) {
    if (!node.is_set(field) || node.get(field) != value)
        node.set(field, std::move(value));
}

} // namespace

HostReport::HostReport(const TrackerOptions& options,
                       objects::Conductor& conductor,
                       clients::Placement& placement,
                       ThisNode& this_node)
    : options_(options), conductor_(conductor), placement_(placement), this_node_(this_node) {}

void HostReport::set_facts(hypervisor::HostFacts facts) {
    facts_ = std::move(facts);
    this_node_.set_name(facts_.hostname);
    if (node_.valid())
        write_facts(node_);
}

claims::HostCapacity HostReport::capacity() const {
    claims::HostCapacity out;
    out.vcpus = options_.cpu_sets_configured
                    ? static_cast<std::int64_t>(facts_.topology.shared_cpus().size())
                    : facts_.online_cpus;
    out.memory_mib = static_cast<std::int64_t>(facts_.memory_mib);
    out.local_gib = static_cast<std::int64_t>(facts_.disk_total_gib);
    out.reserved_vcpus = options_.inventory.reserved_host_cpus;
    out.reserved_memory_mib = options_.inventory.reserved_host_memory_mib;
    out.reserved_disk_gib = options_.inventory.reserved_host_disk_mib / 1024;
    out.topology = facts_.topology;
    return out;
}

provider::HostDescription HostReport::description() const {
    provider::HostDescription out;
    out.shared_cpus = capacity().vcpus;
    out.dedicated_cpus = options_.cpu_sets_configured
                             ? static_cast<std::int64_t>(facts_.topology.dedicated_cpus().size())
                             : 0;
    out.memory_mib = static_cast<std::int64_t>(facts_.memory_mib);
    out.disk_gib = static_cast<std::int64_t>(facts_.disk_total_gib);
    out.virt_type = options_.virt_type;
    out.arch = facts_.arch;
    out.cpu_features = facts_.cpu_features;
    out.hyperthreading = facts_.hyperthreading;
    out.disk_buses = facts_.disk_buses;
    out.video_models = facts_.video_models;
    out.tpm_models = facts_.tpm_models;
    out.tpm_versions = facts_.tpm_versions;
    out.secure_boot = facts_.secure_boot;
    out.amd_sev = facts_.amd_sev;
    out.libvirt_version = facts_.libvirt_version;
    out.qemu_version = facts_.version;
    out.remote_managed_ports = false; // only with PCI pools of such devices
    out.excluded_image_types = options_.excluded_image_types;
    return out;
}

void HostReport::write_facts(objects::Object& node) const {
    set_if_changed(node, "host", options_.host);
    set_if_changed(node, "host_ip", options_.my_ip);
    set_if_changed(node, "hypervisor_hostname", facts_.hostname);
    set_if_changed(node, "hypervisor_type", facts_.type);
    set_if_changed(node, "hypervisor_version", facts_.version);
    set_if_changed(node, "vcpus", capacity().vcpus);
    set_if_changed(node, "memory_mb", facts_.memory_mib);
    set_if_changed(node, "local_gb", facts_.disk_total_gib);
    set_if_changed(node, "cpu_info", facts_.cpu_info.dump());
    set_if_changed(node, "disk_available_least", facts_.disk_available_least_gib);
    Json specs = Json::array();
    for (const auto& triple : facts_.supported_instances.items()) {
        auto spec = conductor_.make("HVSpec");
        spec.set_unchanged("arch", triple.at(0));
        spec.set_unchanged("hv_type", triple.at(1));
        spec.set_unchanged("vm_mode", triple.at(2));
        specs.push_back(spec.to_primitive());
    }
    if (node.get("pci_device_pools").is_null()) { // a host without PCI devices for guests
        auto pools = conductor_.make("PciDevicePoolList");
        pools.set("objects", Json::array());
        node.set("pci_device_pools", pools.to_primitive());
    }
    if (node.get("supported_hv_specs").size() != specs.size())
        node.set("supported_hv_specs", std::move(specs));
}

void HostReport::write_usage(objects::Object& node, const BooksNow& books) const {
    const claims::Usage& usage = books.usage;
    set_if_changed(node, "vcpus_used", usage.vcpus_used);
    set_if_changed(node, "memory_mb_used", usage.memory_mb_used);
    set_if_changed(node, "local_gb_used", usage.local_gb_used);
    set_if_changed(node, "free_ram_mb", usage.free_ram_mb);
    set_if_changed(node, "free_disk_gb", usage.free_disk_gb);
    set_if_changed(node, "running_vms", usage.running_vms);
    set_if_changed(node, "current_workload", usage.current_workload);
    Json stats = Json::object();
    for (const auto& [key, value] : usage.stats)
        stats.set(key, value);
    stats.set("failed_builds", std::to_string(books.failed_builds));
    set_if_changed(node, "stats", std::move(stats));
    set_if_changed(node,
                   "numa_topology",
                   usage.numa_topology.is_null() ? Json() : Json(usage.numa_topology.dump()));
    set_if_changed(node, "metrics", "[]");
}

Result<objects::Object> HostReport::create_node(const rpc::Context& context,
                                                const BooksNow& books) {
    const auto release = conductor_.profile();
    auto node = conductor_.make("ComputeNode");
    write_facts(node);
    write_usage(node, books);
    node.unset("metrics");
    const auto ratio = [](const std::optional<double>& set,
                          const std::optional<double>& initial,
                          double fallback) {
        return set && *set > 0 ? *set : initial.value_or(fallback);
    };
    const auto& wished = options_.inventory;
    node.set("cpu_allocation_ratio",
             ratio(wished.cpu_allocation_ratio,
                   wished.initial_cpu_allocation_ratio,
                   release->initial_cpu_ratio));
    node.set("ram_allocation_ratio",
             ratio(wished.ram_allocation_ratio,
                   wished.initial_ram_allocation_ratio,
                   release->initial_ram_ratio));
    node.set("disk_allocation_ratio",
             ratio(wished.disk_allocation_ratio,
                   wished.initial_disk_allocation_ratio,
                   release->initial_disk_ratio));
    NOVALET_TRY(conductor_.create_compute_node(node, context));
    log::info("compute node record created",
              {{"node", facts_.hostname}, {"uuid", node.text("uuid")}});
    return node;
}

/// Record and provider are set together, when there is a record.
Result<bool> HostReport::find_or_create_node(const rpc::Context& context, const BooksNow& books) {
    if (node_.valid())
        return false;
    auto found = conductor_.compute_node(options_.host, facts_.hostname, context);
    const bool created = !found;
    if (!found && found.error().code != Code::NotFound)
        return Failure(found.error());
    if (created)
        found = create_node(context, books);
    if (!found)
        return Failure(found.error());
    const std::string uuid = found->text("uuid");
    const auto id_file = options_.state_path / "compute_id";
    // Kept on every release: a later one refuses to start without it.
    if (const auto known = read_file(id_file); !known || trim(*known) != uuid)
        if (const auto written = write_file_atomically(id_file, uuid + "\n"); !written)
            log::warning("the compute_id file cannot be written",
                         {{"error", written.error().text}});
    provider_ = std::make_unique<clients::ProviderSync>(
        placement_, uuid, facts_.hostname, options_.association_refresh);
    node_ = std::move(*found);
    this_node_.set_record({node_.get("id").as_int(), uuid});
    write_facts(node_);
    return created;
}

/// For dry runs beside the agent; nothing depends on it.
void HostReport::leave_books(const BooksNow& now) {
    HostBooks books;
    books.written_at =
        std::chrono::duration_cast<std::chrono::seconds>(system_clock().wall().time_since_epoch())
            .count();
    books.numa_topology = now.usage.numa_topology;
    books.cpu_allocation_ratio = node_.get("cpu_allocation_ratio").as_double(1);
    books.ram_allocation_ratio = node_.get("ram_allocation_ratio").as_double(1);
    if (const auto written = write_host_books(host_books_path(options_.state_path), books);
        !written)
        log::warning("the host's books cannot be left for `novalet explain`",
                     {{"error", written.error().text}});
}

Result<void> HostReport::save(const rpc::Context& context, const BooksNow& books) {
    write_usage(node_, books);
    leave_books(books);
    return node_.changes().empty() ? Result<void>() : conductor_.save_compute_node(node_, context);
}

Result<void> HostReport::sync_placement(const rpc::Context& context) {
    if (!disabled_)
        if (const auto service = conductor_.service_of_compute_host(options_.host, context))
            disabled_ = service->get("disabled").as_bool();
    return write_provider(context);
}

Result<void> HostReport::set_enabled(const rpc::Context& context, bool enabled) {
    disabled_ = !enabled;
    return provider_ ? write_provider(context) : Result<void>();
}

Result<void> HostReport::write_provider(const rpc::Context& context) {
    const auto described = description();
    const auto version = static_cast<unsigned>(conductor_.profile()->service_version);
    return provider_->sync(context, [&](const auto& inventories, const auto& traits) {
        return clients::ProviderWish{
            provider::inventories(described, options_.inventory, inventories, version),
            provider::traits(described, traits, disabled_, version)};
    });
}

} // namespace novalet::tasks
