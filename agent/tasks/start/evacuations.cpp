#include "agent/tasks/start/evacuations.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/objects/migration.hpp"
#include "agent/tasks/peers/shared_storage.hpp"

#include <map>

namespace novalet::tasks {

using objects::MigrationView;

Result<std::vector<Evacuations::Away>> Evacuations::read() {
    // Migrations of deleted servers are deleted with them; their guests must not stay either.
    const auto context = rpc::Context::admin().reading_deleted("yes");
    Json filters = Json::object();
    filters.set("source_compute", services_.options.host)
        .set("status", Json::Array{"accepted", "pre-migrating", "done"})
        .set("migration_type", "evacuation");
    NOVALET_ASSIGN(auto migrations,
                   services_.conductor.migrations_by_filters(std::move(filters), context));
    if (migrations.empty())
        return std::vector<Away>();
    NOVALET_ASSIGN(const auto guests, services_.hypervisor.list());
    std::set<std::string> here;
    for (const auto& guest : guests)
        here.insert(guest.uuid.str());
    std::set<std::string> moved;
    for (const auto& migration : migrations)
        moved.insert(MigrationView(migration).instance_uuid());
    Json uuids = Json::array();
    for (const auto& uuid : moved)
        uuids.push_back(uuid);
    NOVALET_ASSIGN(auto servers,
                   services_.conductor.instances_by_filters(
                       Json::object().set("uuid", std::move(uuids)), {"info_cache"}, context));
    std::map<std::string, objects::Object> by_uuid;
    for (auto& server : servers)
        by_uuid[server.text("uuid")] = std::move(server);
    std::vector<Away> out;
    for (auto& migration : migrations) {
        const std::string uuid = MigrationView(migration).instance_uuid();
        const auto server = by_uuid.find(uuid);
        if (server == by_uuid.end())
            continue;
        Away away;
        away.came_back = MigrationView(migration).status() == "done" &&
                         server->second.text("host") == services_.options.host;
        away.guest_is_here = here.contains(uuid);
        away.server = server->second;
        away.migration = std::move(migration);
        out.push_back(std::move(away));
    }
    return out;
}

bool Evacuations::unfinished(std::int64_t migration) const {
    const std::lock_guard lock(mutex_);
    return unfinished_.contains(migration);
}

void Evacuations::post(Away away) {
    const std::string uuid = away.server.text("uuid");
    services_.queues.post(uuid,
                          [this, away = std::move(away)](const std::stop_token&) { clear(away); });
}

Result<std::set<std::string>> Evacuations::begin() {
    NOVALET_ASSIGN(auto found, read());
    std::set<std::string> elsewhere;
    for (auto& away : found) {
        const bool deleted = away.server.get("deleted").as_bool();
        if (deleted && !away.guest_is_here)
            continue; // nothing is left of it
        if (!away.came_back)
            elsewhere.insert(away.server.text("uuid"));
        {
            const std::lock_guard lock(mutex_);
            unfinished_.insert(MigrationView(away.migration).id());
        }
        post(std::move(away));
    }
    return elsewhere;
}

void Evacuations::carry_on() {
    {
        const std::lock_guard lock(mutex_);
        if (unfinished_.empty())
            return;
    }
    auto found = read();
    if (!found) {
        log::warning("evacuated servers could not be read; the next turn tries again",
                     {{"error", found.error().text}});
        return;
    }
    std::set<std::int64_t> seen;
    for (auto& away : *found) {
        const auto id = MigrationView(away.migration).id();
        seen.insert(id);
        if (unfinished(id) && !services_.queues.busy(away.server.text("uuid")))
            post(std::move(away));
    }
    const std::lock_guard lock(mutex_); // others had their end elsewhere
    std::erase_if(unfinished_, [&](std::int64_t id) { return !seen.contains(id); });
}

Result<void> Evacuations::remove_guest(const Away& away) {
    const InstanceUuid uuid(away.server.text("uuid"));
    const auto& dest = MigrationView(away.migration).dest_compute();
    const bool lives_on_here =
        !away.server.get("deleted").as_bool() &&
        storage_is_shared(
            services_.bus, services_.options, uuid, dest.empty() ? away.server.text("host") : dest);
    log::warning("the server was evacuated from this host: its guest is removed",
                 {{"now_on", away.server.text("host")}, {"disks_too", !lives_on_here}});
    return services_.hypervisor.destroy(
        uuid,
        {lives_on_here ? hypervisor::Disks::Keep : hypervisor::Disks::Remove,
         interfaces_of(cached_network_info(away.server))});
}

/// On the server's queue.
void Evacuations::clear(Away away) {
    const std::string uuid = away.server.text("uuid");
    const MigrationView migration(away.migration);
    const auto id = migration.id();
    const log::Scope scope{{"instance", uuid}, {"task", "evacuated"}};
    const auto later = [](const char* what, const Error& error) {
        log::error(what, {{"error", error.text}});
    };
    if (away.guest_is_here && !away.came_back)
        if (const auto gone = remove_guest(away); !gone)
            return later("the guest of an evacuated server could not be removed; it is tried again",
                         gone.error());
    if (!away.server.get("deleted").as_bool()) {
        if (away.came_back) {
            log::warning("the server was evacuated from this host and came back: it is kept");
        } else if (const auto given_back =
                       services_.allocations.remove_ours(uuid, migration.source_node());
                   !given_back) {
            return later("the allocation of an evacuated server could not be given back; it is "
                         "tried again",
                         given_back.error());
        }
        away.migration.set("status", "completed");
        if (const auto saved =
                services_.conductor.save_migration(away.migration, rpc::Context::admin());
            !saved)
            return later("an evacuation could not be marked as completed; it is tried again",
                         saved.error());
        log::info("what was left of an evacuated server is cleared away");
    }
    const std::lock_guard lock(mutex_);
    unfinished_.erase(id);
}

} // namespace novalet::tasks
