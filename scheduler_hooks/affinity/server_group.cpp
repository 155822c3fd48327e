#include "scheduler_hooks/affinity/server_group.hpp"

#include "agent/core/text.hpp"

namespace novalet::scheduler_hooks::affinity {
namespace {

Failure violation(const ServerGroup& group, const std::string& why) {
    return fail_as("GroupAffinityViolation",
                   Code::Conflict,
                   cat(group.policy, " instance group policy was violated: ", why));
}

} // namespace

Result<void>
check(const ServerGroup& group, const InstanceUuid& instance, const Occupancy& occupancy) {
    if (group.policy == "anti-affinity") {
        unsigned others = 0;
        for (const InstanceUuid& member : group.members)
            if (member != instance &&
                (occupancy.here.count(member) != 0 || occupancy.arriving.count(member) != 0))
                ++others;
        if (others >= group.max_server_per_host)
            return violation(group,
                             cat("host ",
                                 occupancy.host,
                                 " has ",
                                 others,
                                 " other servers of group ",
                                 group.uuid,
                                 ", max_server_per_host is ",
                                 group.max_server_per_host));
    } else if (group.policy == "affinity") {
        if (!occupancy.hosts_of_group.empty() &&
            occupancy.hosts_of_group.count(occupancy.host) == 0)
            return violation(group,
                             cat("group ", group.uuid, " is on other hosts than ", occupancy.host));
    }
    return {};
}

} // namespace novalet::scheduler_hooks::affinity
