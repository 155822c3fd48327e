#include "agent/tasks/ops/build/group_policy.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/affinity/server_group.hpp"

namespace novalet::tasks {
namespace {

std::string hint_of(const Json& args) {
    const auto& spec = objects::data_of(args["request_spec"])["scheduler_hints"]["group"];
    const auto& legacy = args["filter_properties"]["scheduler_hints"]["group"];
    for (const auto* hint : {&spec, &legacy}) {
        if (hint->is_string())
            return hint->as_string();
        if (!hint->items().empty())
            return hint->at(0).as_string();
    }
    return {};
}

std::set<InstanceUuid> uuids(const std::vector<std::string>& texts) {
    std::set<InstanceUuid> out;
    for (const auto& text : texts)
        out.insert(InstanceUuid(text));
    return out;
}

} // namespace

Result<void> check_group_policy(const RecordServices& services,
                                const rpc::Context& context,
                                const objects::Object& instance,
                                const Json& args) {
    const std::string hint = hint_of(args);
    if (hint.empty())
        return {};
    NOVALET_ASSIGN(auto group, services.conductor.group_by_hint(hint, context));
    scheduler_hooks::affinity::ServerGroup rules;
    rules.uuid = group.text("uuid");
    rules.policy = group.text("policy");
    if (const auto limit =
            to_number<unsigned>(group.get("_rules")["max_server_per_host"].as_string()))
        rules.max_server_per_host = *limit;
    for (const auto& member : group.get("members").items())
        rules.members.insert(InstanceUuid(member.as_string()));
    scheduler_hooks::affinity::Occupancy occupancy;
    occupancy.host = services.options.host;
    NOVALET_ASSIGN(const auto here,
                   services.conductor.instance_uuids_by_host(services.options.host, context));
    occupancy.here = uuids(here);
    if (rules.policy == "affinity") {
        NOVALET_ASSIGN(const auto hosts,
                       services.conductor.group_hosts(group, {instance.text("uuid")}, context));
        occupancy.hosts_of_group.insert(hosts.begin(), hosts.end());
    }
    return scheduler_hooks::affinity::check(rules, InstanceUuid(instance.text("uuid")), occupancy);
}

} // namespace novalet::tasks
