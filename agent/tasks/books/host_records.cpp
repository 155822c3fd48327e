#include "agent/tasks/books/host_records.hpp"

#include "agent/core/text.hpp"
#include "agent/objects/instance.hpp"
#include "agent/objects/migration.hpp"
#include "agent/tasks/guest/guest_request.hpp"

#include <algorithm>
#include <set>

namespace novalet::tasks {

namespace claims = scheduler_hooks::claims;
namespace model = scheduler_hooks::model;

using objects::InstanceView;
using objects::MigrationView;

namespace {

/// nova.compute.vm_states.allow_resource_removal
bool takes_nothing(const InstanceView& instance) {
    return instance.vm_state() == "deleted" ||
           (instance.vm_state() == "shelved_offloaded" && instance.task_state() != "spawning");
}

bool is_on_the_way(const InstanceView& instance) {
    static const std::set<std::string> resizing_or_rebuilding{"resize_prep",
                                                              "resize_migrating",
                                                              "resize_migrated",
                                                              "resize_finish",
                                                              "rebuilding",
                                                              "rebuild_block_device_mapping",
                                                              "rebuild_spawning"};
    const auto& vm = instance.vm_state();
    const auto& task = instance.task_state();
    if (vm == "resized")
        return true;
    if ((vm == "active" || vm == "stopped") && resizing_or_rebuilding.count(task) != 0)
        return true;
    return task == "migrating" && (vm == "active" || vm == "paused");
}

bool comes_back(const InstanceView& instance) {
    return instance.task_state() == "resize_reverting" && !instance.deleted();
}

bool counts(const std::vector<claims::Record>& records, const claims::Move& move) {
    return std::any_of(
        records.begin(), records.end(), [&](const auto& record) { return record.move == move; });
}

/// Times in ISO form are in the order of their texts.
const std::string& changed_at(const MigrationView& migration) {
    return migration.updated_at().empty() ? migration.created_at() : migration.updated_at();
}

/// Null when nobody knows the server any more.
const objects::Object* server_of(const HostRecords& records, const std::string& uuid) {
    for (const auto* servers : {&records.instances, &records.elsewhere})
        if (const auto found = servers->find(uuid); found != servers->end())
            return &found->second;
    return nullptr;
}

/// The newest migration of each server that is on the way, by the server's uuid.
std::map<std::string, const objects::Object*> newest_migrations(const HostRecords& records) {
    std::map<std::string, const objects::Object*> newest;
    for (const auto& migration : records.migrations) {
        const MigrationView view(migration);
        const auto& uuid = view.instance_uuid();
        const auto* server = server_of(records, uuid);
        if (server == nullptr || !is_on_the_way(InstanceView(*server)))
            continue;
        auto& best = newest[uuid];
        if (best == nullptr || changed_at(view) > changed_at(MigrationView(*best)))
            best = &migration;
    }
    return newest;
}

/// One server with its migration, seen from this node.
class MovingServer {
  public:
    MovingServer(const objects::Object& instance,
                 const objects::Object& migration,
                 const NodeNames& names,
                 bool here)
        : instance_(instance), migration_(migration),
          incoming_(migration_.dest_compute() == names.host &&
                    migration_.dest_node() == names.node),
          outbound_(migration_.source_compute() == names.host &&
                    migration_.source_node() == names.node),
          here_(here) {}

    [[nodiscard]] bool has_context_of_another_move() const {
        return context().is_object() && context()["migration_id"].as_int() != migration_.id();
    }
    /// The server's own claim as the move changes it.
    [[nodiscard]] Result<void> correct(claims::Record& own) const {
        if (!incoming_ || (outbound_ && !has_new_flavor()))
            return {};
        own.came_by = claims::MigrationUuid(migration_.uuid());
        if (outbound_)
            return {};
        if (context().is_object()) {
            NOVALET_ASSIGN(own.topology, topology("new_numa_topology"));
        }
        if (const Json& flavor = flavor_of_side("new_flavor"); !flavor.is_null())
            own.amounts = amounts_of(instance_.data(), flavor);
        return {};
    }
    /// The side that counts besides; none, or one without a flavor (confirmed just now), is empty.
    [[nodiscard]] Result<std::optional<claims::Record>> other_side() const {
        const bool same_node = incoming_ && outbound_;
        if ((here_ && !same_node) || (!incoming_ && !outbound_))
            return std::optional<claims::Record>();
        const bool destination = same_node ? !has_new_flavor() : incoming_;
        const Json& flavor = flavor_of_side(destination ? "new_flavor" : "old_flavor");
        if (flavor.is_null())
            return std::optional<claims::Record>();
        claims::Record record;
        record.instance = InstanceUuid(instance_.text("uuid"));
        record.move = claims::Move{claims::MigrationUuid(migration_.uuid()),
                                   destination ? claims::Side::Destination : claims::Side::Source};
        record.amounts = amounts_of(instance_.data(), flavor);
        record.state = state_of(instance_.data());
        record.started = false;
        NOVALET_ASSIGN(record.topology,
                       topology(destination ? "new_numa_topology" : "old_numa_topology"));
        return std::optional<claims::Record>(std::move(record));
    }

