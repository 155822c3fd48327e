#include "agent/tasks/books/resource_tracker.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/objects/migration.hpp"
#include "agent/tasks/books/migration_context.hpp"
#include "agent/tasks/guest/guest_request.hpp"
#include "agent/tasks/records/operation.hpp"
#include "scheduler_hooks/numa/constraints.hpp"

namespace novalet::tasks {

namespace claims = scheduler_hooks::claims;
namespace model = scheduler_hooks::model;

using objects::MigrationView;

namespace {

model::ImageSpec image_for_fit(const Json& instance) {
    const auto image = image_of(instance);
    model::ImageSpec out;
    out.id = image.id;
    out.properties.insert(image.properties.begin(), image.properties.end());
    return out;
}

InstanceUuid uuid_of(const objects::Object& instance) {
    return InstanceUuid(instance.text("uuid"));
}

claims::MigrationUuid migration_uuid_of(const objects::Object& migration) {
    return claims::MigrationUuid(migration.text("uuid"));
}

} // namespace

class ResourceTracker::BeingClaimed {
  public:
    BeingClaimed(ResourceTracker& tracker, std::string migration)
        : tracker_(tracker), migration_(std::move(migration)) {
        const std::lock_guard lock(tracker_.ledger_mutex_);
        tracker_.being_claimed_.insert(migration_);
    }
    ~BeingClaimed() {
        const std::lock_guard lock(tracker_.ledger_mutex_);
        tracker_.being_claimed_.erase(migration_);
    }
    BeingClaimed(const BeingClaimed&) = delete;
    BeingClaimed& operator=(const BeingClaimed&) = delete;

  private:
    ResourceTracker& tracker_;
    const std::string migration_;
};

ResourceTracker::ResourceTracker(TrackerOptions options,
                                 objects::Conductor& conductor,
                                 hypervisor::Hypervisor& hypervisor,
                                 clients::Placement& placement,
                                 TaskPool& pool,
                                 HostPages* pages)
    : options_(std::move(options)), conductor_(conductor), hypervisor_(hypervisor), pool_(pool),
      pages_(pages), node_(options_.host), allocations_(placement, node_),
      ledger_(claims::HostCapacity{}, claims::LedgerOptions{options_.packing, false}),
      report_(options_, conductor, placement, node_) {}

ResourceTracker::~ResourceTracker() = default;

BooksNow ResourceTracker::books_now() const {
    const std::lock_guard lock(ledger_mutex_);
    return {ledger_.usage(), failed_builds_};
}

// --- servers

void ResourceTracker::name_host(objects::Object& instance) const {
    instance.set("host", options_.host);
    instance.set("launched_on", options_.host);
    instance.set("node", node_.name());
    // A conductor that knows the field refuses a node without it.
    if (conductor_.profile()->node_ids)
        instance.set("compute_id", node_.id());
}

Result<claims::ClaimRequest> ResourceTracker::request_for(const objects::Object& instance,
                                                          const MoveTarget& target) const {
    NOVALET_ASSIGN(const auto flavor, model::flavor_from_json(target.flavor));
    claims::ClaimRequest request;
    request.instance = uuid_of(instance);
    request.amounts = amounts_of(instance.data(), target.flavor);
    request.state = state_of(instance.data());
    NOVALET_ASSIGN(request.topology,
                   scheduler_hooks::numa::constraints(
                       flavor, target.image ? *target.image : image_for_fit(instance.data())));
    NOVALET_ASSIGN(request.limits, model::limits_from_json(target.limits));
    if (pages_ != nullptr)
        request.kernel_pages = pages_->free_pages();
    return request;
}

Result<void>
ResourceTracker::claim(const rpc::Context& context, objects::Object& instance, const Json& limits) {
    const auto uuid = uuid_of(instance);
    NOVALET_ASSIGN(auto request, request_for(instance, {instance.get("flavor"), {}, limits}));
    NOVALET_ASSIGN(request.pci_requests,
                   model::pci_requests_from_json(instance.get("pci_requests")));
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
        ledger_.drop(uuid_of(instance));
    }
    if (unset_host) {
        instance.set("host", nullptr);
        instance.set("node", nullptr);
        if (conductor_.profile()->node_ids)
            instance.set("compute_id", nullptr);
        if (auto topology = model::guest_topology_from_json(instance.get("numa_topology"));
            topology && *topology) {
            (*topology)->clear_host_pinning();
            instance.set("numa_topology", model::to_json(*topology));
        }
        if (const auto saved = save_instance({conductor_, options_.host}, context, instance);
            !saved)
            log::warning("the host of a server could not be cleared",
                         {{"error", saved.error().text}});
    }
    report_soon();
}

