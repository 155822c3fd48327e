#include "agent/tasks/books/allocations.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

namespace novalet::tasks {

Result<void> PlacementAllocations::remove(const std::string& consumer) {
    return placement_.delete_allocation(rpc::Context::admin(), consumer);
}

Result<void> PlacementAllocations::remove_unchanged(const std::string& consumer) {
    return placement_.delete_unchanged_allocation(rpc::Context::admin(), consumer);
}

Result<void> PlacementAllocations::remove_ours(const std::string& consumer,
                                               const std::string& node) {
    if (!node.empty() && node != node_.name())
        return fail(
            Code::NotFound,
            cat("node ", node, " is none of host ", node_.host(), ", which is ", node_.name()));
    NOVALET_ASSIGN(const auto record, node_.record());
    return placement_.remove_from_allocation(rpc::Context::admin(), consumer, record.uuid);
}

Result<void> PlacementAllocations::move_back(const std::string& migration,
                                             const std::string& instance) {
    const auto context = rpc::Context::admin();
    NOVALET_ASSIGN(const auto held, placement_.allocations(context, migration));
    if (held.empty()) {
        log::error("the migration holds nothing in Placement: the server keeps what it has",
                   {{"migration", migration}, {"instance", instance}});
        return {};
    }
    return placement_.move_allocations(context, migration, instance);
}

Result<std::vector<std::string>> PlacementAllocations::consumers() {
    NOVALET_ASSIGN(const auto record, node_.record());
    return placement_.consumers(rpc::Context::admin(), record.uuid);
}

} // namespace novalet::tasks
