#pragma once
// The host's books over time: claims, the audit, ComputeNode record and Placement provider
// (reference 04 §7, 05). The ledger is one value under a short lock; no lock is held over I/O but
// the one that keeps two reports from overtaking each other.
#include "agent/clients/placement.hpp"
#include "agent/core/task_pool.hpp"
#include "agent/objects/conductor.hpp"
#include "agent/tasks/books/resources.hpp"
#include "hypervisor/hypervisor.hpp"
#include "scheduler_hooks/claims/ledger.hpp"
#include "scheduler_hooks/placement/provider.hpp"

#include <atomic>
#include <filesystem>

namespace novalet::tasks {

struct TrackerOptions {
    std::string host;
    std::string my_ip;
    std::filesystem::path state_path; ///< for the compute_id file
    std::string virt_type = "kvm";
    bool cpu_sets_configured = false;
    bool packing = false;
    bool count_failed_builds = true; ///< consecutive_build_service_disable_threshold > 0
    scheduler_hooks::placement::InventoryOptions inventory;
    std::set<std::string> excluded_image_types;
    Seconds association_refresh{300};
    /// How old records may be that an audit compares the books with, while nothing happens on the
    /// host. After a claim, a drop or a change of state the next audit reads them anew.
    Seconds records_refresh{600};
};

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
    [[nodiscard]] std::string node_name() const;

    [[nodiscard]] Result<void>
    claim(const rpc::Context& context, objects::Object& instance, const Json& limits) override;
    void drop(const rpc::Context& context, objects::Object& instance, bool unset_host) override;
    void update(const objects::Object& instance) override;
    [[nodiscard]] std::vector<std::string> instances() const override;
    void build_finished(bool ok) override;
    [[nodiscard]] Result<void> delete_allocation(const std::string& consumer) override;
    [[nodiscard]] Result<void> remove_from_allocation(const std::string& consumer,
                                                      const std::string& node) override;
    [[nodiscard]] Result<std::vector<std::string>> consumers() override;
    [[nodiscard]] Result<void> set_enabled(bool enabled) override;

  private:
    [[nodiscard]] Result<void> refresh(bool startup);
    /// True when the record is new.
    [[nodiscard]] Result<bool> find_or_create_node(const rpc::Context& context);
    [[nodiscard]] Result<objects::Object> create_node(const rpc::Context& context);
    [[nodiscard]] Result<void> tend_pages();
    [[nodiscard]] Result<void> read_records(const rpc::Context& context);
    [[nodiscard]] Result<void> read_claims(const rpc::Context& context);
    void correct_compute_id(const rpc::Context& context, objects::Object& instance) const;
    void name_host(objects::Object& instance) const;
    [[nodiscard]] Result<void> report(const rpc::Context& context, bool with_placement);
    [[nodiscard]] Result<void> sync_placement(const rpc::Context& context);
    /// Uuid of the node's provider; NotFound before there is a node.
    [[nodiscard]] Result<std::string> provider_uuid();
    void leave_books();
    void report_soon();
    void set_facts(objects::Object& node) const;
    void set_usage(objects::Object& node);
    [[nodiscard]] scheduler_hooks::claims::HostCapacity capacity() const;
    [[nodiscard]] scheduler_hooks::placement::HostDescription description() const;

    const TrackerOptions options_;
    objects::Conductor& conductor_;
    hypervisor::Hypervisor& hypervisor_;
    clients::Placement& placement_;
    TaskPool& pool_;
    HostPages* const pages_;

    mutable std::mutex ledger_mutex_; ///< guards ledger_ and failed_builds_
    scheduler_hooks::claims::Ledger ledger_;
    unsigned failed_builds_ = 0;
    std::mutex report_mutex_; ///< guards facts_, node_ and provider_; held over reports
    hypervisor::HostFacts facts_;
    objects::Object node_;
    std::unique_ptr<clients::ProviderSync> provider_;
    std::optional<bool> disabled_; ///< none: to be read from the service record
    MonotonicTime records_due_{};  ///< when the audit reads records although nothing happened
    mutable std::mutex name_mutex_;
    std::string node_name_;
    std::int64_t node_id_ = 0; ///< of the ComputeNode record; 0 = not known yet
    std::atomic<bool> something_happened_{false};
    std::atomic<bool> report_queued_{false};
};

} // namespace novalet::tasks
