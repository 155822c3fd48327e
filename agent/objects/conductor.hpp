#pragma once
// The conductor's verbs: reading and saving Nova's records (reference 02 §3, §4; 01 §8).
#include "agent/core/clock.hpp"
#include "agent/objects/object.hpp"
#include "agent/objects/release.hpp"
#include "agent/objects/remote_error.hpp"
#include "agent/rpc/caller.hpp"

#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace novalet::objects {

/// Allowed values of a state; nullopt = null is allowed. An empty list = no check.
using ExpectedStates = std::vector<std::optional<std::string>>;

/// Compare-and-swap of Instance.save.
struct Expected {
    ExpectedStates task_state;
    ExpectedStates vm_state;
};

/// Why an instance action event ended badly.
struct EventFailure {
    std::string message; ///< what the user may see; cut to 255 bytes
    std::string details; ///< stands where Nova puts its traceback; never empty on the wire
};

/// Thread safe. Every call blocks until the conductor answered or the timeout of the caller passed.
/// Remote exceptions come back as Error with `exception` = Nova's class name; remote_error.hpp says
/// what they mean. The context decides what the database shows: an operation's own context, or an
/// admin one for the host's records (read_deleted included).
class Conductor {
  public:
    /// `timeout` of each call = rpc_response_timeout. `bus` outlives this.
    Conductor(rpc::Caller& bus, Release release, Milliseconds timeout);

    [[nodiscard]] Release release() const;
    /// The same without a copy; an operation takes it once and keeps it to its end.
    [[nodiscard]] std::shared_ptr<const Release> profile() const;
    /// Between two operations, when the control plane was upgraded.
    void adopt(Release release);

    /// baseapi.ping until it answers; Cancelled when stopped (within ten seconds). Logs what it
    /// waits for. `pause` is kept between tries that fail at once.
    [[nodiscard]] Result<void> wait_until_alive(const std::stop_token& stop,
                                                Milliseconds pause = Milliseconds(1000));

    /// An empty object of this class in the version of the release in force. Throws
    /// std::logic_error for a class that the release does not know.
    [[nodiscard]] Object make(const std::string& object) const;

    // --- the three verbs of the indirection API

    /// object_class_action_versions; the plain result (a primitive, list, scalar or null).
    [[nodiscard]] Result<Json> class_action(const std::string& object,
                                            const std::string& method,
                                            Json args,
                                            Json kwargs,
                                            const rpc::Context& context);
    /// object_action; the updates are applied to the object, the method's result is returned. On an
    /// error the object is as before, changes included. InvalidArgument, and nothing sent, when the
    /// changes of an Instance name a dict that is not loaded.
    [[nodiscard]] Result<Json> action(Object& object,
                                      const std::string& method,
                                      Json args,
                                      Json kwargs,
                                      const rpc::Context& context);
    /// object_backport_versions to the release in force: only for a received object of a major
    /// version that we do not know. Never send an object that the conductor may not know itself:
    /// it would ask itself in an endless chain (reference 10 §3).
    [[nodiscard]] Result<Object> backport(const Object& object, const rpc::Context& context);

    /// The version of a class that the answering conductor knows (reference 10 §4.2): asks for
    /// `impossible` and reads the refusal. Nothing is changed by it.
    [[nodiscard]] Result<std::string> probe_version(const std::string& object,
                                                    const std::string& impossible,
                                                    const rpc::Context& context);

    // --- instances

    [[nodiscard]] Result<Object> get_instance(const std::string& uuid,
                                              const std::vector<std::string>& expected_attrs,
                                              const rpc::Context& context);
    /// Reads those of `fields` that are not loaded, in one call, also of a deleted instance; what
    /// is loaded stays untouched. old_flavor and new_flavor come with "flavor".
    [[nodiscard]] Result<void>
    load(Object& instance, const std::vector<std::string>& fields, const rpc::Context& context);
    /// Writes the changed fields. UnexpectedTaskStateError, UnexpectedDeletingTaskStateError or
    /// InstanceUpdateConflict when the record is not in an expected state. Always sent, also
    /// without changes: Nova's save then re-reads and checks.
    [[nodiscard]] Result<void>
    save_instance(Object& instance, const Expected& expected, const rpc::Context& context);
    [[nodiscard]] Result<void> destroy_instance(Object& instance, const rpc::Context& context);
    /// Re-reads all loaded fields.
    [[nodiscard]] Result<void> refresh_instance(Object& instance, const rpc::Context& context);
    /// Instances of the host (InstanceList.get_by_host / get_by_host_and_node).
    [[nodiscard]] Result<std::vector<Object>>
    instances_by_host(const std::string& host,
                      const std::optional<std::string>& node,
                      const std::vector<std::string>& expected_attrs,
                      const rpc::Context& context);
    /// filters: {"host": text or list, "uuid": [..], "vm_state", "task_state", "deleted": bool,
    /// "soft_deleted": bool, "cleaned": bool}
    [[nodiscard]] Result<std::vector<Object>> instances_by_filters(
        Json filters, const std::vector<std::string>& expected_attrs, const rpc::Context& context);
    [[nodiscard]] Result<std::vector<std::string>>
    instance_uuids_by_host(const std::string& host, const rpc::Context& context);

