#pragma once
// The conductor's verbs: reading and saving Nova's records (reference 02 §3, §4; 01 §8).
#include "agent/objects/object.hpp"
#include "agent/objects/release.hpp"
#include "agent/rpc/caller.hpp"

#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace novalet::objects {

/// Thread safe. Every call blocks until the conductor answered or the timeout of the caller passed.
/// Remote exceptions come back as Error with `exception` = Nova's class name.
class Conductor {
  public:
    /// `timeout` of each call = rpc_response_timeout.
    Conductor(rpc::Caller& bus, Release release, Milliseconds timeout);

    [[nodiscard]] Release release() const;
    /// Between two operations, when the control plane was upgraded.
    void adopt(Release release);

    /// baseapi.ping until it answers; Cancelled when stopped. Logs what it waits for.
    [[nodiscard]] Result<void> wait_until_alive(const std::stop_token& stop);

    /// object_class_action_versions; the plain result.
    [[nodiscard]] Result<Json> class_action(const std::string& object,
                                            const std::string& method,
                                            Json args,
                                            Json kwargs,
                                            const rpc::Context& context);
    /// object_action; the updates are applied to the object, the method's result is returned.
    [[nodiscard]] Result<Json> action(Object& object,
                                      const std::string& method,
                                      Json args,
                                      Json kwargs,
                                      const rpc::Context& context);

    /// The version of a class that the answering conductor knows (reference 10 §4.2): asks for
    /// `impossible` and reads the refusal. Nothing is changed by it.
    [[nodiscard]] Result<std::string> probe_version(const std::string& object,
                                                    const std::string& impossible,
                                                    const rpc::Context& context);

    // --- instances
    [[nodiscard]] Result<Object> get_instance(const std::string& uuid,
                                              const std::vector<std::string>& expected_attrs,
                                              const rpc::Context& context);
    /// Instances of the host (InstanceList.get_by_host / get_by_host_and_node).
    [[nodiscard]] Result<std::vector<Object>>
    instances_by_host(const std::string& host,
                      const std::optional<std::string>& node,
                      const std::vector<std::string>& expected_attrs,
                      const rpc::Context& context);
    [[nodiscard]] Result<std::vector<Object>> block_devices(const std::string& instance_uuid,
                                                            const rpc::Context& context);
    [[nodiscard]] Result<void> create_fault(const std::string& instance_uuid,
                                            int code,
                                            const std::string& message,
                                            const std::string& details,
                                            const std::string& host,
                                            const rpc::Context& context);
    [[nodiscard]] Result<void>
    save_network_info(Object& instance, const Json& network_info, const rpc::Context& context);
    [[nodiscard]] Result<void> create_virtual_interface(const std::string& instance_uuid,
                                                        const std::string& port_id,
                                                        const std::string& mac,
                                                        const Json& tag,
                                                        const rpc::Context& context);
    [[nodiscard]] Result<void> delete_virtual_interfaces(const std::string& instance_uuid,
                                                         const rpc::Context& context);

    // --- the host
    /// Null object (not valid()) when there is no such record.
    [[nodiscard]] Result<Object>
    service(const std::string& host, const std::string& binary, const rpc::Context& context);
    [[nodiscard]] Result<std::vector<Object>> services(const std::string& binary,
                                                       const rpc::Context& context);
    [[nodiscard]] Result<int> minimum_service_version(const std::string& binary,
                                                      const rpc::Context& context);

    // --- casts
    /// compute_task.build_instances: another host shall try (reference 03 §2.1).
    [[nodiscard]] Result<void> reschedule_build(Json args, const rpc::Context& context);
    /// Fan-out casts to the schedulers.
    [[nodiscard]] Result<void> tell_scheduler_instance(const std::string& host,
                                                       const Object& instance,
                                                       const rpc::Context& context);
    [[nodiscard]] Result<void> tell_scheduler_deleted(const std::string& host,
                                                      const std::string& instance_uuid,
                                                      const rpc::Context& context);
    [[nodiscard]] Result<void> sync_scheduler(const std::string& host,
                                              const std::vector<std::string>& instance_uuids,
                                              const rpc::Context& context);

    /// An empty object of this class in the version of the release in force.
    [[nodiscard]] Object make(const std::string& object) const;

  private:
    [[nodiscard]] Result<Json>
    call(const std::string& method, Json args, const rpc::Context& context);
    [[nodiscard]] Result<std::vector<Object>> list(Result<Json> answer) const;

    rpc::Caller& bus_;
    Milliseconds timeout_;
    mutable std::mutex mutex_;
    std::shared_ptr<const Release> release_;
};

/// Finds the release of the control plane (reference 10 §4.3): the minimum version of the live
/// nova-conductor records, else the impossible-version probe. `forced` (configuration) wins.
[[nodiscard]] Result<Release> detect_release(Conductor& conductor,
                                             const std::optional<Release>& forced,
                                             Seconds service_down_time);

} // namespace novalet::objects
