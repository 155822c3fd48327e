#pragma once
// What the control plane is told of this host: its ComputeNode record and its provider in Placement
// (nova.compute.resource_tracker, nova.virt.libvirt.driver.update_provider_tree).
#include "agent/clients/placement.hpp"
#include "agent/objects/conductor.hpp"
#include "agent/tasks/books/this_node.hpp"
#include "hypervisor/hypervisor.hpp"
#include "scheduler_hooks/claims/ledger.hpp"
#include "scheduler_hooks/placement/provider.hpp"

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>

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

/// What the books say at one moment.
struct BooksNow {
    scheduler_hooks::claims::Usage usage;
    unsigned failed_builds = 0;
};

/// Not thread safe: the tracker's lock over reports guards it.
class HostReport {
  public:
    /// All references outlive this.
    HostReport(const TrackerOptions& options,
               objects::Conductor& conductor,
               clients::Placement& placement,
               ThisNode& this_node);

    /// What the hypervisor says of the host now; comes before everything else.
    void set_facts(hypervisor::HostFacts facts);
    [[nodiscard]] scheduler_hooks::claims::HostCapacity capacity() const;
    /// Asks once; then the record is known. True when it was made now.
    [[nodiscard]] Result<bool> find_or_create_node(const rpc::Context& context,
                                                   const BooksNow& books);
    [[nodiscard]] bool has_node() const noexcept { return node_.valid(); }
    /// The record, when something in it changed, and the books as a file.
    [[nodiscard]] Result<void> save(const rpc::Context& context, const BooksNow& books);
    /// The provider, when it is due or something in it changed.
    [[nodiscard]] Result<void> sync_placement(const rpc::Context& context);
    /// The provider's trait follows at once, if there is a provider yet.
    [[nodiscard]] Result<void> set_enabled(const rpc::Context& context, bool enabled);
    /// The next sync reads from the service's record whether it is disabled.
    void forget_enabled() { disabled_.reset(); }

  private:
    [[nodiscard]] Result<objects::Object> create_node(const rpc::Context& context,
                                                      const BooksNow& books);
    [[nodiscard]] Result<void> write_provider(const rpc::Context& context);
    void write_facts(objects::Object& node) const;
    void write_usage(objects::Object& node, const BooksNow& books) const;
    void leave_books(const BooksNow& now);
    [[nodiscard]] scheduler_hooks::placement::HostDescription description() const;

    const TrackerOptions& options_;
    objects::Conductor& conductor_;
    clients::Placement& placement_;
    ThisNode& this_node_;
    hypervisor::HostFacts facts_;
    objects::Object node_;
    std::unique_ptr<clients::ProviderSync> provider_;
    std::optional<bool> disabled_; ///< none: to be read from the service record
};

} // namespace novalet::tasks
