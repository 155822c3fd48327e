#include "agent/tasks/books/resource_tracker.hpp"

#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/books/host_books.hpp"
#include "agent/tasks/guest/guest_request.hpp"
#include "agent/tasks/records/operation.hpp"
#include "scheduler_hooks/numa/constraints.hpp"

#include <random>

namespace novalet::tasks {

namespace claims = scheduler_hooks::claims;
namespace model = scheduler_hooks::model;
namespace provider = scheduler_hooks::placement;

namespace {

claims::Amounts amounts_of(const Json& instance) {
    const auto flavor = flavor_of(instance["flavor"]);
    claims::Amounts out;
    out.vcpus = flavor.vcpus;
    out.memory_mib = static_cast<std::int64_t>(flavor.memory_mib);
    out.root_gib = static_cast<std::int64_t>(flavor.root_gib);
    out.ephemeral_gib = static_cast<std::int64_t>(flavor.ephemeral_gib);
    out.swap_mib = static_cast<std::int64_t>(flavor.swap_mib);
    return out;
}

claims::InstanceState state_of(const Json& instance) {
    return {instance["vm_state"].as_string(),
            instance["task_state"].as_string(),
            instance["os_type"].as_string(),
            instance["project_id"].as_string()};
}

void set_if_changed(objects::Object& node, const char* field, Json value) {
    if (!node.is_set(field) || node.get(field) != value)
        node.set(field, std::move(value));
}

model::ImageSpec image_for_fit(const Json& instance) {
    const auto image = image_of(instance);
    model::ImageSpec out;
    out.id = image.id;
    out.properties.insert(image.properties.begin(), image.properties.end());
    return out;
}

} // namespace

ResourceTracker::ResourceTracker(TrackerOptions options,
                                 objects::Conductor& conductor,
                                 hypervisor::Hypervisor& hypervisor,
                                 clients::Placement& placement,
                                 TaskPool& pool,
                                 HostPages* pages)
    : options_(std::move(options)), conductor_(conductor), hypervisor_(hypervisor),
      placement_(placement), pool_(pool), pages_(pages),
      ledger_(claims::HostCapacity{}, claims::LedgerOptions{options_.packing, false}) {}

ResourceTracker::~ResourceTracker() = default;

std::string ResourceTracker::node_name() const {
    const std::lock_guard lock(name_mutex_);
    return node_name_;
}

claims::HostCapacity ResourceTracker::capacity() const {
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

provider::HostDescription ResourceTracker::description() const {
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

void ResourceTracker::set_facts(objects::Object& node) const {
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

void ResourceTracker::set_usage(objects::Object& node) {
    claims::Usage usage;
    unsigned failed = 0;
    {
        const std::lock_guard lock(ledger_mutex_);
        usage = ledger_.usage();
        failed = failed_builds_;
    }
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
    stats.set("failed_builds", std::to_string(failed));
    set_if_changed(node, "stats", std::move(stats));
    set_if_changed(node,
                   "numa_topology",
                   usage.numa_topology.is_null() ? Json() : Json(usage.numa_topology.dump()));
    set_if_changed(node, "metrics", "[]");
}

Result<objects::Object> ResourceTracker::create_node(const rpc::Context& context) {
    const auto release = conductor_.profile();
    auto node = conductor_.make("ComputeNode");
    set_facts(node);
    set_usage(node);
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

/// node_ and provider_ are set together, when there is a record.
Result<bool> ResourceTracker::find_or_create_node(const rpc::Context& context) {
    if (node_.valid())
        return false;
    auto found = conductor_.compute_node(options_.host, facts_.hostname, context);
    const bool created = !found;
    if (!found && found.error().code != Code::NotFound)
        return Failure(found.error());
    if (created)
        found = create_node(context);
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
    const std::lock_guard name(name_mutex_);
    node_id_ = node_.get("id").as_int();
    return created;
}

/// Records change behind our back only by hand or by other hosts: without work of our own they are
/// compared rarely, and not by all hosts at once.
Result<void> ResourceTracker::read_records(const rpc::Context& context) {
    const auto now = system_clock().monotonic();
    if (!something_happened_.exchange(false) && now < records_due_)
        return {};
    if (auto read = read_claims(context); !read) {
        something_happened_ = true;
        return read;
    }
    disabled_.reset(); // an operator's, too
    std::minstd_rand random{std::random_device{}()};
    std::uniform_int_distribution<std::int64_t> early(0, options_.records_refresh.count() / 4);
    records_due_ = now + options_.records_refresh - Seconds(early(random));
    return {};
}

/// Nova (ResourceTracker._ensure_compute_id_for_instances) mends servers of older releases so.
void ResourceTracker::correct_compute_id(const rpc::Context& context,
                                         objects::Object& instance) const {
    const auto id = node_.get("id").as_int();
    if (!conductor_.profile()->node_ids || instance.get("compute_id").as_int() == id)
        return;
    log::info("the server's record names our node from now on",
              {{"instance", instance.text("uuid")}, {"compute_id", id}});
    instance.set("compute_id", id);
    warn("the node of a server could not be corrected",
         save_instance({conductor_, options_.host}, context, instance));
}

Result<void> ResourceTracker::read_claims(const rpc::Context& context) {
    std::uint64_t as_of = 0;
    {
        const std::lock_guard lock(ledger_mutex_);
        as_of = ledger_.revision();
    }
    NOVALET_ASSIGN(
        auto instances,
        conductor_.instances_by_host(
            options_.host,
            facts_.hostname,
            {"system_metadata", "numa_topology", "flavor", "migration_context", "resources"},
            context));
    std::vector<claims::Record> records;
    for (auto& instance : instances) {
        const std::string vm = instance.text("vm_state");
        if (vm == "deleted" || vm == "shelved_offloaded")
            continue;
        correct_compute_id(context, instance);
        claims::Record record;
        record.instance = InstanceUuid(instance.text("uuid"));
        record.amounts = amounts_of(instance.data());
        record.state = state_of(instance.data());
        NOVALET_ASSIGN(record.topology,
                       model::guest_topology_from_json(instance.get("numa_topology")));
        records.push_back(std::move(record));
    }
    const std::lock_guard lock(ledger_mutex_);
    ledger_.reconcile(records, as_of);
    return {};
}

Result<void> ResourceTracker::sync_placement(const rpc::Context& context) {
    const auto described = description();
    const auto version = static_cast<unsigned>(conductor_.profile()->service_version);
    if (!disabled_)
        if (const auto service = conductor_.service_of_compute_host(options_.host, context))
            disabled_ = service->get("disabled").as_bool();
    return provider_->sync(context, [&](const auto& inventories, const auto& traits) {
        return clients::ProviderWish{
            provider::inventories(described, options_.inventory, inventories, version),
            provider::traits(described, traits, disabled_, version)};
    });
}

/// For dry runs beside the agent; nothing depends on it.
void ResourceTracker::leave_books() {
    HostBooks books;
    books.written_at =
        std::chrono::duration_cast<std::chrono::seconds>(system_clock().wall().time_since_epoch())
            .count();
    {
        const std::lock_guard lock(ledger_mutex_);
        books.numa_topology = model::to_json(ledger_.topology());
    }
    books.cpu_allocation_ratio = node_.get("cpu_allocation_ratio").as_double(1);
    books.ram_allocation_ratio = node_.get("ram_allocation_ratio").as_double(1);
    if (const auto written = write_host_books(host_books_path(options_.state_path), books);
        !written)
        log::warning("the host's books cannot be left for `novalet explain`",
                     {{"error", written.error().text}});
}

Result<void> ResourceTracker::report(const rpc::Context& context, bool with_placement) {
    set_usage(node_);
    leave_books();
    if (!node_.changes().empty())
        NOVALET_TRY(conductor_.save_compute_node(node_, context));
    return with_placement ? sync_placement(context) : Result<void>();
}

/// Under report_mutex_. The kernel is read and changed without the ledger's lock.
Result<void> ResourceTracker::tend_pages() {
    if (pages_ == nullptr)
        return {};
    const auto kernel = pages_->free_pages();
    std::vector<scheduler_hooks::numa::KernelPages> drift;
    model::HostTopology books;
    {
        const std::lock_guard lock(ledger_mutex_);
        drift = ledger_.page_drift(kernel);
        books = ledger_.topology();
    }
    pages_->show_drift(drift);
    if (!pages_->tend(books))
        return {};
    {
        const std::lock_guard lock(ledger_mutex_);
        books = ledger_.topology();
    }
    pages_->tend(books); // a claim may have come while a pool shrank: what it took comes back
    NOVALET_ASSIGN(facts_, hypervisor_.facts());
    const std::lock_guard lock(ledger_mutex_);
    ledger_.set_capacity(capacity());
    return {};
}

Result<void> ResourceTracker::refresh(bool startup) {
    const auto context = rpc::Context::admin();
    NOVALET_ASSIGN(auto facts, hypervisor_.facts());
    const std::lock_guard lock(report_mutex_);
    facts_ = std::move(facts);
    {
        const std::lock_guard name(name_mutex_);
        node_name_ = facts_.hostname;
    }
    {
        const std::lock_guard ledger(ledger_mutex_);
        ledger_.set_capacity(capacity());
    }
    NOVALET_ASSIGN(const bool created, find_or_create_node(context));
    set_facts(node_);
    NOVALET_TRY(read_records(context));
    NOVALET_TRY(tend_pages());
    auto reported = report(context, !startup || created);
    if (!reported && startup && reported.error().code == Code::AlreadyExists)
        return reported;
    if (!reported)
        log::error("the host could not be reported completely; the next audit tries again",
                   {{"error", reported.error().text}});
    return {};
}

Result<void> ResourceTracker::start() {
    return refresh(true);
}

void ResourceTracker::audit() {
    if (const auto done = refresh(false); !done)
        log::error("the resource audit failed", {{"error", done.error().text}});
}

/// Many claims at once become few reports.
void ResourceTracker::report_soon() {
    something_happened_ = true;
    if (report_queued_.exchange(true))
        return;
    pool_.post([this] {
        report_queued_ = false;
        const std::lock_guard lock(report_mutex_);
        if (!node_.valid())
            return;
        if (const auto done = report(rpc::Context::admin(), false); !done)
            log::warning("usage could not be reported; the next audit does it",
                         {{"error", done.error().text}});
    });
}

void ResourceTracker::name_host(objects::Object& instance) const {
    instance.set("host", options_.host);
    instance.set("launched_on", options_.host);
    const std::lock_guard lock(name_mutex_);
    instance.set("node", node_name_);
    // A conductor that knows the field refuses a node without it (reference 02 §4).
    if (conductor_.profile()->node_ids)
        instance.set("compute_id", node_id_);
}

Result<void>
ResourceTracker::claim(const rpc::Context& context, objects::Object& instance, const Json& limits) {
    const InstanceUuid uuid(instance.text("uuid"));
    NOVALET_ASSIGN(const auto flavor, model::flavor_from_json(instance.get("flavor")));
    claims::ClaimRequest request;
    request.instance = uuid;
    request.amounts = amounts_of(instance.data());
    request.state = state_of(instance.data());
    NOVALET_ASSIGN(request.topology,
                   scheduler_hooks::numa::constraints(flavor, image_for_fit(instance.data())));
    NOVALET_ASSIGN(request.limits, model::limits_from_json(limits));
    NOVALET_ASSIGN(request.pci_requests,
                   model::pci_requests_from_json(instance.get("pci_requests")));
    if (pages_ != nullptr)
        request.kernel_pages = pages_->free_pages();
    claims::Claim claimed;
    {
        const std::lock_guard lock(ledger_mutex_);
        ledger_.drop(uuid); // an earlier attempt of the same build
        NOVALET_ASSIGN(claimed, ledger_.claim(request));
    }
    name_host(instance);
    instance.set("numa_topology", model::to_json(claimed.topology));
    auto saved = save_instance({conductor_, options_.host}, context, instance);
    if (!saved) {
        something_happened_ = true; // perhaps only the answer was lost
        const std::lock_guard lock(ledger_mutex_);
        ledger_.drop(uuid);
        return saved;
    }
    report_soon();
    return {};
}

void ResourceTracker::drop(const rpc::Context& context,
                           objects::Object& instance,
                           bool unset_host) {
    {
        const std::lock_guard lock(ledger_mutex_);
        ledger_.drop(InstanceUuid(instance.text("uuid")));
    }
    if (unset_host) {
        instance.set("host", nullptr);
        instance.set("node", nullptr);
        if (conductor_.profile()->node_ids)
            instance.set("compute_id", nullptr);
        if (const auto saved = save_instance({conductor_, options_.host}, context, instance);
            !saved)
            log::warning("the host of a server could not be cleared",
                         {{"error", saved.error().text}});
    }
    report_soon();
}

void ResourceTracker::update(const objects::Object& instance) {
    const InstanceUuid uuid(instance.text("uuid"));
    {
        const std::lock_guard lock(ledger_mutex_);
        ledger_.set_state(uuid, state_of(instance.data()));
        if (instance.text("vm_state") == "active")
            ledger_.mark_started(uuid);
    }
    report_soon();
}

std::vector<std::string> ResourceTracker::instances() const {
    const std::lock_guard lock(ledger_mutex_);
    std::vector<std::string> out;
    for (const auto& uuid : ledger_.instances())
        out.push_back(uuid.str());
    return out;
}

/// Like nova-compute's, the count is of this process: a restart begins anew.
void ResourceTracker::build_finished(bool ok) {
    {
        const std::lock_guard lock(ledger_mutex_);
        failed_builds_ = ok || !options_.count_failed_builds ? 0 : failed_builds_ + 1;
    }
    report_soon();
}

Result<void> ResourceTracker::delete_allocation(const std::string& consumer) {
    return placement_.delete_allocation(rpc::Context::admin(), consumer);
}

Result<std::string> ResourceTracker::provider_uuid() {
    const std::lock_guard lock(report_mutex_);
    if (!provider_)
        return fail(Code::NotFound, cat("host ", options_.host, " has no compute node record yet"));
    return provider_->uuid();
}

Result<void> ResourceTracker::remove_from_allocation(const std::string& consumer,
                                                     const std::string& node) {
    if (node != node_name())
        return fail(
            Code::NotFound,
            cat("node ", node, " is none of host ", options_.host, ", which is ", node_name()));
    NOVALET_ASSIGN(const auto provider, provider_uuid());
    return placement_.remove_from_allocation(rpc::Context::admin(), consumer, provider);
}

Result<std::vector<std::string>> ResourceTracker::consumers() {
    NOVALET_ASSIGN(const auto provider, provider_uuid());
    return placement_.consumers(rpc::Context::admin(), provider);
}

Result<void> ResourceTracker::set_enabled(bool enabled) {
    const std::lock_guard lock(report_mutex_);
    disabled_ = !enabled;
    if (!provider_)
        return {};
    const auto described = description();
    const auto version = static_cast<unsigned>(conductor_.profile()->service_version);
    return provider_->sync(rpc::Context::admin(), [&](const auto& inventories, const auto& traits) {
        return clients::ProviderWish{
            provider::inventories(described, options_.inventory, inventories, version),
            provider::traits(described, traits, disabled_, version)};
    });
}

} // namespace novalet::tasks