    /// The event of the action with the context's request id; InstanceActionNotFound (code
    /// NotFound) when there is none.
    [[nodiscard]] Result<void> start_event(const std::string& instance_uuid,
                                           const std::string& event,
                                           const std::string& host,
                                           const rpc::Context& context);
    /// Success without `failure`, else Error.
    [[nodiscard]] Result<void> finish_event(const std::string& instance_uuid,
                                            const std::string& event,
                                            const std::optional<EventFailure>& failure,
                                            const rpc::Context& context);
    /// InstanceFault.create; `message` is cut to 255 bytes at a character boundary.
    [[nodiscard]] Result<void> create_fault(const std::string& instance_uuid,
                                            int code,
                                            const std::string& message,
                                            const std::string& details,
                                            const std::string& host,
                                            const rpc::Context& context);

    // --- networks of an instance

    /// InstanceInfoCache.save; the instance's info_cache field follows. `network_info` = the list
    /// of VIF documents (reference 06 §1.7).
    [[nodiscard]] Result<void>
    save_network_info(Object& instance, const Json& network_info, const rpc::Context& context);
    [[nodiscard]] Result<void> create_virtual_interface(const std::string& instance_uuid,
                                                        const std::string& port_id,
                                                        const std::string& mac,
                                                        const Json& tag,
                                                        const rpc::Context& context);
    [[nodiscard]] Result<std::vector<Object>> virtual_interfaces(const std::string& instance_uuid,
                                                                 const rpc::Context& context);
    [[nodiscard]] Result<void> destroy_virtual_interface(Object& interface,
                                                         const rpc::Context& context);
    [[nodiscard]] Result<void> delete_virtual_interfaces(const std::string& instance_uuid,
                                                         const rpc::Context& context);

    // --- block devices of an instance

    [[nodiscard]] Result<std::vector<Object>> block_devices(const std::string& instance_uuid,
                                                            const rpc::Context& context);
    [[nodiscard]] Result<void> save_block_device(Object& mapping, const rpc::Context& context);
    [[nodiscard]] Result<void> destroy_block_device(Object& mapping, const rpc::Context& context);

    // --- consoles

    /// `token`: a ConsoleAuthToken with console_type, host, port, internal_access_path,
    /// instance_uuid, access_url_base. The answer opens the console: never log it.
    [[nodiscard]] Result<std::string>
    authorize_console(Object& token, Seconds time_to_live, const rpc::Context& context);
    [[nodiscard]] Result<void> clean_console_tokens(const std::string& instance_uuid,
                                                    const rpc::Context& context);
    [[nodiscard]] Result<void> clean_expired_console_tokens(const rpc::Context& context);

    // --- server groups (records of the API database, reference 02 §4)

    /// InstanceGroupNotFound (code NotFound) when the instance is in none.
    [[nodiscard]] Result<Object> group_of_instance(const std::string& instance_uuid,
                                                   const rpc::Context& context);
    /// By uuid or, when `hint` is no uuid, by name.
    [[nodiscard]] Result<Object> group_by_hint(const std::string& hint,
                                               const rpc::Context& context);
    /// Hosts of the group's members but `exclude` (instance uuids).
    [[nodiscard]] Result<std::vector<std::string>> group_hosts(
        Object& group, const std::vector<std::string>& exclude, const rpc::Context& context);

    // --- the host

