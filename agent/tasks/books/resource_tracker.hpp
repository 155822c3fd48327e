#pragma once
// The host's books over time: claims, moves and the audit (nova.compute.resource_tracker). The
// ledger is one value under a short lock; no lock is held over I/O but the one that keeps two
// reports from overtaking each other.
#include "agent/core/task_pool.hpp"
#include "agent/tasks/books/allocations.hpp"
#include "agent/tasks/books/host_records.hpp"
#include "agent/tasks/books/host_report.hpp"
#include "agent/tasks/books/resources.hpp"
#include "agent/tasks/books/this_node.hpp"

#include <atomic>
#include <optional>
#include <set>

namespace novalet::tasks {

/// The kernel's huge pages beside the books. Thread safe.
class HostPages {
  public:
    virtual ~HostPages() = default;
    /// Free now, by cell and size; empty when unknown: claims go by the books alone then.
    [[nodiscard]] virtual std::vector<scheduler_hooks::numa::KernelPages> free_pages() const = 0;
    /// What Ledger::page_drift() found.
    virtual void show_drift(const std::vector<scheduler_hooks::numa::KernelPages>& drift) = 0;
    /// Pools grow and shrink by their policy; true when facts are to be read anew.
    virtual bool tend(const scheduler_hooks::model::HostTopology& books) = 0;
};

class ResourceTracker final : public Resources {
  public:
    /// `pages` null: a host without a kernel of its own. All references outlive the tracker.
    ResourceTracker(TrackerOptions options,
                    objects::Conductor& conductor,
                    hypervisor::Hypervisor& hypervisor,
                    clients::Placement& placement,
                    TaskPool& pool,
                    HostPages* pages);
    ~ResourceTracker() override;

    /// The first audit: ComputeNode found or created, provider made. Errors stop the start. The
    /// provider of a node that is known already is left to the next audit, which the caller starts
    /// as soon as it consumes: Placement has its inventory, and its login is what a start waits
    /// for.
    [[nodiscard]] Result<void> start();
    /// The periodic audit; errors are logged.
    void audit();
    [[nodiscard]] std::string node_name() const { return node_.name(); }
    /// What is held of this host; lives as long as the tracker.
    [[nodiscard]] Allocations& allocations() noexcept { return allocations_; }

    [[nodiscard]] Result<void>
    claim(const rpc::Context& context, objects::Object& instance, const Json& limits) override;
    void drop(const rpc::Context& context, objects::Object& instance, bool unset_host) override;
    void update(const objects::Object& instance) override;
    [[nodiscard]] Result<void> move_claim(const rpc::Context& context,
                                          objects::Object& instance,
                                          objects::Object& migration,
                                          const MoveTarget& target) override;
    void depart(const objects::Object& instance, const objects::Object& migration) override;
    void arrive(const objects::Object& instance, const objects::Object& migration) override;
    void settle(const objects::Object& instance, const objects::Object& migration) override;
    void revert(const objects::Object& instance, const objects::Object& migration) override;
    [[nodiscard]] std::vector<std::string> instances() const override;
    void build_finished(bool ok) override;
    [[nodiscard]] Result<void> set_enabled(bool enabled) override;

  private:
    /// What the books are before an audit reads: what is newer than that, it does not touch.
    struct Reading {
        std::uint64_t as_of = 0;
        std::set<std::string> being_claimed;
        std::vector<scheduler_hooks::claims::Record> sources; ///< held for a revert
    };
    /// A migration stands in being_claimed_ from before its record names this host until its claim
    /// is in the books.
    class BeingClaimed;

    [[nodiscard]] Result<void> refresh(bool startup);
    /// Books and reports; gives the records, when they were read, to compare allocations with.
    [[nodiscard]] Result<std::optional<HostRecords>> renew(bool startup);
    [[nodiscard]] Result<void> tend_pages();
    void take_facts(hypervisor::HostFacts facts);
    [[nodiscard]] Reading begin_reading() const;
    /// The records, when they were read.
    [[nodiscard]] Result<std::optional<HostRecords>> read_records(const rpc::Context& context);
    [[nodiscard]] Result<HostRecords> compare_with_records(const rpc::Context& context);
    void give_up(const rpc::Context& context,
                 HostRecords& records,
                 const std::vector<std::string>& stale,
                 const Reading& reading);
    void heal(const HostRecords& records);
    void correct_compute_id(const rpc::Context& context, objects::Object& instance) const;
    void name_host(objects::Object& instance) const;
    [[nodiscard]] Result<void> save_move_target(const rpc::Context& context,
                                                objects::Object& migration) const;
    [[nodiscard]] Result<scheduler_hooks::claims::ClaimRequest>
    request_for(const objects::Object& instance, const MoveTarget& target) const;
    void adopt_if_unknown(const objects::Object& instance);
    [[nodiscard]] bool is_here(const objects::Object& instance) const;
    [[nodiscard]] NodeNames names() const { return {options_.host, node_.name()}; }
    [[nodiscard]] BooksNow books_now() const;
    [[nodiscard]] Result<void> report(const rpc::Context& context, bool with_placement);
    void report_soon();

    const TrackerOptions options_;
    objects::Conductor& conductor_;
    hypervisor::Hypervisor& hypervisor_;
    TaskPool& pool_;
    HostPages* const pages_;
    ThisNode node_;
    PlacementAllocations allocations_;

    mutable std::mutex ledger_mutex_; ///< guards the next three
    scheduler_hooks::claims::Ledger ledger_;
    unsigned failed_builds_ = 0;
    std::set<std::string> being_claimed_;
    std::mutex report_mutex_; ///< guards the next two; held over reports
    HostReport report_;
    MonotonicTime records_due_{}; ///< when the audit reads records although nothing happened
    std::atomic<bool> something_happened_{false};
    std::atomic<bool> report_queued_{false};
};

} // namespace novalet::tasks
