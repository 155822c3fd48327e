#pragma once
// A message bus behind which a conductor keeps records, as far as operations on servers use it
// (nova.conductor.manager). What it cannot answer is an error of the test, kept in `unknown`.
#include "agent/core/clock.hpp"
#include "agent/core/text.hpp"
#include "agent/rpc/caller.hpp"
#include "tests/support/diary.hpp"

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace novalet::tests {

/// Every call is noted in the diary as "<Class>.<method> …" when it was carried out; saves of an
/// Instance as "Instance.save <vm_state>/<task_state>" with the states after it. Thread safe.
class FakeConductor final : public rpc::Caller {
  public:
    struct Cast {
        rpc::Target target;
        std::string method;
        Json args;
        rpc::Context context;
    };
    struct Notification {
        std::string topic;
        std::string priority;
        Json message;
    };

    explicit FakeConductor(Diary& diary) : diary_(diary) {}

    // What a test does with the records.
    void put_instance(const Json& data) {
        const std::lock_guard lock(mutex_);
        instances_[data["uuid"].as_string()] = data;
    }
    /// The record's fields; null when there is none.
    [[nodiscard]] Json instance(const std::string& uuid) const {
        const std::lock_guard lock(mutex_);
        const auto found = instances_.find(uuid);
        return found == instances_.end() ? Json() : found->second;
    }
    [[nodiscard]] std::vector<std::string> uuids() const {
        const std::lock_guard lock(mutex_);
        std::vector<std::string> out;
        for (const auto& [uuid, record] : instances_)
            out.push_back(uuid);
        return out;
    }
    void change(const std::string& uuid, const std::string& field, Json value) {
        const std::lock_guard lock(mutex_);
        instances_.at(uuid).set(field, std::move(value));
    }
    void remove_instance(const std::string& uuid) {
        const std::lock_guard lock(mutex_);
        instances_.erase(uuid);
    }
    /// Fields of a Migration.
    void put_migration(const Json& data) {
        const std::lock_guard lock(mutex_);
        migrations_[data["id"].as_int()] = data;
    }
    [[nodiscard]] Json migration(std::int64_t id) const {
        const std::lock_guard lock(mutex_);
        const auto found = migrations_.find(id);
        return found == migrations_.end() ? Json() : found->second;
    }
    void put_mappings(const std::string& uuid, Json primitives) {
        const std::lock_guard lock(mutex_);
        mappings_[uuid] = std::move(primitives);
    }
    /// Ports that have a VirtualInterface of this server, oldest record first.
    [[nodiscard]] std::vector<std::string> recorded_ports(const std::string& uuid) const {
        const std::lock_guard lock(mutex_);
        std::vector<std::string> out;
        for (const auto& [id, record] : interfaces_)
            if (record["instance_uuid"].as_string() == uuid)
                out.push_back(record["uuid"].as_string());
        return out;
    }
    void forget_interface(const std::string& port) {
        const std::lock_guard lock(mutex_);
        std::erase_if(interfaces_,
                      [&](const auto& one) { return one.second["uuid"].as_string() == port; });
    }
    [[nodiscard]] Json interface_of(const std::string& port) const {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, record] : interfaces_)
            if (record["uuid"].as_string() == port)
                return record;
        return {};
    }
    /// Answer of class actions on records that this fake does not keep: "Service.get_by_args", …,
    /// and of calls to other hosts: "call c2 check_instance_shared_storage".
    void answer(const std::string& call, Json result) {
        const std::lock_guard lock(mutex_);
        answers_[call] = std::move(result);
    }

    // Failures. A call is named as in the diary; `call` is how the name begins.
    /// The next `times` calls fail before they have an effect.
    void fail(const std::string& call, Error error, unsigned times = 1) {
        const std::lock_guard lock(mutex_);
        plans_.push_back({call, std::move(error), times, false});
    }
    /// No answer comes, nothing happened.
    void lose(const std::string& call, unsigned times = 1) { fail(call, no_answer(), times); }
    /// It is carried out, but the answer does not arrive.
    void lose_answer(const std::string& call, unsigned times = 1) {
        const std::lock_guard lock(mutex_);
        plans_.push_back({call, no_answer(), times, true});
    }
    /// As if broker or conductor were gone: calls time out, casts are not taken.
    void set_outage(bool on) {
        const std::lock_guard lock(mutex_);
        outage_ = on;
    }
    /// Called before each call is answered, without a lock.
    std::function<void(const std::string& call)> before;

    [[nodiscard]] std::vector<Cast> casts(const std::string& method) const {
        const std::lock_guard lock(mutex_);
        std::vector<Cast> out;
        for (const auto& cast : casts_)
            if (cast.method == method)
                out.push_back(cast);
        return out;
    }
    [[nodiscard]] std::vector<Notification> notifications() const {
        const std::lock_guard lock(mutex_);
        return notifications_;
    }
    [[nodiscard]] std::vector<Json> faults() const {
        const std::lock_guard lock(mutex_);
        return faults_;
    }
    /// Record of the host as it was last written: "ComputeNode", "Service".
    [[nodiscard]] Json written(const std::string& object) const {
        const std::lock_guard lock(mutex_);
        const auto found = written_.find(object);
        return found == written_.end() ? Json() : found->second;
    }
    /// Calls that the fake has no answer for.
    [[nodiscard]] std::vector<std::string> unknown() const {
        const std::lock_guard lock(mutex_);
        return unknown_;
    }
    [[nodiscard]] static Error no_answer() {
        return Error{Code::Timeout,
                     "the conductor did not answer",
                     "MessagingTimeout",
                     "oslo_messaging.exceptions"};
    }
    [[nodiscard]] static Error remote(const std::string& exception, Code code = Code::Remote) {
        return Error{code, exception + " of the test", exception, "nova.exception"};
    }

    /// How a call is named in the diary.
    [[nodiscard]] static std::string
    name_of(const rpc::Target& target, const std::string& method, const Json& args) {
        return target.topic == "compute" ? cat("call ", target.server, ' ', method)
                                         : name_of(method, args);
    }

    // The bus.
    [[nodiscard]] Result<Json> call(const rpc::Target& target,
                                    const std::string& method,
                                    Json args,
                                    const rpc::Context& context,
                                    const rpc::CallOptions& /*options*/ = {}) override {
        const bool to_host = target.topic == "compute";
        const std::string name = name_of(target, method, args);
        if (before)
            before(name);
        const std::lock_guard lock(mutex_);
        if (outage_)
            return Failure(no_answer());
        const auto planned = next_failure(name);
        if (planned && !planned->carried_out)
            return Failure(planned->error);
        if (to_host) {
            diary_.note(name);
            const auto found = answers_.find(name);
            return found == answers_.end() ? Result<Json>(Failure(no_answer())) : found->second;
        }
        auto done =
            method == "object_action" ? object_action(args, context) : class_action(args, context);
        diary_.note(done ? name : cat(name, " ! ", done.error().exception));
        if (planned)
            return Failure(planned->error);
        return done;
    }
    [[nodiscard]] Result<void> cast(const rpc::Target& target,
                                    const std::string& method,
                                    Json args,
                                    const rpc::Context& context) override {
        const std::string name = cat("cast ", target.topic, ' ', method);
        if (before)
            before(name);
        const std::lock_guard lock(mutex_);
        const auto planned = next_failure(name);
        if (outage_ || planned)
            return Failure(planned ? planned->error
                                   : Error{Code::Unavailable,
                                           "the broker is away",
                                           "MessageDeliveryFailure",
                                           "oslo_messaging.exceptions"});
        diary_.note(name);
        casts_.push_back({target, method, std::move(args), context});
        return {};
    }
    [[nodiscard]] Result<void> notify(const std::string& topic,
                                      const std::string& priority,
                                      Json message,
                                      const rpc::Context& /*context*/) override {
        const std::lock_guard lock(mutex_);
        if (outage_)
            return Failure(no_answer());
        notifications_.push_back({topic, priority, std::move(message)});
        return {};
    }

  private:
    struct Plan {
        std::string call;
        Error error;
        unsigned times;
        bool carried_out;
    };

    static std::string name_of(const std::string& method, const Json& args) {
        if (method != "object_action") {
            std::string name = cat(args["objname"].as_string(), '.', args["objmethod"].as_string());
            if (name.starts_with("InstanceActionEvent"))
                name += cat(' ',
                            args["args"].at(1).as_string(),
                            args["kwargs"]["exc_tb"].is_null() ? "" : " Error");
            return name;
        }
        const auto& object = args["objinst"];
        std::string name =
            cat(object["nova_object.name"].as_string(), '.', args["objmethod"].as_string());
        const auto& data = object["nova_object.data"];
        if (name == "Instance.save")
            name += cat(' ', data["vm_state"].as_string(), '/', data["task_state"].as_string());
        if (name == "InstanceFault.create")
            name += cat(' ', data["message"].as_string());
        return name;
    }
    std::optional<Plan> next_failure(const std::string& name) {
        for (auto plan = plans_.begin(); plan != plans_.end(); ++plan) {
            if (!name.starts_with(plan->call))
                continue;
            const Plan found = *plan;
            if (--plan->times == 0)
                plans_.erase(plan);
            return found;
        }
        return std::nullopt;
    }
    static Failure no_instance(const std::string& uuid) {
        return fail_as(
            "InstanceNotFound", Code::NotFound, cat("Instance ", uuid, " could not be found."));
    }
    static Json primitive(const std::string& name, const std::string& version, Json data) {
        return Json::object()
            .set("nova_object.name", name)
            .set("nova_object.namespace", "nova")
            .set("nova_object.version", version)
            .set("nova_object.data", std::move(data));
    }
    static Json list_of(const std::string& name, Json objects) {
        return primitive(name, "1.0", Json::object().set("objects", std::move(objects)));
    }
    static bool reads_deleted(const rpc::Context& context) {
        return context.keys()["read_deleted"].as_string() == "yes";
    }

    /// Columns, and of what has to be asked for only what was.
    static Json loaded(const Json& record, const Json& expected) {
        static constexpr std::array lazy{"metadata",
                                         "system_metadata",
                                         "info_cache",
                                         "flavor",
                                         "numa_topology",
                                         "pci_requests",
                                         "pci_devices",
                                         "keypairs",
                                         "security_groups",
                                         "tags",
                                         "migration_context",
                                         "resources",
                                         "ec2_ids",
                                         "device_metadata",
                                         "trusted_certs"};
        Json data = record;
        for (const char* field : lazy) {
            bool asked = false;
            for (const auto& wish : expected.items())
                asked = asked || wish.as_string() == field;
            if (!asked)
                data.erase(field);
            else if (!data.contains(field))
                data.set(field, Json());
        }
        return primitive("Instance", "2.7", std::move(data));
    }
    static Json answer_of(Json updates, Json result = {}) {
        updates.set("obj_what_changed", Json::array());
        return Json::Array{std::move(updates), std::move(result)};
    }

    Result<Json> save_instance(const Json& args, const rpc::Context& context) {
        const auto& object = args["objinst"];
        const auto& data = object["nova_object.data"];
        const std::string uuid = data["uuid"].as_string();
        const auto found = instances_.find(uuid);
        if (found == instances_.end() ||
            (found->second["deleted"].as_bool() && !reads_deleted(context)))
            return no_instance(uuid);
        Json& record = found->second;
        const auto& expected = args["kwargs"]["expected_task_state"];
        bool allowed = expected.is_null();
        for (const auto& state : expected.items())
            allowed = allowed || state == record["task_state"];
        if (!allowed)
            return fail_as(record["task_state"].as_string() == "deleting"
                               ? "UnexpectedDeletingTaskStateError"
                               : "UnexpectedTaskStateError",
                           Code::Conflict,
                           cat("Conflict updating instance ", uuid));
        for (const auto& field : object["nova_object.changes"].items())
            record.set(field.as_string(), data[field.as_string()]);
        record.set("updated_at", to_iso(system_clock().wall()));
        return answer_of(Json::object().set("updated_at", record["updated_at"]));
    }
    Result<Json> destroy_instance(const Json& args) {
        const std::string uuid = args["objinst"]["nova_object.data"]["uuid"].as_string();
        const auto found = instances_.find(uuid);
        if (found == instances_.end() || found->second["deleted"].as_bool())
            return no_instance(uuid);
        found->second.set("deleted", true);
        found->second.set("deleted_at", to_iso(system_clock().wall()));
        return answer_of(Json::object().set("deleted", true));
    }
    Result<Json> object_action(const Json& args, const rpc::Context& context) {
        const auto& object = args["objinst"];
        const std::string name =
            cat(object["nova_object.name"].as_string(), '.', args["objmethod"].as_string());
        const auto& data = object["nova_object.data"];
        if (name == "Instance.save")
            return save_instance(args, context);
        if (name == "Instance.destroy")
            return destroy_instance(args);
        if (name == "InstanceFault.create") {
            faults_.push_back(data);
            return answer_of(Json::object());
        }
        if (name == "InstanceInfoCache.save") {
            const auto found = instances_.find(data["instance_uuid"].as_string());
            if (found == instances_.end())
                return fail_as("InstanceInfoCacheNotFound", Code::NotFound, "no info cache");
            found->second.set("info_cache", primitive("InstanceInfoCache", "1.5", data));
            return answer_of(Json::object());
        }
        if (name == "ComputeNode.create" || name == "Service.create") {
            Json updates = Json::object();
            updates.set("id", 1).set("uuid", "77777777-0000-4000-8000-000000000001");
            Json record = data;
            for (const auto& [field, value] : updates.members())
                record.set(field, value);
            written_[object["nova_object.name"].as_string()] = std::move(record);
            return answer_of(std::move(updates));
        }
        if (name == "ComputeNode.save" || name == "Service.save") {
            written_[object["nova_object.name"].as_string()] = data;
            return answer_of(Json::object());
        }
        if (name == "Migration.save") {
            Json& record = migrations_.at(data["id"].as_int());
            for (const auto& field : object["nova_object.changes"].items())
                record.set(field.as_string(), data[field.as_string()]);
            return answer_of(Json::object());
        }
        if (name == "Instance.drop_migration_context") {
            instances_.at(data["uuid"].as_string()).set("migration_context", nullptr);
            return answer_of(Json::object());
        }
        if (name == "BlockDeviceMapping.save")
            return answer_of(Json::object());
        if (name == "BlockDeviceMapping.destroy") {
            Json kept = Json::array();
            for (const auto& mapping : mappings_[data["instance_uuid"].as_string()].items())
                if (mapping["nova_object.data"]["id"] != data["id"])
                    kept.push_back(mapping);
            mappings_[data["instance_uuid"].as_string()] = std::move(kept);
            return answer_of(Json::object());
        }
        if (name == "VirtualInterface.create")
            return create_interface(data);
        if (name == "VirtualInterface.destroy") {
            interfaces_.erase(data["id"].as_int());
            return answer_of(Json::object());
        }
        unknown_.push_back(name);
        return fail_as("TestError", Code::Internal, cat("the fake conductor does not know ", name));
    }

    /// Addresses are unique: each is one of a port.
    Result<Json> create_interface(const Json& data) {
        for (const auto& [id, record] : interfaces_)
            if (record["address"] == data["address"])
                return fail_as("VirtualInterfaceCreateException",
                               Code::Internal,
                               cat("Virtual Interface creation failed: ",
                                   data["address"].as_string(),
                                   " is there already"));
        const std::int64_t id = ++last_interface_;
        Json record = data;
        record.set("id", id);
        interfaces_[id] = std::move(record);
        return answer_of(Json::object().set("id", id));
    }
    /// As the database gives them: without the port in the address, and in no useful order.
    Json interfaces_of(const std::string& uuid) const {
        Json out = Json::array();
        for (auto at = interfaces_.rbegin(); at != interfaces_.rend(); ++at) {
            if (at->second["instance_uuid"].as_string() != uuid)
                continue;
            Json record = at->second;
            const auto& address = record["address"].as_string();
            record.set("address", address.substr(0, address.find('/')));
            out.push_back(primitive("VirtualInterface", "1.3", std::move(record)));
        }
        return out;
    }

    bool matches(const Json& record, const Json& filters) const {
        for (const auto& [key, value] : filters.members()) {
            if (key == "soft_deleted")
                continue;
            if (value.is_array()) {
                bool any = false;
                for (const auto& one : value.items())
                    any = any || one == record[key];
                if (!any)
                    return false;
            } else if (value != record[key]) {
                return false;
            }
        }
        return true;
    }
    Json instances_where(const Json& filters, const Json& expected) const {
        Json out = Json::array();
        for (const auto& [uuid, record] : instances_)
            if (matches(record, filters))
                out.push_back(loaded(record, expected));
        return out;
    }
    Json migrations_in_progress(const Json& host, const Json& node) const {
        static const std::set<std::string> ended{
            "confirmed", "reverted", "failed", "completed", "cancelled", "done"};
        Json out = Json::array();
        for (const auto& [id, record] : migrations_) {
            const bool from = record["source_compute"] == host && record["source_node"] == node;
            const bool to = record["dest_compute"] == host && record["dest_node"] == node;
            if ((from || to) && !ended.contains(record["status"].as_string()))
                out.push_back(primitive("Migration", "1.7", record));
        }
        return list_of("MigrationList", std::move(out));
    }
    Result<Json> class_action(const Json& args, const rpc::Context& context) {
        const std::string name =
            cat(args["objname"].as_string(), '.', args["objmethod"].as_string());
        const auto& first = args["args"].at(0);
        const auto& expected = args["kwargs"]["expected_attrs"];
        Json here = Json::object();
        here.set("host", first).set("deleted", false);
        if (name == "Instance.get_by_uuid") {
            const auto found = instances_.find(first.as_string());
            if (found == instances_.end() ||
                (found->second["deleted"].as_bool() && !reads_deleted(context)))
                return no_instance(first.as_string());
            return loaded(found->second, expected);
        }
        if (name == "InstanceList.get_by_host" || name == "InstanceList.get_by_host_and_node")
            return list_of("InstanceList", instances_where(here, expected));
        if (name == "InstanceList.get_by_filters")
            return list_of("InstanceList", instances_where(first, expected));
        if (name == "MigrationList.get_by_filters") {
            Json out = Json::array();
            for (const auto& [id, record] : migrations_)
                if (matches(record, first))
                    out.push_back(primitive("Migration", "1.7", record));
            return list_of("MigrationList", std::move(out));
        }
        if (name == "MigrationList.get_in_progress_and_error")
            return migrations_in_progress(first, args["args"].at(1));
        if (name == "InstanceList.get_uuids_by_host") {
            Json out = Json::array();
            for (const auto& [uuid, record] : instances_)
                if (matches(record, here))
                    out.push_back(uuid);
            return out;
        }
        if (name == "BlockDeviceMappingList.get_by_instance_uuid") {
            const auto found = mappings_.find(first.as_string());
            return list_of("BlockDeviceMappingList",
                           found == mappings_.end() ? Json::array() : found->second);
        }
        if (name == "VirtualInterfaceList.get_by_instance_uuid")
            return list_of("VirtualInterfaceList", interfaces_of(first.as_string()));
        if (name == "VirtualInterface.delete_by_instance_uuid") {
            std::erase_if(interfaces_,
                          [&](const auto& one) { return one.second["instance_uuid"] == first; });
            return Json();
        }
        if (const auto found = answers_.find(name); found != answers_.end())
            return found->second;
        if (name == "InstanceActionEvent.event_start" ||
            name == "InstanceActionEvent.event_finish_with_failure" ||
            name == "InstanceAction.action_start" ||
            name == "ConsoleAuthToken.clean_console_auths_for_instance" ||
            name == "ConsoleAuthToken.clean_expired_console_auths")
            return Json();
        unknown_.push_back(name);
        return fail_as("TestError", Code::Internal, cat("the fake conductor does not know ", name));
    }

    Diary& diary_;
    mutable std::mutex mutex_;
    std::map<std::string, Json> instances_;
    std::map<std::int64_t, Json> migrations_;
    std::map<std::string, Json> mappings_;
    std::map<std::int64_t, Json> interfaces_; ///< VirtualInterface by id
    std::int64_t last_interface_ = 0;
    std::map<std::string, Json> answers_;
    std::map<std::string, Json> written_;
    std::deque<Plan> plans_;
    bool outage_ = false;
    std::vector<Cast> casts_;
    std::vector<Notification> notifications_;
    std::vector<Json> faults_;
    std::vector<std::string> unknown_;
};

} // namespace novalet::tests
