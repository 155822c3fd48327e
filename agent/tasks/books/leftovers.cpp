#include "agent/tasks/books/leftovers.hpp"

#include "agent/core/log.hpp"
#include "agent/objects/instance.hpp"
#include "agent/objects/migration.hpp"

namespace novalet::tasks {

using objects::InstanceView;
using objects::MigrationView;

namespace {

/// Nobody knows what is right: an operator is told.
void warn_about(const objects::Object& server, const NodeNames& names) {
    const InstanceView view(server);
    if (view.host().empty())
        return; // the scheduler chose this host, and the build has not come yet
    const bool ours = view.host() == names.host && view.node() == names.node;
    if (!ours && view.host() != names.host)
        log::warning("a server that moved to another host still holds something of this one",
                     {{"instance", view.uuid()}, {"now_on", view.host()}});
    else if (ours && view.task_state().empty())
        log::warning("a server of this host holds something of it, but has no claim",
                     {{"instance", view.uuid()}, {"vm_state", view.vm_state()}});
}

} // namespace

Result<void> heal_allocations(objects::Conductor& conductor,
                              Allocations& allocations,
                              const HostRecords& records,
                              const std::set<std::string>& claimed,
                              const NodeNames& names) {
    NOVALET_ASSIGN(const auto consumers, allocations.consumers());
    std::set<std::string> moving;
    for (const auto& migration : records.migrations)
        moving.insert(MigrationView(migration).uuid());
    Json unknown = Json::array();
    for (const auto& consumer : consumers) {
        if (claimed.contains(consumer) || moving.contains(consumer))
            continue;
        if (const auto listed = records.instances.find(consumer); listed != records.instances.end())
            warn_about(listed->second, names);
        else
            unknown.push_back(consumer);
    }
    if (unknown.size() == 0)
        return {};
    NOVALET_ASSIGN(const auto servers,
                   conductor.instances_by_filters(Json::object().set("uuid", std::move(unknown)),
                                                  {},
                                                  rpc::Context::admin().reading_deleted("yes")));
    Result<void> outcome;
    for (const auto& server : servers) {
        const InstanceView view(server);
        if (!view.deleted() || server.get("hidden").as_bool()) {
            warn_about(server, names);
            continue;
        }
        const auto removed = allocations.remove_unchanged(view.uuid());
        if (removed)
            log::info("what a deleted server held of this host is given back",
                      {{"instance", view.uuid()}});
        else
            outcome = removed;
    }
    return outcome;
}

} // namespace novalet::tasks