  private:
    [[nodiscard]] const Json& context() const { return instance_.child("migration_context"); }
    [[nodiscard]] Result<std::optional<model::GuestTopology>> topology(const char* side) const {
        return model::guest_topology_from_json(context()[side]);
    }
    /// Only a resize has flavors of its sides.
    [[nodiscard]] const Json& flavor_of_side(const char* side) const {
        return instance_.get(migration_.type() == "resize" ? side : "flavor");
    }
    [[nodiscard]] bool has_new_flavor() const {
        return instance_.get("instance_type_id").as_int() != migration_.old_flavor_id();
    }

    const objects::Object& instance_;
    const MigrationView migration_;
    const bool incoming_;
    const bool outbound_;
    const bool here_;
};

} // namespace

claims::Amounts amounts_of(const Json& instance, const Json& flavor_primitive) {
    const auto flavor = flavor_of(flavor_primitive);
    claims::Amounts out;
    out.vcpus = flavor.vcpus;
    out.memory_mib = static_cast<std::int64_t>(flavor.memory_mib);
    if (!instance["image_ref"].as_string().empty())
        out.root_gib = static_cast<std::int64_t>(flavor.root_gib);
    out.ephemeral_gib = static_cast<std::int64_t>(flavor.ephemeral_gib);
    out.swap_mib = static_cast<std::int64_t>(flavor.swap_mib);
    return out;
}

claims::InstanceState state_of(const Json& instance) {
    return {instance["vm_state"].as_string(),
            instance["task_state"].as_string(),
            instance["os_type"].as_string(),
            instance["project_id"].as_string()};
}

Result<HostRecords> read_host_records(objects::Conductor& conductor,
                                      const NodeNames& names,
                                      const std::set<std::string>& departed) {
    const auto context = rpc::Context::admin();
    HostRecords out;
    NOVALET_ASSIGN(
        auto instances,
        conductor.instances_by_host(
            names.host,
            names.node,
            {"system_metadata", "numa_topology", "flavor", "migration_context", "resources"},
            context));
    for (auto& instance : instances) {
        const std::string uuid = instance.text("uuid");
        out.instances[uuid] = std::move(instance);
    }
    NOVALET_ASSIGN(out.migrations,
                   conductor.migrations_in_progress(names.host, names.node, context));
    std::set<std::string> away = departed;
    for (const auto& migration : out.migrations)
        away.insert(MigrationView(migration).instance_uuid());
    std::erase_if(away, [&](const auto& uuid) { return out.instances.contains(uuid); });
    if (away.empty())
        return out;
    // A server deleted on its way may still have its guest here.
    Json filters = Json::object();
    filters.set("uuid", Json::Array(away.begin(), away.end()));
    NOVALET_ASSIGN(auto elsewhere,
                   conductor.instances_by_filters(std::move(filters),
                                                  {"flavor", "migration_context"},
                                                  context.reading_deleted("yes")));
    for (auto& instance : elsewhere) {
        const std::string uuid = instance.text("uuid");
        out.elsewhere[uuid] = std::move(instance);
    }
    return out;
}

Result<HostUsage> usage_of(const HostRecords& records,
                           const NodeNames& names,
                           const std::vector<claims::Record>& sources) {
    HostUsage out;
    std::map<std::string, claims::Record> here;
    for (const auto& [uuid, instance] : records.instances) {
        if (takes_nothing(InstanceView(instance)))
            continue;
        claims::Record record;
        record.instance = InstanceUuid(uuid);
        record.amounts = amounts_of(instance.data(), instance.get("flavor"));
        record.state = state_of(instance.data());
        NOVALET_ASSIGN(record.topology,
                       model::guest_topology_from_json(instance.get("numa_topology")));
        here[uuid] = std::move(record);
    }
    for (const auto& [uuid, migration] : newest_migrations(records)) {
        const auto own = here.find(uuid);
        const MovingServer moving(*server_of(records, uuid), *migration, names, own != here.end());
        if (moving.has_context_of_another_move()) {
            out.stale.push_back(MigrationView(*migration).uuid());
            continue;
        }
        if (own != here.end())
            NOVALET_TRY(moving.correct(own->second));
        NOVALET_ASSIGN(auto other, moving.other_side());
        if (other)
            out.claims.push_back(std::move(*other));
    }
    for (const auto& source : sources) {
        const auto server = records.elsewhere.find(source.instance.str());
        if (server != records.elsewhere.end() && comes_back(InstanceView(server->second)) &&
            !counts(out.claims, *source.move))
            out.claims.push_back(source);
    }
    for (auto& [uuid, record] : here)
        out.claims.push_back(std::move(record));
    return out;
}

} // namespace novalet::tasks
