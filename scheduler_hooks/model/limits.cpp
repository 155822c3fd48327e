#include "scheduler_hooks/model/limits.hpp"

#include "scheduler_hooks/model/primitive.hpp"

namespace novalet::scheduler_hooks::model {

Result<std::optional<NumaLimits>> limits_from_json(const Json& document) {
    if (document.is_null())
        return std::optional<NumaLimits>();
    const std::string& name = document["nova_object.name"].as_string();
    if (name == "SchedulerLimits") {
        NOVALET_ASSIGN(const Json* outer, data_of(document, "SchedulerLimits"));
        return limits_from_json((*outer)["numa_topology"]);
    }
    if (name.empty() && document.contains("numa_topology"))
        return limits_from_json(document["numa_topology"]);
    NOVALET_ASSIGN(const Json* data, data_of(document, "NUMATopologyLimits"));
    if (!data->contains("cpu_allocation_ratio") && !data->contains("ram_allocation_ratio") &&
        !data->contains("network_metadata"))
        return std::optional<NumaLimits>();
    NumaLimits limits;
    NOVALET_ASSIGN(limits.cpu_allocation_ratio,
                   double_member(*data, "cpu_allocation_ratio", 1.0, "limits"));
    NOVALET_ASSIGN(limits.ram_allocation_ratio,
                   double_member(*data, "ram_allocation_ratio", 1.0, "limits"));
    if (!(*data)["network_metadata"].is_null()) {
        NOVALET_ASSIGN(limits.network, network_metadata_from_json((*data)["network_metadata"]));
    }
    return std::optional(std::move(limits));
}

} // namespace novalet::scheduler_hooks::model