    /// Null object (not valid()) when there is no such record.
    [[nodiscard]] Result<Object>
    service(const std::string& host, const std::string& binary, const rpc::Context& context);
    [[nodiscard]] Result<Object> service_of_compute_host(const std::string& host,
                                                         const rpc::Context& context);
    /// All records of this binary, disabled ones too.
    [[nodiscard]] Result<std::vector<Object>> services(const std::string& binary,
                                                       const rpc::Context& context);
    /// ServiceTooOld when the cell's minimum is above the version in it; ServiceBinaryExists and
    /// ServiceTopicExists when somebody created it meanwhile.
    [[nodiscard]] Result<void> create_service(Object& service, const rpc::Context& context);
    [[nodiscard]] Result<void> save_service(Object& service, const rpc::Context& context);
    /// The heartbeat: report_count + 1, saved. Counts on also after a failure.
    [[nodiscard]] Result<void> report_alive(Object& service, const rpc::Context& context);
    /// Over all records that are neither deleted nor forced down; 0 = none.
    [[nodiscard]] Result<int> minimum_service_version(const std::string& binary,
                                                      const rpc::Context& context);

    /// ComputeHostNotFound (code NotFound) when there is no such record.
    [[nodiscard]] Result<Object>
    compute_node(const std::string& host, const std::string& nodename, const rpc::Context& context);
    [[nodiscard]] Result<Object> compute_node_by_nodename(const std::string& nodename,
                                                          const rpc::Context& context);
    [[nodiscard]] Result<Object> compute_node_by_uuid(const std::string& uuid,
                                                      const rpc::Context& context);
    [[nodiscard]] Result<std::vector<Object>> compute_nodes(const std::vector<std::string>& uuids,
                                                            const rpc::Context& context);
    /// Empty when the host has none.
    [[nodiscard]] Result<std::vector<Object>> compute_nodes_by_host(const std::string& host,
                                                                    const rpc::Context& context);
    [[nodiscard]] Result<void> create_compute_node(Object& node, const rpc::Context& context);
    [[nodiscard]] Result<void> save_compute_node(Object& node, const rpc::Context& context);

    // --- migrations

    /// Those not at their end whose source or destination is this node, failed ones (status
    /// "error") included: what the audit counts.
    [[nodiscard]] Result<std::vector<Object>> migrations_in_progress(const std::string& host,
                                                                     const std::string& node,
                                                                     const rpc::Context& context);
    /// filters: {"source_compute", "host", "status": text or list, "migration_type", …}
    [[nodiscard]] Result<std::vector<Object>> migrations_by_filters(Json filters,
                                                                    const rpc::Context& context);
    [[nodiscard]] Result<void> save_migration(Object& migration, const rpc::Context& context);

    // --- casts

    /// compute_task.build_instances 1.19: another host shall try (reference 03 §2.1). args:
    /// instances, image, filter_properties, admin_password, injected_files, requested_networks,
    /// security_groups, [block_device_mapping], [legacy_bdm], request_spec, host_lists.
    /// `message_id`: unique id of the cast, the same for each repeat of it.
    [[nodiscard]] Result<void>
    reschedule_build(Json args, const rpc::Context& context, const std::string& message_id);
    /// Fan-out casts to the schedulers.
    [[nodiscard]] Result<void> tell_scheduler_instance(const std::string& host,
                                                       const Object& instance,
                                                       const rpc::Context& context);
    [[nodiscard]] Result<void> tell_scheduler_instances(const std::string& host,
                                                        const std::vector<Object>& instances,
                                                        const rpc::Context& context);
    [[nodiscard]] Result<void> tell_scheduler_deleted(const std::string& host,
                                                      const std::string& instance_uuid,
                                                      const rpc::Context& context);
    [[nodiscard]] Result<void> sync_scheduler(const std::string& host,
                                              const std::vector<std::string>& instance_uuids,
                                              const rpc::Context& context);

  private:
    [[nodiscard]] Result<Json>
    call(const std::string& method, Json args, const rpc::Context& context);
    /// A class action whose answer is one object of `object`; NotFound when it is null.
    [[nodiscard]] Result<Object> get(const std::string& object,
                                     const std::string& method,
                                     Json args,
                                     Json kwargs,
                                     const rpc::Context& context);
    /// A class action whose answer is a list object of class `list`.
    [[nodiscard]] Result<std::vector<Object>> get_list(const std::string& list,
                                                       const std::string& method,
                                                       Json args,
                                                       Json kwargs,
                                                       const rpc::Context& context);
    /// A method without arguments whose result does not matter.
    [[nodiscard]] Result<void>
    run(Object& object, const std::string& method, const rpc::Context& context);
    [[nodiscard]] Result<void>
    fan_out(const std::string& method, Json args, const rpc::Context& context);

    rpc::Caller& bus_;
    const Milliseconds timeout_;
    mutable std::mutex mutex_; ///< guards release_, held for a copy of the pointer only
    std::shared_ptr<const Release> release_;
};

} // namespace novalet::objects
