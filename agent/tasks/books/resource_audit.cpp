// The tracker's other half: the books beside the records, and what the host reports of them.
#include "agent/core/log.hpp"
#include "agent/tasks/books/leftovers.hpp"
#include "agent/tasks/books/resource_tracker.hpp"
#include "agent/tasks/records/operation.hpp"

#include <algorithm>
#include <random>

namespace novalet::tasks {

namespace claims = scheduler_hooks::claims;
namespace model = scheduler_hooks::model;

namespace {

/// A step of a move will change records soon, perhaps one of another host.
bool is_in_motion(const HostRecords& records) {
    for (const auto* servers : {&records.instances, &records.elsewhere})
        for (const auto& [uuid, server] : *servers) {
            const auto& task = server.text("task_state");
            if (task.starts_with("resize_") || task.starts_with("rebuild") || task == "migrating")
                return true;
        }
    return false;
}

} // namespace

ResourceTracker::Reading ResourceTracker::begin_reading() const {
    const std::lock_guard lock(ledger_mutex_);
    Reading reading;
    reading.as_of = ledger_.revision();
    reading.being_claimed = being_claimed_;
    for (const auto& [move, claim] : ledger_.moves())
        if (move.side == claims::Side::Source)
            reading.sources.push_back(
                {claim.instance, move, claim.amounts, claim.state, claim.topology, claim.started});
    return reading;
}

/// Records change behind our back only by hand or by other hosts: without work of our own they are
/// compared rarely, and not by all hosts at once.
Result<std::optional<HostRecords>> ResourceTracker::read_records(const rpc::Context& context) {
    const auto now = system_clock().monotonic();
    if (!something_happened_.exchange(false) && now < records_due_)
        return std::optional<HostRecords>();
    auto records = compare_with_records(context);
    if (!records) {
        something_happened_ = true;
        return Failure(records.error());
    }
    if (is_in_motion(*records))
        something_happened_ = true;
    report_.forget_enabled(); // an operator's, too
    std::minstd_rand random{std::random_device{}()};
    std::uniform_int_distribution<std::int64_t> early(0, options_.records_refresh.count() / 4);
    records_due_ = now + options_.records_refresh - Seconds(early(random));
    return std::optional<HostRecords>(std::move(*records));
}

Result<HostRecords> ResourceTracker::compare_with_records(const rpc::Context& context) {
    const Reading reading = begin_reading();
    std::set<std::string> departed;
    for (const auto& source : reading.sources)
        departed.insert(source.instance.str());
    NOVALET_ASSIGN(auto records, read_host_records(conductor_, names(), departed));
    for (auto& [uuid, instance] : records.instances)
        correct_compute_id(context, instance);
    NOVALET_ASSIGN(const auto usage, usage_of(records, names(), reading.sources));
    give_up(context, records, usage.stale, reading);
    const std::lock_guard lock(ledger_mutex_);
    ledger_.reconcile(usage.claims, reading.as_of);
    return records;
}

/// nova.compute.resource_tracker, _update_usage_from_migrations: a move that a later one has
/// overtaken is at its end. Not one whose claim is made right now: the server's record does not
/// name it yet.
void ResourceTracker::give_up(const rpc::Context& context,
                              HostRecords& records,
                              const std::vector<std::string>& stale,
                              const Reading& reading) {
    const auto is_new = [&](const std::string& migration) {
        const std::lock_guard lock(ledger_mutex_);
        const auto* claim =
            ledger_.find_move({claims::MigrationUuid(migration), claims::Side::Destination});
        return reading.being_claimed.contains(migration) || being_claimed_.contains(migration) ||
               (claim != nullptr && (claim->owned || claim->revision > reading.as_of));
    };
    for (auto& migration : records.migrations) {
        const std::string uuid = migration.text("uuid");
        if (std::find(stale.begin(), stale.end(), uuid) == stale.end() || is_new(uuid))
            continue;
        log::info("a migration that did not come to its end is marked as failed",
                  {{"migration", uuid}, {"instance", migration.text("instance_uuid")}});
        migration.set("status", "error");
        warn("a migration that did not come to its end could not be marked",
             conductor_.save_migration(migration, context));
    }
}

/// Nova (ResourceTracker._ensure_compute_id_for_instances) mends servers of older releases so.
void ResourceTracker::correct_compute_id(const rpc::Context& context,
                                         objects::Object& instance) const {
    const auto record = node_.record();
    if (!record || !conductor_.profile()->node_ids ||
        instance.get("compute_id").as_int() == record->id)
        return;
    log::info("the server's record names our node from now on",
              {{"instance", instance.text("uuid")}, {"compute_id", record->id}});
    instance.set("compute_id", record->id);
    warn("the node of a server could not be corrected",
         save_instance({conductor_, options_.host}, context, instance));
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
    NOVALET_ASSIGN(auto facts, hypervisor_.facts());
    take_facts(std::move(facts));
    return {};
}

void ResourceTracker::take_facts(hypervisor::HostFacts facts) {
    report_.set_facts(std::move(facts));
    const std::lock_guard lock(ledger_mutex_);
    ledger_.set_capacity(report_.capacity());
}

/// What could not be read or removed is left to the next comparison with the records.
void ResourceTracker::heal(const HostRecords& records) {
    const auto here = instances();
    const auto healed = heal_allocations(conductor_,
                                         allocations_,
                                         records,
                                         std::set<std::string>(here.begin(), here.end()),
                                         names());
    if (!healed)
        log::warning("allocations of servers that are gone could not be looked for",
                     {{"error", healed.error().text}});
}

Result<void> ResourceTracker::report(const rpc::Context& context, bool with_placement) {
    NOVALET_TRY(report_.save(context, books_now()));
    return with_placement ? report_.sync_placement(context) : Result<void>();
}

Result<std::optional<HostRecords>> ResourceTracker::renew(bool startup) {
    const auto context = rpc::Context::admin();
    NOVALET_ASSIGN(auto facts, hypervisor_.facts());
    const std::lock_guard lock(report_mutex_);
    take_facts(std::move(facts));
    NOVALET_ASSIGN(const bool created, report_.find_or_create_node(context, books_now()));
    NOVALET_ASSIGN(auto records, read_records(context));
    NOVALET_TRY(tend_pages());
    auto reported = report(context, !startup || created);
    if (!reported && startup && reported.error().code == Code::AlreadyExists)
        return Failure(reported.error());
    if (!reported)
        log::error("the host could not be reported completely; the next audit tries again",
                   {{"error", reported.error().text}});
    if (created)
        records.reset(); // nobody can hold anything of a host that was not there
    return records;
}

Result<void> ResourceTracker::refresh(bool startup) {
    NOVALET_ASSIGN(const auto records, renew(startup));
    if (startup)
        something_happened_ = true; // allocations are left to the first audit
    else if (records)
        heal(*records);
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
        if (!report_.has_node())
            return;
        if (const auto done = report(rpc::Context::admin(), false); !done)
            log::warning("usage could not be reported; the next audit does it",
                         {{"error", done.error().text}});
    });
}

} // namespace novalet::tasks
