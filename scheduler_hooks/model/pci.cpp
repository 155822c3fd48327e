#include "scheduler_hooks/model/pci.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/model/primitive.hpp"

#include <algorithm>
#include <array>

namespace novalet::scheduler_hooks::model {
namespace {

constexpr std::array<std::string_view, 4> policy_names{"legacy", "required", "preferred", "socket"};

constexpr std::int64_t max_devices = 1 << 20; ///< counts are added up

std::string text_of(const Json& value) {
    return value.is_string() ? value.as_string() : value.dump();
}

Result<PciRequest> request_from_json(const Json& document) {
    NOVALET_ASSIGN(const Json* data, data_of(document, "InstancePCIRequest"));
    PciRequest request;
    NOVALET_ASSIGN(request.count, int_member(*data, "count", 1, "PCI request"));
    if (request.count < 0 || request.count > max_devices)
        return fail(Code::InvalidArgument, cat("PCI request: count out of range: ", request.count));
    request.alias_name = (*data)["alias_name"].as_string();
    request.request_id = (*data)["request_id"].as_string();
    NOVALET_ASSIGN(const std::optional<std::string> policy,
                   text_member(*data, "numa_policy", "PCI request"));
    if (policy) {
        const auto known = pci_numa_policy_from(*policy);
        if (!known)
            return fail(Code::InvalidArgument,
                        cat("PCI request: numa_policy: unknown word '", *policy, "'"));
        request.numa_policy = *known;
    }
    for (const Json& alternative : (*data)["spec"].items()) {
        TextMap& wanted = request.spec.emplace_back();
        for (const auto& [key, value] : alternative.members())
            if (!value.is_null())
                wanted[key] = text_of(value);
    }
    return request;
}

Result<PciPool> pool_from_json(const Json& document) {
    NOVALET_ASSIGN(const Json* data, data_of(document, "PciDevicePool"));
    PciPool pool;
    NOVALET_ASSIGN(pool.count, int_member(*data, "count", 0, "PCI pool"));
    if (pool.count < 0 || pool.count > max_devices)
        return fail(Code::InvalidArgument, cat("PCI pool: count out of range: ", pool.count));
    if (!(*data)["numa_node"].is_null()) {
        NOVALET_ASSIGN(const std::int64_t node, required_int(*data, "numa_node", "PCI pool"));
        pool.numa_node = static_cast<int>(node);
    }
    for (const auto& [key, value] : data->members())
        if (key != "count" && key != "numa_node" && key != "tags" && !value.is_null())
            pool.attributes[key] = text_of(value);
    for (const auto& [key, value] : (*data)["tags"].members())
        if (!value.is_null())
            pool.attributes[key] = text_of(value);
    return pool;
}

/// The list itself, or the list inside an object of class `outer` under `key`.
Result<const Json*> list_in(const Json& document, const char* outer, const char* key) {
    if (document.is_array() || document.is_null())
        return &document;
    NOVALET_ASSIGN(const Json* data, data_of(document, outer));
    if (!(*data)[key].is_array())
        return fail(Code::InvalidArgument, cat(outer, ": ", key, ": a list expected"));
    return &(*data)[key];
}

} // namespace

const char* name_of(PciNumaPolicy policy) noexcept {
    return policy_names[static_cast<std::size_t>(policy)].data();
}

std::optional<PciNumaPolicy> pci_numa_policy_from(std::string_view text) noexcept {
    const auto at = std::find(policy_names.begin(), policy_names.end(), text);
    if (at == policy_names.end())
        return std::nullopt;
    return static_cast<PciNumaPolicy>(at - policy_names.begin());
}

Result<std::vector<PciRequest>> pci_requests_from_json(const Json& document) {
    NOVALET_ASSIGN(const Json* list, list_in(document, "InstancePCIRequests", "requests"));
    std::vector<PciRequest> requests;
    for (const Json& item : list->items()) {
        NOVALET_ASSIGN(PciRequest request, request_from_json(item));
        requests.push_back(std::move(request));
    }
    return requests;
}

Result<std::vector<PciPool>> pci_pools_from_json(const Json& document) {
    NOVALET_ASSIGN(const Json* list, list_in(document, "PciDevicePoolList", "objects"));
    std::vector<PciPool> pools;
    for (const Json& item : list->items()) {
        NOVALET_ASSIGN(PciPool pool, pool_from_json(item));
        pools.push_back(std::move(pool));
    }
    return pools;
}

} // namespace novalet::scheduler_hooks::model
