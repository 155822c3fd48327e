#pragma once
// What operations stand on, as narrow interfaces: the real ones are composed in agent/app, fakes in
// the unit tests. All of them are thread safe.
#include "agent/core/result.hpp"
#include "agent/journal/journal.hpp"
#include "agent/objects/object.hpp"
#include "agent/rpc/caller.hpp"
#include "agent/tasks/event_waiters.hpp"
#include "agent/tasks/guest_request.hpp"
#include "agent/tasks/instance_queue.hpp"
#include "agent/tasks/operation.hpp"
#include "hypervisor/hypervisor.hpp"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace novalet::tasks {

/// Neutron as operations see it (reference 06 §1). NetworkInfo lists as Json.
class Networks {
  public:
    virtual ~Networks() = default;
    /// Ports made or taken, bound to this host, info cache saved. Undone on failure.
    [[nodiscard]] virtual Result<Json> allocate(const rpc::Context& context,
                                                objects::Object& instance,
                                                const Json& requested_networks,
                                                const Json& security_groups) = 0;
    /// Ports deleted or unbound, records removed. Ok when there was nothing.
    [[nodiscard]] virtual Result<void> deallocate(const rpc::Context& context,
                                                  objects::Object& instance,
                                                  const Json& requested_networks) = 0;
    /// The list read anew from Neutron and saved into the info cache; `port` empty = all.
    [[nodiscard]] virtual Result<Json> refresh(const rpc::Context& context,
                                               objects::Object& instance,
                                               const std::string& port = {}) = 0;
    /// Ports bound to this host where they are not, then refresh.
    [[nodiscard]] virtual Result<Json> bind_to_host(const rpc::Context& context,
                                                    objects::Object& instance) = 0;
};

/// Claims and what they make of the host's records (reference 04 §7).
class Resources {
  public:
    virtual ~Resources() = default;
    /// Fits and claims, then saves host, node, launched_on (and compute_id) and numa_topology of
    /// the instance. ComputeResourcesUnavailable with the explanation when it does not fit.
    [[nodiscard]] virtual Result<void>
    claim(const rpc::Context& context, objects::Object& instance, const Json& limits) = 0;
    /// Usage given back; with `unset_host` the instance's host, node and pinning are cleared and
    /// saved as well.
    virtual void drop(const rpc::Context& context, objects::Object& instance, bool unset_host) = 0;
    /// The instance's states changed: usage statistics follow.
    virtual void update(const objects::Object& instance) = 0;
    /// Uuids of the servers that are on this host or being built on it, in order; from the books,
    /// which an audit compares with the records.
    [[nodiscard]] virtual std::vector<std::string> instances() const = 0;
    /// For failed_builds and the consecutive_build_service_disable_threshold.
    virtual void build_finished(bool ok) = 0;
    /// The allocation of a consumer is removed from Placement (forced). Ok when there is none.
    [[nodiscard]] virtual Result<void> delete_allocation(const std::string& consumer) = 0;
    /// What the consumer holds of this host is given back; what it holds elsewhere stays. `node`:
    /// the host's node as records name it; NotFound when it is not ours. Ok when nothing is held.
    [[nodiscard]] virtual Result<void> remove_from_allocation(const std::string& consumer,
                                                              const std::string& node) = 0;
    /// Uuids of servers and migrations that hold something of this host in Placement.
    [[nodiscard]] virtual Result<std::vector<std::string>> consumers() = 0;
    /// Service enabled / disabled: the trait COMPUTE_STATUS_DISABLED follows.
    [[nodiscard]] virtual Result<void> set_enabled(bool enabled) = 0;
};

/// Images with the credentials of one request.
class Images {
  public:
    virtual ~Images() = default;
    [[nodiscard]] virtual std::unique_ptr<hypervisor::ImageSource>
    for_request(const rpc::Context& context) = 0;
};

/// Notifications, when a driver is configured (reference 03 §1.3); otherwise nothing.
class Notifier {
  public:
    virtual ~Notifier() = default;
    /// `action` "create", `phase` "start" | "end" | "error".
    virtual void instance_action(const rpc::Context& context,
                                 const objects::Object& instance,
                                 const std::string& action,
                                 const std::string& phase,
                                 const Error* error = nullptr) = 0;
};

/// Values that operations need of configuration and release.
struct TaskOptions {
    std::string host; ///< CONF.host
    GuestDefaults guest;
    bool vif_plugging_is_fatal = true;
    Seconds vif_plugging_timeout{300};   ///< 0 = do not wait
    unsigned max_concurrent_builds = 10; ///< 0 = unlimited
    Seconds shutdown_timeout{60};        ///< clean power-off
    Seconds shutdown_retry_interval{10};
    bool track_instance_changes = true; ///< tell the scheduler
    bool vnc_enabled = true;
    std::string novncproxy_base_url;
    Seconds console_token_ttl{600};
    bool config_drive_vfat = false;
    /// Last folder below openstack/ of a config drive that the release knows.
    std::string newest_metadata = "2020-10-14";
    std::string dhcp_domain = "novalocal";
    std::string virt_type = "kvm";
    bool resume_guests_state_on_host_boot = false;
    std::filesystem::path instances_path; ///< empty: the host has no files of guests
    Milliseconds retry_pause{5000};       ///< before an operation starts over, see Router
};

struct Services {
    TaskOptions options;
    rpc::Caller& bus;
    objects::Conductor& conductor;
    hypervisor::Hypervisor& hypervisor;
    Networks& networks;
    Resources& resources;
    Images& images;
    Notifier& notifier;
    journal::Journal& journal;
    InstanceQueues& queues;
    TaskPool& pool;
    TaskPool& network_pool; ///< network allocations run beside their builds
    EventWaiters& waiters;

    [[nodiscard]] OperationHost operation_host() const { return {conductor, options.host}; }
};

/// The journal entry an operation works under; queries have none.
class Progress {
  public:
    Progress() = default;
    [[nodiscard]] bool journalled() const noexcept { return journal_ != nullptr; }
    /// The operation came to its end; the entry is closed.
    void finish(journal::Outcome outcome, const std::string& note) const;
    /// `resumed_at`: the step that was under way when an earlier process ended.
    Progress(journal::Journal& journal,
             std::int64_t entry,
             std::optional<std::string> resumed_at = std::nullopt)
        : journal_(&journal), entry_(entry), resumed_at_(std::move(resumed_at)),
          last_(std::make_shared<std::string>(resumed_at_.value_or(""))) {}
    /// The step that begins now; durable before it returns.
    void step(const char* name) const;
    /// Was the operation under way when an earlier process ended?
    [[nodiscard]] bool resumed() const noexcept { return resumed_at_.has_value(); }
    /// The same entry, for a second try in this process.
    [[nodiscard]] Progress again() const;
    [[nodiscard]] std::string resumed_at() const { return resumed_at_.value_or(""); }

  private:
    journal::Journal* journal_ = nullptr;
    std::int64_t entry_ = 0;
    std::optional<std::string> resumed_at_;
    std::shared_ptr<std::string> last_; ///< step; one thread at a time works under an entry
};

} // namespace novalet::tasks
