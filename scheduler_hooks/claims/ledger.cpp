#include "scheduler_hooks/claims/ledger.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/numa/usage.hpp"

#include <algorithm>
#include <set>

namespace novalet::scheduler_hooks::claims {
namespace {

using model::GuestCell;
using model::GuestTopology;
using numa::KernelPages;

constexpr const char* cannot_fit =
    "Requested instance NUMA topology cannot fit the given host NUMA topology";
constexpr const char* cannot_fit_with_pci =
    "Requested instance NUMA topology together with requested PCI devices cannot fit the given "
    "host NUMA topology";

Failure unavailable(const std::string& reasons, const std::string& explanation) {
    std::string text = cat("Insufficient compute resources: ", reasons, '.');
    if (!explanation.empty())
        text += cat(' ', explanation);
    return fail_as("ComputeResourcesUnavailable", Code::ResourceExhausted, std::move(text));
}

numa::FitInput fit_input(const ClaimRequest& request,
                         const model::HostTopology& host,
                         const numa::HostCounts& counts,
                         const std::vector<KernelPages>* kernel,
                         const LedgerOptions& options) {
    return {host,
            *request.topology,
            request.limits ? &*request.limits : nullptr,
            &request.pci_requests,
            &request.pci_pools,
            kernel,
            {options.packing, options.avoid_pci_cells},
            &counts};
}

/// Pages of one size that the guest's cells take on a host cell.
std::int64_t pages_of(const GuestTopology& guest, int cell, std::uint64_t size_kib) {
    std::int64_t pages = 0;
    for (const GuestCell& part : guest.cells)
        if (part.id == cell && part.page_size_kib == static_cast<std::int64_t>(size_kib))
            pages += part.memory_mib * 1024 / static_cast<std::int64_t>(size_kib);
    return pages;
}

/// The guest without its CPUs: what is counted when they belong to somebody else.
GuestTopology without_pins(GuestTopology guest) {
    for (GuestCell& cell : guest.cells) {
        cell.pins.reset();
        cell.reserved.reset();
    }
    return guest;
}

bool works_on_storage(const InstanceState& state) {
    static const std::set<std::string> busy{"resize_prep",
                                            "resize_migrating",
                                            "rebuilding",
                                            "image_snapshot",
                                            "image_backup",
                                            "rescuing",
                                            "unshelving"};
    return state.vm_state == "building" || busy.count(state.task_state) != 0;
}

template <class Map, class Key> const Claim* found(const Map& map, const Key& key) {
    const auto at = map.find(key);
    return at == map.end() ? nullptr : &at->second;
}

Claim claim_from(const Record& record, std::uint64_t revision) {
    Claim claim;
    claim.instance = record.instance;
    claim.amounts = record.amounts;
    claim.state = record.state;
    claim.topology = record.topology;
    claim.started = record.started;
    claim.revision = revision;
    claim.came_by = record.came_by;
    return claim;
}

bool same_claim(const Claim& claim, const Record& record) {
    return claim.instance == record.instance && claim.amounts == record.amounts &&
           claim.topology == record.topology;
}

} // namespace

Ledger::Ledger(HostCapacity capacity, LedgerOptions options)
    : capacity_(std::move(capacity)), options_(options) {
    recount();
}

std::vector<KernelPages> Ledger::spendable(const std::vector<KernelPages>& kernel) const {
    std::vector<KernelPages> out = kernel;
    for (KernelPages& pages : out) {
        const auto promised = [&](const Claim& claim) {
            if (!claim.started && claim.topology)
                pages.free -= pages_of(*claim.topology, pages.cell, pages.size_kib);
        };
        for (const auto& [uuid, claim] : instances_)
            promised(claim);
        for (const auto& [move, claim] : moves_)
            promised(claim);
        pages.free = std::max<std::int64_t>(0, pages.free);
    }
    return out;
}

Result<std::optional<GuestTopology>> Ledger::fitted(const ClaimRequest& request) const {
    // Without cells on either side there is nothing to test, and the guest gets none
    // (nova.virt.hardware.numa_fit_instance_to_host).
    if (!request.topology || used_.empty())
        return std::optional<GuestTopology>();
    const std::vector<KernelPages> kernel = spendable(request.kernel_pages);
    numa::FitResult result = numa::fit(fit_input(request, used_, counts_, &kernel, options_));
    if (!result.topology)
        return unavailable(request.pci_requests.empty() ? cannot_fit : cannot_fit_with_pci,
                           result.refusal->summary);
    if (request.must_keep_page_size_kib &&
        result.topology->cells.front().page_size_kib != *request.must_keep_page_size_kib)
        return unavailable("Requested page size is different from current page size.",
                           cat("Current: ",
                               *request.must_keep_page_size_kib,
                               " KiB, here: ",
                               result.topology->cells.front().page_size_kib,
                               " KiB"));
    return std::move(result.topology);
}

Result<Claim> Ledger::test(const ClaimRequest& request) const {
    Claim claim;
    claim.instance = request.instance;
    claim.amounts = request.amounts;
    claim.state = request.state;
    claim.revision = revision_;
    NOVALET_ASSIGN(claim.topology, fitted(request));
    return claim;
}

Result<Claim> Ledger::claim(const ClaimRequest& request) {
    if (instances_.count(request.instance) != 0)
        return fail(Code::AlreadyExists,
                    cat("instance ", request.instance.str(), " has a claim on this host already"));
    NOVALET_ASSIGN(Claim made, test(request));
    made.owned = true;
    count(made);
    put(request.instance, made);
    return *find(request.instance);
}

Result<Claim> Ledger::claim_move(const MigrationUuid& migration, const ClaimRequest& request) {
    const Move move{migration, Side::Destination};
    if (find_move(move) != nullptr)
        return fail(Code::AlreadyExists,
                    cat("migration ", migration.str(), " has a claim on this host already"));
    std::vector<Move> earlier; // only the latest move of an instance counts
    for (const auto& [other, claim] : moves_)
        if (claim.instance == request.instance && other.side == Side::Destination)
            earlier.push_back(other);
    for (const auto& other : earlier)
        drop_move(other);
    NOVALET_ASSIGN(Claim made, test(request));
    made.owned = true;
    count(made);
    put(move, made);
    return *find_move(move);
}

void Ledger::mark_recorded(const MigrationUuid& migration) {
    const auto at = moves_.find({migration, Side::Destination});
    if (at == moves_.end())
        return;
    at->second.owned = false;
    at->second.revision = ++revision_;
}

std::vector<std::string> Ledger::reasons(const ClaimRequest& request) const {
    if (!request.topology || used_.empty())
        return {};
    const std::vector<KernelPages> kernel = spendable(request.kernel_pages);
    const numa::FitResult result = numa::fit(fit_input(request, used_, counts_, &kernel, options_));
    return result.refusal ? result.refusal->lines() : std::vector<std::string>();
}

void Ledger::adopt(const Record& record) {
    Claim claim = claim_from(record, revision_);
    if (record.move)
        drop_move(*record.move);
    else
        drop(record.instance);
    count(claim);
    if (record.move)
        put(*record.move, std::move(claim));
    else
        put(record.instance, std::move(claim));
}

std::vector<InstanceUuid> Ledger::instances() const {
    std::vector<InstanceUuid> out;
    out.reserve(instances_.size());
    for (const auto& [uuid, claim] : instances_)
        out.push_back(uuid);
    return out;
}

/// Puts and takes leave the count to their callers: a claim that only changes its place is counted.
void Ledger::put(const InstanceUuid& instance, Claim claim) {
    claim.revision = ++revision_;
    dropped_.erase(instance);
    instances_[instance] = std::move(claim);
}

void Ledger::put(const Move& move, Claim claim) {
    claim.revision = ++revision_;
    claim.came_by.reset();
    dropped_moves_.erase(move);
    moves_[move] = std::move(claim);
}

std::optional<Claim> Ledger::take(const InstanceUuid& instance) {
    auto node = instances_.extract(instance);
    if (node.empty())
        return std::nullopt;
    dropped_[instance] = ++revision_;
    return std::move(node.mapped());
}

std::optional<Claim> Ledger::take(const Move& move) {
    auto node = moves_.extract(move);
    if (node.empty())
        return std::nullopt;
    dropped_moves_[move] = ++revision_;
    return std::move(node.mapped());
}

bool Ledger::drop(const InstanceUuid& instance) {
    const auto claim = take(instance);
    if (claim)
        uncount(*claim);
    return claim.has_value();
}

bool Ledger::drop_move(const Move& move) {
    const auto claim = take(move);
    if (claim)
        uncount(*claim);
    return claim.has_value();
}

bool Ledger::depart(const InstanceUuid& instance, const MigrationUuid& migration) {
    const Claim* own = find(instance);
    const Move source{migration, Side::Source};
    if (own == nullptr || own->came_by == migration || find_move(source) != nullptr ||
        find_move({migration, Side::Destination}) != nullptr)
        return false;
    auto claim = take(instance);
    claim->owned = false;
    claim->started = false; // its pages are free, and promised to it for a revert
    put(source, std::move(*claim));
    return true;
}

bool Ledger::arrive(const InstanceUuid& instance, const MigrationUuid& migration) {
    const Move source{migration, Side::Source};
    const Move destination{migration, Side::Destination};
    if (find_move(destination) == nullptr)
        return false;
    if (find(instance) != nullptr) {
        drop_move(source); // before anything is out of its place: a drop may count anew
        auto own = take(instance);
        own->owned = false;
        own->started = false;
        put(source, std::move(*own));
    }
    auto arrived = take(destination);
    arrived->owned = false;
    arrived->came_by = migration;
    put(instance, std::move(*arrived));
    return true;
}

bool Ledger::settle(const InstanceUuid& instance, const MigrationUuid& migration) {
    const bool arrived = arrive(instance, migration);
    if (const auto own = instances_.find(instance);
        own != instances_.end() && own->second.came_by == migration) {
        own->second.came_by.reset();
        own->second.revision = ++revision_;
    }
    return drop_move({migration, Side::Source}) || arrived;
}

bool Ledger::revert(const InstanceUuid& instance, const MigrationUuid& migration) {
    bool changed = drop_move({migration, Side::Destination});
    if (const Claim* own = find(instance); own != nullptr && own->came_by == migration)
        changed = drop(instance) || changed;
    const Move source{migration, Side::Source};
    if (find_move(source) == nullptr)
        return changed;
    drop(instance);
    auto claim = take(source);
    put(instance, std::move(*claim));
    return true;
}

void Ledger::mark_started(const InstanceUuid& instance) {
    if (const auto at = instances_.find(instance); at != instances_.end()) {
        at->second.started = true;
        at->second.owned = false;
    }
    for (auto& [move, claim] : moves_)
        if (claim.instance == instance && move.side == Side::Destination)
            claim.started = true;
}

void Ledger::set_state(const InstanceUuid& instance, InstanceState state) {
    const auto at = instances_.find(instance);
    if (at != instances_.end())
        at->second.state = std::move(state);
}

void Ledger::reconcile(const std::vector<Record>& records, std::uint64_t as_of) {
    // Only what the records can know: a claim or a drop after they were read is newer than they.
    const auto newer = [&](const auto& dropped, const auto& key) {
        const auto at = dropped.find(key);
        return at != dropped.end() && at->second > as_of;
    };
    std::map<InstanceUuid, Claim> instances;
    std::map<Move, Claim> moves;
    const auto keep = [&](auto& into, const auto& key, const Record& record, const Claim* old) {
        Claim claim = old != nullptr ? *old : claim_from(record, revision_);
        if (old != nullptr && old->revision <= as_of) {
            if (!same_claim(*old, record))
                claim = claim_from(record, revision_);
            claim.state = record.state;
            claim.came_by = record.came_by;
            const bool built = record.state.vm_state != "building";
            claim.started = old->started || (record.started && built);
            claim.owned = old->owned && (record.move || !built);
        }
        into[key] = std::move(claim);
    };
    for (const Record& record : records) {
        if (record.move) {
            if (!newer(dropped_moves_, *record.move))
                keep(moves, *record.move, record, find_move(*record.move));
        } else if (!newer(dropped_, record.instance)) {
            keep(instances, record.instance, record, find(record.instance));
        }
    }
    for (const auto& [uuid, claim] : instances_)
        if (claim.revision > as_of || claim.owned)
            instances.try_emplace(uuid, claim);
    // The records may be the first to say that a server has come: then its claim is the instance's.
    const auto has_come = [&](const Claim& claim) {
        return claim.revision <= as_of && instances.count(claim.instance) != 0 &&
               instances_.count(claim.instance) == 0;
    };
    for (const auto& [move, claim] : moves_)
        if (claim.revision > as_of || (claim.owned && !has_come(claim)))
            moves.try_emplace(move, claim);
    instances_ = std::move(instances);
    moves_ = std::move(moves);
    std::erase_if(dropped_, [&](const auto& entry) { return entry.second <= as_of; });
    std::erase_if(dropped_moves_, [&](const auto& entry) { return entry.second <= as_of; });
    recount();
}

void Ledger::set_capacity(HostCapacity capacity) {
    capacity_ = std::move(capacity);
    recount();
}

const Claim* Ledger::find(const InstanceUuid& instance) const {
    return found(instances_, instance);
}

const Claim* Ledger::find_move(const Move& move) const {
    return found(moves_, move);
}

Usage Ledger::usage() const {
    Usage out;
    out.vcpus_used = capacity_.reserved_vcpus;
    out.memory_mb_used = capacity_.reserved_memory_mib;
    std::int64_t disk_mib = capacity_.reserved_disk_gib * 1024;
    const auto take = [&](const Claim& claim) {
        out.vcpus_used += claim.amounts.vcpus;
        out.memory_mb_used += claim.amounts.memory_mib;
        disk_mib +=
            (claim.amounts.root_gib + claim.amounts.ephemeral_gib) * 1024 + claim.amounts.swap_mib;
    };
    std::map<std::string, std::int64_t> counts;
    std::int64_t io_workload = 0;
    const auto or_none = [](const std::string& text) { return text.empty() ? "None" : text; };
    for (const auto& [uuid, claim] : instances_) {
        take(claim);
        ++counts[cat("num_vm_", claim.state.vm_state)];
        ++counts[cat("num_task_", or_none(claim.state.task_state))];
        ++counts[cat("num_os_type_", or_none(claim.state.os_type))];
        ++counts[cat("num_proj_", claim.state.project_id)];
        io_workload += works_on_storage(claim.state) ? 1 : 0;
        out.current_workload += claim.state.task_state.empty() ? 0 : 1;
    }
    for (const auto& [move, claim] : moves_)
        take(claim);
    out.running_vms = static_cast<std::int64_t>(instances_.size());
    out.local_gb_used = disk_mib / 1024;
    out.free_ram_mb = capacity_.memory_mib - out.memory_mb_used;
    out.free_disk_gb = capacity_.local_gib - out.local_gb_used;
    if (!instances_.empty()) { // Nova's statistics of an empty host have neither
        counts["num_instances"] = out.running_vms;
        counts["io_workload"] = io_workload;
    }
    for (const auto& [name, count] : counts)
        out.stats[name] = cat(count);
    out.numa_topology = model::to_json(used_);
    return out;
}

std::vector<InstanceUuid> Ledger::conflicts() const {
    std::vector<InstanceUuid> out;
    for (const auto& [uuid, claim] : instances_)
        if (claim.conflicting)
            out.push_back(uuid);
    for (const auto& [move, claim] : moves_)
        if (claim.conflicting)
            out.push_back(claim.instance);
    return out;
}

std::vector<KernelPages> Ledger::page_drift(const std::vector<KernelPages>& kernel) const {
    std::vector<KernelPages> drift;
    for (const KernelPages& pages : spendable(kernel)) {
        const model::HostCell* cell = used_.cell(pages.cell);
        const model::PagePool* pool = cell == nullptr ? nullptr : cell->pool(pages.size_kib);
        if (pool != nullptr)
            drift.push_back({pages.cell, pages.size_kib, pool->free() - pages.free});
    }
    return drift;
}

void Ledger::count(Claim& claim) {
    add(claim);
    if (claim.topology)
        count_cells(*claim.topology);
}

/// Usage alone, without the counts beside it.
void Ledger::add(Claim& claim) {
    claim.conflicting = false;
    if (!claim.topology || used_.empty())
        return;
    if (!numa::add_usage(used_, *claim.topology)) {
        claim.conflicting = true;
        discard(numa::add_usage(used_, without_pins(*claim.topology)),
                "without CPUs there is nothing it could refuse");
    }
}

void Ledger::count_cells(const GuestTopology& guest) {
    for (const GuestCell& part : guest.cells)
        if (part.wants_pins())
            for (std::size_t i = 0; i < used_.cells.size(); ++i)
                if (used_.cells[i].id == part.id)
                    counts_[i] = numa::CellCounts(used_.cells[i]);
}

/// The exact inverse of count(); when CPUs were in dispute somebody may own them now, so all is
/// counted anew.
void Ledger::uncount(const Claim& claim) {
    if (!claim.topology || used_.empty())
        return;
    if (!conflicts().empty() || claim.conflicting || !numa::remove_usage(used_, *claim.topology))
        recount();
    else
        count_cells(*claim.topology);
}

/// In the order of the claims' age, so that the earlier one keeps disputed CPUs.
void Ledger::recount() {
    used_ = capacity_.topology;
    for (model::HostCell& cell : used_.cells) {
        cell.pinned_cpus = {};
        cell.cpu_usage = 0;
        cell.memory_usage = 0;
        for (model::PagePool& pool : cell.mempages)
            pool.used = 0;
    }
    std::vector<Claim*> all;
    for (auto& [uuid, claim] : instances_)
        all.push_back(&claim);
    for (auto& [move, claim] : moves_)
        all.push_back(&claim);
    std::stable_sort(all.begin(), all.end(), [](const Claim* a, const Claim* b) {
        return a->revision < b->revision;
    });
    for (Claim* claim : all)
        add(*claim);
    counts_ = numa::count_host(used_);
}

} // namespace novalet::scheduler_hooks::claims
