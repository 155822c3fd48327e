#pragma once
// The host's books: what it has, who claimed what, what is left. One value: copies are snapshots.
// No locks inside; the owner holds one for the few µs of a verb and never across I/O.
// Rules: nova.compute.resource_tracker (usage, moves), nova.compute.stats, nova.compute.claims.
#include "agent/core/json.hpp"
#include "agent/core/uuid.hpp"
#include "scheduler_hooks/model/guest_topology.hpp"
#include "scheduler_hooks/model/host_topology.hpp"
#include "scheduler_hooks/model/limits.hpp"
#include "scheduler_hooks/model/pci.hpp"
#include "scheduler_hooks/numa/fit.hpp"

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace novalet::scheduler_hooks::claims {

using MigrationUuid = Id<struct MigrationUuidTag>;

/// Which end of a migration a claim is for. A resize on one host has both ends there.
enum class Side { Source, Destination };
struct Move {
    MigrationUuid migration;
    Side side = Side::Destination;
    [[nodiscard]] auto operator<=>(const Move&) const = default;
};

/// What the host has. Usage inside `topology` is ignored: the ledger counts it itself.
struct HostCapacity {
    std::int64_t vcpus = 0; ///< shared CPUs
    std::int64_t memory_mib = 0;
    std::int64_t local_gib = 0;
    std::int64_t reserved_vcpus = 0; ///< reserved_host_cpus
    std::int64_t reserved_memory_mib = 0;
    std::int64_t reserved_disk_gib = 0; ///< reserved_host_disk_mb / 1024, rounded down
    model::HostTopology topology;       ///< no cells: no NUMA test, guests keep no topology
};

/// What a guest takes by its flavor.
struct Amounts {
    std::int64_t vcpus = 0;
    std::int64_t memory_mib = 0;
    std::int64_t root_gib = 0; ///< 0 for volume-backed servers
    std::int64_t ephemeral_gib = 0;
    std::int64_t swap_mib = 0;
    [[nodiscard]] bool operator==(const Amounts&) const = default;
};

/// For the statistics only; texts as in the Instance record, empty task state for None.
struct InstanceState {
    std::string vm_state = "building";
    std::string task_state;
    std::string os_type; ///< empty: None
    std::string project_id;
    [[nodiscard]] bool operator==(const InstanceState&) const = default;
};

struct ClaimRequest {
    InstanceUuid instance;
    Amounts amounts;
    InstanceState state;
    /// numa::constraints() or the stored topology of the instance; empty: no cells asked.
    std::optional<model::GuestTopology> topology;
    std::optional<model::NumaLimits> limits;
    std::vector<model::PciRequest> pci_requests;
    std::vector<model::PciPool> pci_pools; ///< free devices now
    /// Kernel's free huge pages now; empty: not checked. Pages promised to guests that have not
    /// started yet are taken off by the ledger.
    std::vector<numa::KernelPages> kernel_pages;
    /// Live migration: the size the guest's memory has now, KiB; another one is refused.
    std::optional<std::int64_t> must_keep_page_size_kib;
};

struct Claim {
    InstanceUuid instance;
    Amounts amounts;
    InstanceState state;
    std::optional<model::GuestTopology> topology; ///< fitted; empty: none
    bool started = false;                         ///< its pages are really taken in the kernel
    /// An operation is under way that the records may not show yet: only its owner drops it.
    bool owned = false;
    bool conflicting = false;   ///< adopted although its CPUs were taken
    std::uint64_t revision = 0; ///< of the ledger when it was made or changed its place
    /// The instance came to this host by this migration, which can still be reverted.
    std::optional<MigrationUuid> came_by;
};

/// Numbers of ComputeNode (nova.objects.compute_node); none negative but the two `free` ones.
struct Usage {
    std::int64_t vcpus_used = 0;
    std::int64_t memory_mb_used = 0;
    std::int64_t local_gb_used = 0;
    std::int64_t free_ram_mb = 0;
    std::int64_t free_disk_gb = 0;
    std::int64_t running_vms = 0;
    std::int64_t current_workload = 0;
    std::map<std::string, std::string> stats; ///< num_instances, num_vm_active, io_workload, …
    Json numa_topology;                       ///< document with usage, or null
};

/// An instance, or an end of its migration, as the database knows it, for the audit.
struct Record {
    InstanceUuid instance;
    std::optional<Move> move; ///< set: usage of a migration, not of the instance
    Amounts amounts;
    InstanceState state;
    std::optional<model::GuestTopology> topology;
    bool started = true;
    std::optional<MigrationUuid> came_by = std::nullopt; ///< as in Claim
};

struct LedgerOptions {
    bool packing = false;
    bool avoid_pci_cells = false;
};

class Ledger {
  public:
    explicit Ledger(HostCapacity capacity, LedgerOptions options = {});

    /// Would the guest fit? The claim as it would be, nothing recorded. Refusal: exception
    /// ComputeResourcesUnavailable, code ResourceExhausted, the text is Nova's with our explanation
    /// in numbers; reasons() has the rest.
    [[nodiscard]] Result<Claim> test(const ClaimRequest& request) const;
    /// Tests and records. An instance that has a claim already: code AlreadyExists.
    [[nodiscard]] Result<Claim> claim(const ClaimRequest& request);
    /// Tests and records room for the destination of a move, beside a claim that the instance has
    /// here. A migration that has it already: code AlreadyExists. The claim is owned; what another
    /// migration of the instance had here as its destination is given back.
    [[nodiscard]] Result<Claim> claim_move(const MigrationUuid& migration,
                                           const ClaimRequest& request);
    /// The records show the destination now: from here on the audit drops it when they do not.
    void mark_recorded(const MigrationUuid& migration);
    /// Why the request is refused now: one text a reason, for a log field; empty when it fits.
    [[nodiscard]] std::vector<std::string> reasons(const ClaimRequest& request) const;

    /// Records without a test what exists already (start, take-over). CPUs that are taken by
    /// somebody else are not counted twice; the claim is marked `conflicting`. Replaces an earlier
    /// claim of the same instance or migration.
    void adopt(const Record& record);
    /// False: there was none.
    bool drop(const InstanceUuid& instance);
    bool drop_move(const Move& move);

    // How a move goes on. Each verb may be repeated, false: nothing was to be done. What is open
    // counts once, wherever it stands.
    /// The instance is another host's from now on: its claim here is held as the source, for a
    /// revert. With the destination on this host as well nothing happens before arrive().
    bool depart(const InstanceUuid& instance, const MigrationUuid& migration);
    /// The instance is this host's from now on: the destination becomes its claim, the one it had
    /// here becomes the source.
    bool arrive(const InstanceUuid& instance, const MigrationUuid& migration);
    /// The move is final: as arrive(), and the source is given back.
    bool settle(const InstanceUuid& instance, const MigrationUuid& migration);
    /// The move is undone: the destination is given back, also after its arrival, and the source is
    /// the instance's claim again.
    bool revert(const InstanceUuid& instance, const MigrationUuid& migration);

    /// The guest runs: its pages are no longer promised but taken.
    void mark_started(const InstanceUuid& instance);
    void set_state(const InstanceUuid& instance, InstanceState state);

    /// Counts every change of claims.
    [[nodiscard]] std::uint64_t revision() const noexcept { return revision_; }
    /// The audit: `records` were read when revision() was `as_of`. Claims made or changed since
    /// then stay as they are, claims dropped since then stay dropped, all others become what the
    /// records say. A claim that is owned stays, and a build is owned and not started before they
    /// say so.
    void reconcile(const std::vector<Record>& records, std::uint64_t as_of);
    /// New host facts; claims stay.
    void set_capacity(HostCapacity capacity);

    [[nodiscard]] const HostCapacity& capacity() const noexcept { return capacity_; }
    /// Cells with the usage of all claims.
    [[nodiscard]] const model::HostTopology& topology() const noexcept { return used_; }
    [[nodiscard]] const Claim* find(const InstanceUuid& instance) const;
    [[nodiscard]] const Claim* find_move(const Move& move) const;
    [[nodiscard]] const std::map<Move, Claim>& moves() const noexcept { return moves_; }
    [[nodiscard]] Usage usage() const;
    /// Those that have a claim, in order.
    [[nodiscard]] std::vector<InstanceUuid> instances() const;
    /// Instances whose pinned CPUs overlap with others' or are not offered any more.
    [[nodiscard]] std::vector<InstanceUuid> conflicts() const;
    /// Ledger against kernel, per cell and huge page size: pages the kernel should have free minus
    /// pages it has (positive: somebody else took some). Only sizes in `kernel`.
    [[nodiscard]] std::vector<numa::KernelPages>
    page_drift(const std::vector<numa::KernelPages>& kernel) const;

  private:
    [[nodiscard]] std::vector<numa::KernelPages>
    spendable(const std::vector<numa::KernelPages>& kernel) const;
    [[nodiscard]] Result<std::optional<model::GuestTopology>>
    fitted(const ClaimRequest& request) const;
    void count_cells(const model::GuestTopology& guest);
    void add(Claim& claim);
    void count(Claim& claim);
    void uncount(const Claim& claim);
    void recount();
    void put(const InstanceUuid& instance, Claim claim);
    void put(const Move& move, Claim claim);
    [[nodiscard]] std::optional<Claim> take(const InstanceUuid& instance);
    [[nodiscard]] std::optional<Claim> take(const Move& move);

    HostCapacity capacity_;
    LedgerOptions options_;
    model::HostTopology used_;
    numa::HostCounts counts_; ///< of used_, so that a fit need not count
    std::map<InstanceUuid, Claim> instances_;
    std::map<Move, Claim> moves_;
    std::map<InstanceUuid, std::uint64_t> dropped_;
    std::map<Move, std::uint64_t> dropped_moves_;
    std::uint64_t revision_ = 0;
};

} // namespace novalet::scheduler_hooks::claims
