#include "scheduler_hooks/model/host_topology.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/model/primitive.hpp"

#include <algorithm>
#include <limits>

namespace novalet::scheduler_hooks::model {
namespace {

Json to_json(const PagePool& pool) {
    Json data = Json::object();
    data.set("size_kb", pool.size_kib);
    data.set("total", pool.total);
    data.set("used", pool.used);
    data.set("reserved", pool.reserved);
    return envelope("NUMAPagesTopology", "1.1", std::move(data));
}

Json to_json(const HostCell& cell) {
    Json siblings = Json::array();
    for (const CpuSet& core : cell.siblings)
        siblings.push_back(to_json(core));
    Json pools = Json::array();
    for (const PagePool& pool : cell.mempages)
        pools.push_back(to_json(pool));
    Json data = Json::object();
    data.set("id", cell.id);
    data.set("cpuset", to_json(cell.cpuset));
    data.set("pcpuset", to_json(cell.pcpuset));
    data.set("memory", cell.memory_mib);
    data.set("cpu_usage", cell.cpu_usage);
    data.set("memory_usage", cell.memory_usage);
    data.set("pinned_cpus", to_json(cell.pinned_cpus));
    data.set("siblings", std::move(siblings));
    data.set("socket", cell.socket ? Json(*cell.socket) : Json());
    data.set("mempages", std::move(pools));
    data.set("network_metadata", to_json(cell.network));
    return envelope("NUMACell", "1.5", std::move(data));
}

/// Numbers of a document are added up and multiplied by 1024: these bounds keep that far from the
/// limits of 64 bits, and no host comes near them.
constexpr std::int64_t max_memory_mib = std::int64_t{1} << 45;
constexpr std::int64_t max_count = std::int64_t{1} << 50;

Result<std::int64_t>
bounded_int(const Json& data, const char* key, std::int64_t limit, const std::string& place) {
    NOVALET_ASSIGN(const std::int64_t value, int_member(data, key, 0, place));
    if (value > limit || value < -limit)
        return fail(Code::InvalidArgument, cat(place, ": ", key, " out of range: ", value));
    return value;
}

Result<PagePool> pool_from_json(const Json& document, const std::string& place) {
    NOVALET_ASSIGN(const Json* data, data_of(document, "NUMAPagesTopology"));
    PagePool pool;
    NOVALET_ASSIGN(const std::int64_t size, required_int(*data, "size_kb", place));
    if (size <= 0 || size > max_count)
        return fail(Code::InvalidArgument,
                    cat(place, ": size_kb must be from 1 to ", max_count, ", found ", size));
    pool.size_kib = static_cast<std::uint64_t>(size);
    NOVALET_ASSIGN(pool.total, bounded_int(*data, "total", max_count, place));
    NOVALET_ASSIGN(pool.used, bounded_int(*data, "used", max_count, place));
    NOVALET_ASSIGN(pool.reserved, bounded_int(*data, "reserved", max_count, place));
    return pool;
}

Result<HostCell> cell_from_json(const Json& document) {
    NOVALET_ASSIGN(const Json* data, data_of(document, "NUMACell"));
    HostCell cell;
    NOVALET_ASSIGN(const std::int64_t id, required_int(*data, "id", "NUMACell"));
    if (id < std::numeric_limits<int>::min() || id > std::numeric_limits<int>::max())
        return fail(Code::InvalidArgument, cat("NUMACell: id out of range: ", id));
    cell.id = static_cast<int>(id);
    const std::string place = cat("cell ", id);
    NOVALET_ASSIGN(cell.cpuset, cpu_set_from_json((*data)["cpuset"], cat(place, ": cpuset")));
    NOVALET_ASSIGN(cell.pcpuset, cpu_set_from_json((*data)["pcpuset"], cat(place, ": pcpuset")));
    NOVALET_ASSIGN(cell.pinned_cpus,
                   cpu_set_from_json((*data)["pinned_cpus"], cat(place, ": pinned_cpus")));
    NOVALET_ASSIGN(cell.memory_mib, bounded_int(*data, "memory", max_memory_mib, place));
    NOVALET_ASSIGN(cell.memory_usage, bounded_int(*data, "memory_usage", max_memory_mib, place));
    NOVALET_ASSIGN(cell.cpu_usage, bounded_int(*data, "cpu_usage", max_count, place));
    for (const Json& core : (*data)["siblings"].items()) {
        NOVALET_ASSIGN(CpuSet set, cpu_set_from_json(core, cat(place, ": siblings")));
        cell.siblings.push_back(std::move(set));
    }
    if (!(*data)["socket"].is_null()) {
        NOVALET_ASSIGN(const std::int64_t socket, required_int(*data, "socket", place));
        cell.socket = static_cast<int>(socket);
    }
    for (const Json& pool : (*data)["mempages"].items()) {
        NOVALET_ASSIGN(PagePool read, pool_from_json(pool, cat(place, ": mempages")));
        cell.mempages.push_back(read);
    }
    if (!(*data)["network_metadata"].is_null()) {
        NOVALET_ASSIGN(cell.network, network_metadata_from_json((*data)["network_metadata"]));
    }
    return cell;
}

} // namespace

const PagePool* HostCell::pool(std::uint64_t size_kib) const noexcept {
    for (const PagePool& candidate : mempages)
        if (candidate.size_kib == size_kib)
            return &candidate;
    return nullptr;
}

const HostCell* HostTopology::cell(int id) const noexcept {
    for (const HostCell& candidate : cells)
        if (candidate.id == id)
            return &candidate;
    return nullptr;
}

HostCell* HostTopology::cell(int id) noexcept {
    for (HostCell& candidate : cells)
        if (candidate.id == id)
            return &candidate;
    return nullptr;
}

CpuSet HostTopology::shared_cpus() const {
    CpuSet all;
    for (const HostCell& candidate : cells)
        all |= candidate.cpuset;
    return all;
}

CpuSet HostTopology::dedicated_cpus() const {
    CpuSet all;
    for (const HostCell& candidate : cells)
        all |= candidate.pcpuset;
    return all;
}

bool HostTopology::hyperthreading() const noexcept {
    return std::any_of(cells.begin(), cells.end(), [](const HostCell& cell) {
        return std::any_of(cell.siblings.begin(), cell.siblings.end(), [](const CpuSet& core) {
            return core.size() > 1;
        });
    });
}

Json to_json(const NetworkMetadata& network) {
    Json physnets = Json::array();
    for (const std::string& name : network.physnets)
        physnets.push_back(name);
    Json data = Json::object();
    data.set("physnets", std::move(physnets));
    data.set("tunneled", network.tunneled);
    return envelope("NetworkMetadata", "1.0", std::move(data));
}

Result<NetworkMetadata> network_metadata_from_json(const Json& document) {
    NOVALET_ASSIGN(const Json* data, data_of(document, "NetworkMetadata"));
    NetworkMetadata network;
    for (const Json& name : (*data)["physnets"].items()) {
        if (!name.is_string())
            return fail(Code::InvalidArgument,
                        cat("network_metadata: physnets: text expected, found ", name.dump()));
        network.physnets.insert(name.as_string());
    }
    network.tunneled = (*data)["tunneled"].as_bool();
    return network;
}

Json to_json(const HostTopology& topology) {
    if (topology.empty())
        return {};
    Json cells = Json::array();
    for (const HostCell& cell : topology.cells)
        cells.push_back(to_json(cell));
    Json data = Json::object();
    data.set("cells", std::move(cells));
    return envelope("NUMATopology", "1.2", std::move(data));
}

Result<HostTopology> host_topology_from_json(const Json& document) {
    HostTopology topology;
    if (document.is_null())
        return topology;
    NOVALET_ASSIGN(const Json* data, data_of(document, "NUMATopology"));
    if (!(*data)["cells"].is_array())
        return fail(Code::InvalidArgument, "NUMATopology: cells: a list expected");
    for (const Json& item : (*data)["cells"].items()) {
        NOVALET_ASSIGN(HostCell cell, cell_from_json(item));
        if (topology.cell(cell.id) != nullptr)
            return fail(Code::InvalidArgument, cat("NUMATopology: two cells with id ", cell.id));
        topology.cells.push_back(std::move(cell));
    }
    return topology;
}

} // namespace novalet::scheduler_hooks::model