void ResourceTracker::update(const objects::Object& instance) {
    {
        const std::lock_guard lock(ledger_mutex_);
        ledger_.set_state(uuid_of(instance), state_of(instance.data()));
        if (instance.text("vm_state") == "active")
            ledger_.mark_started(uuid_of(instance));
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

Result<void> ResourceTracker::set_enabled(bool enabled) {
    const std::lock_guard lock(report_mutex_);
    return report_.set_enabled(rpc::Context::admin(), enabled);
}

// --- moves

/// nova.compute.resource_tracker, _claim_existing_migration
Result<void> ResourceTracker::save_move_target(const rpc::Context& context,
                                               objects::Object& migration) const {
    migration.set("dest_compute", options_.host);
    migration.set("dest_node", node_.name());
    migration.set("dest_host", options_.my_ip);
    if (conductor_.profile()->node_ids)
        migration.set("dest_compute_id", node_.id());
    if (MigrationView(migration).type() != "live-migration")
        migration.set("status", "pre-migrating");
    return conductor_.save_migration(migration, context);
}

Result<void> ResourceTracker::move_claim(const rpc::Context& context,
                                         objects::Object& instance,
                                         objects::Object& migration,
                                         const MoveTarget& target) {
    const auto uuid = migration_uuid_of(migration);
    const MigrationView move(migration);
    NOVALET_TRY(conductor_.load(
        instance,
        {"flavor", "system_metadata", "numa_topology", "pci_requests", "pci_devices", "resources"},
        context));
    const BeingClaimed mark(*this, uuid.str());
    NOVALET_TRY(save_move_target(context, migration));
    NOVALET_ASSIGN(auto request, request_for(instance, target));
    NOVALET_ASSIGN(const Json pci_requests,
                   pci_requests_after_move(conductor_, instance, target.flavor));
    NOVALET_ASSIGN(request.pci_requests, model::pci_requests_from_json(pci_requests));
    if (move.type() == "live-migration") {
        NOVALET_ASSIGN(const auto has,
                       model::guest_topology_from_json(instance.get("numa_topology")));
        if (has && !has->cells.empty())
            request.must_keep_page_size_kib = has->cells.front().page_size_kib;
    }
    claims::Claim claimed;
    {
        const std::lock_guard lock(ledger_mutex_);
        ledger_.drop_move({uuid, claims::Side::Destination}); // an earlier attempt
        NOVALET_ASSIGN(claimed, ledger_.claim_move(uuid, request));
    }
    instance.set(
        "migration_context",
        migration_context(conductor_, instance, move.id(), claimed, pci_requests).to_primitive());
    auto saved = save_instance({conductor_, options_.host}, context, instance);
    {
        const std::lock_guard lock(ledger_mutex_);
        if (!saved)
            ledger_.drop_move({uuid, claims::Side::Destination});
        else if (move.type() != "evacuation")
            ledger_.mark_recorded(uuid);
    }
    something_happened_ = true; // also when perhaps only the answer was lost
    if (saved)
        report_soon();
    return saved;
}

bool ResourceTracker::is_here(const objects::Object& instance) const {
    return instance.text("host") == options_.host && instance.text("node") == node_.name();
}

/// A server that came without a claim of ours (a live migration without NUMA cells, a restart in
/// between). Under ledger_mutex_.
void ResourceTracker::adopt_if_unknown(const objects::Object& instance) {
    if (!is_here(instance))
        return;
    const auto uuid = uuid_of(instance);
    if (ledger_.find(uuid) == nullptr) {
        claims::Record record;
        record.instance = uuid;
        record.amounts = amounts_of(instance.data(), instance.get("flavor"));
        auto topology = model::guest_topology_from_json(instance.get("numa_topology"));
        if (topology)
            record.topology = std::move(*topology);
        else
            log::warning("the topology of a server that came cannot be read: only the audit "
                         "counts its CPUs",
                         {{"error", topology.error().text}});
        ledger_.adopt(record);
    }
    ledger_.set_state(uuid, state_of(instance.data()));
}

void ResourceTracker::depart(const objects::Object& instance, const objects::Object& migration) {
    {
        const std::lock_guard lock(ledger_mutex_);
        ledger_.depart(uuid_of(instance), migration_uuid_of(migration));
    }
    report_soon();
}

void ResourceTracker::arrive(const objects::Object& instance, const objects::Object& migration) {
    {
        const std::lock_guard lock(ledger_mutex_);
        ledger_.arrive(uuid_of(instance), migration_uuid_of(migration));
        adopt_if_unknown(instance);
    }
    report_soon();
}

void ResourceTracker::settle(const objects::Object& instance, const objects::Object& migration) {
    const auto uuid = uuid_of(instance);
    const auto move = migration_uuid_of(migration);
    {
        const std::lock_guard lock(ledger_mutex_);
        if (!is_here(instance))
            ledger_.depart(uuid, move);
        ledger_.settle(uuid, move);
        adopt_if_unknown(instance);
    }
    report_soon();
}

void ResourceTracker::revert(const objects::Object& instance, const objects::Object& migration) {
    {
        const std::lock_guard lock(ledger_mutex_);
        ledger_.revert(uuid_of(instance), migration_uuid_of(migration));
    }
    report_soon();
}

} // namespace novalet::tasks
