#include "scheduler_hooks/numa/topology_request.hpp"

#include "agent/core/text.hpp"

namespace novalet::scheduler_hooks::numa {
namespace {

using model::CpuSet;
using model::FlavorSpec;
using model::ImageSpec;

constexpr unsigned max_listed_cells = 128;
constexpr const char* cpu_lists = "numa_cpus";
constexpr const char* memory_list = "numa_mem";

Failure refuse(const char* exception, std::string text) {
    return fail_as(exception, Code::InvalidArgument, std::move(text));
}

Failure image_not_permitted(std::string_view property) {
    return refuse("ImageNUMATopologyForbidden",
                  cat("Image property '",
                      property,
                      "' is not permitted to override NUMA configuration set against the flavor"));
}

/// The texts of KEY.0, KEY.1, … up to the first gap, of flavor or image but not of both.
Result<std::vector<std::string>>
listed(const FlavorSpec& flavor, const ImageSpec& image, const char* key) {
    std::vector<std::string> by_flavor;
    std::vector<std::string> by_image;
    for (unsigned cell = 0; cell < max_listed_cells; ++cell) {
        const auto text = flavor.extra(cat("hw:", key, '.', cell));
        if (!text)
            break;
        by_flavor.emplace_back(*text);
    }
    for (unsigned cell = 0; cell < max_listed_cells; ++cell) {
        const auto text = image.property(cat("hw_", key, '.', cell));
        if (!text)
            break;
        by_image.emplace_back(*text);
    }
    // Nova reads the flavor's sets before it asks whether the image has any.
    if (std::string_view(key) == cpu_lists)
        for (const std::string& text : by_flavor)
            if (const auto set = CpuSet::parse(text); !set)
                return Failure(set.error());
    if (!by_flavor.empty() && !by_image.empty())
        return image_not_permitted(cat("hw_", key));
    return by_flavor.empty() ? by_image : by_flavor;
}

Result<std::int64_t> memory_number(const std::string& text, std::size_t cell) {
    const auto number = to_number<std::int64_t>(trim(text));
    if (!number || *number <= 0 || *number > (std::int64_t{1} << 40))
        return refuse(
            "Invalid",
            cat("numa_mem.", cell, " must be a number of MiB greater than 0, not '", text, "'"));
    return *number;
}

/// A cell's share of vCPUs: pinned ones and floating ones.
void assign_cpus(model::GuestCell& cell, const CpuSet& cpus, const Policies& wanted) {
    cell.pcpuset = cpus & wanted.pinned;
    cell.cpuset = cpus - wanted.pinned;
}

Result<std::vector<model::GuestCell>>
divided(const FlavorSpec& flavor, unsigned nodes, const Policies& wanted) {
    if (flavor.vcpus % nodes != 0 || flavor.memory_mib % nodes != 0)
        return refuse("ImageNUMATopologyAsymmetric",
                      "Instance CPUs and/or memory cannot be evenly distributed across instance "
                      "NUMA nodes. Explicit assignment of CPUs and memory to nodes is required");
    const unsigned each = flavor.vcpus / nodes;
    std::vector<model::GuestCell> cells(nodes);
    for (unsigned i = 0; i < nodes; ++i) {
        assign_cpus(cells[i], CpuSet::range(i * each, (i + 1) * each - 1), wanted);
        cells[i].memory_mib = flavor.memory_mib / nodes;
    }
    return cells;
}

/// Every vCPU of the flavor stands in exactly one cell.
Result<std::vector<CpuSet>> partition(const FlavorSpec& flavor,
                                      const std::vector<std::string>& texts) {
    std::vector<CpuSet> sets;
    CpuSet seen;
    for (const std::string& text : texts) {
        NOVALET_ASSIGN(CpuSet set, CpuSet::parse(text));
        for (const unsigned cpu : set.to_vector()) {
            if (cpu >= flavor.vcpus)
                return refuse("ImageNUMATopologyCPUOutOfRange",
                              cat("CPU number ", cpu, " is larger than max ", flavor.vcpus - 1));
            if (seen.contains(cpu))
                return refuse("ImageNUMATopologyCPUDuplicates",
                              cat("CPU number ", cpu, " is assigned to two nodes"));
            seen.insert(cpu);
        }
        sets.push_back(std::move(set));
    }
    const CpuSet missing = CpuSet::range(0, flavor.vcpus - 1) - seen;
    if (!missing.empty()) {
        std::vector<std::string> names;
        missing.for_each([&](unsigned cpu) { names.push_back(cat(cpu)); });
        return refuse("ImageNUMATopologyCPUsUnassigned",
                      cat("CPU number {", join(names, ", "), "} is not assigned to any node"));
    }
    return sets;
}

Result<std::vector<model::GuestCell>> explicit_cells(const FlavorSpec& flavor,
                                                     const std::vector<std::string>& cpu_texts,
                                                     const std::vector<std::string>& memory_texts,
                                                     const Policies& wanted) {
    NOVALET_ASSIGN(const std::vector<CpuSet> sets, partition(flavor, cpu_texts));
    std::vector<model::GuestCell> cells(sets.size());
    std::int64_t total = 0;
    for (std::size_t i = 0; i < cells.size(); ++i) {
        NOVALET_ASSIGN(cells[i].memory_mib, memory_number(memory_texts[i], i));
        if (sets[i].empty())
            return refuse("Invalid",
                          cat("numa_cpus.", i, " names no CPU; libvirt cannot start such a guest"));
        assign_cpus(cells[i], sets[i], wanted);
        total += cells[i].memory_mib;
    }
    if (total != flavor.memory_mib)
        return refuse(
            "ImageNUMATopologyMemoryOutOfRange",
            cat(total, " MB of memory assigned, but expected ", flavor.memory_mib, " MB"));
    return cells;
}

} // namespace

Result<std::optional<unsigned>> requested_nodes(const FlavorSpec& flavor, const ImageSpec& image) {
    const auto by_flavor = flavor.extra("hw:numa_nodes");
    const auto by_image = image.property("hw_numa_nodes");
    const bool flavor_set = by_flavor && !by_flavor->empty();
    if (flavor_set && by_image && *by_image != "0" && !by_image->empty())
        return image_not_permitted("hw_numa_nodes");
    const auto text = flavor_set ? by_flavor : by_image;
    if (!text || text->empty())
        return std::optional<unsigned>();
    const auto nodes = to_number<unsigned>(*text);
    if (!nodes || *nodes < 1)
        return refuse("InvalidNUMANodesNumber",
                      cat("The property 'numa_nodes' cannot be '",
                          *text,
                          "'. It must be a number greater than 0"));
    return std::optional(*nodes);
}

Result<model::GuestTopology> build_topology(const FlavorSpec& flavor,
                                            const ImageSpec& image,
                                            unsigned nodes,
                                            const Policies& wanted) {
    NOVALET_ASSIGN(const std::vector<std::string> cpus, listed(flavor, image, cpu_lists));
    NOVALET_ASSIGN(const std::vector<std::string> memory, listed(flavor, image, memory_list));
    model::GuestTopology topology;
    topology.emulator_policy = wanted.emulator;
    if (cpus.empty() && memory.empty()) {
        NOVALET_ASSIGN(topology.cells, divided(flavor, nodes, wanted));
    } else if (cpus.size() != nodes || memory.size() != nodes) {
        return refuse("ImageNUMATopologyIncomplete",
                      "CPU and memory allocation must be provided for all NUMA nodes");
    } else {
        NOVALET_ASSIGN(topology.cells, explicit_cells(flavor, cpus, memory, wanted));
    }
    for (std::size_t i = 0; i < topology.cells.size(); ++i) {
        model::GuestCell& cell = topology.cells[i];
        cell.id = static_cast<int>(i);
        cell.page_size_kib = wanted.page_size_kib;
        cell.cpu_policy = wanted.cpu;
        cell.thread_policy = wanted.thread;
    }
    return topology;
}

} // namespace novalet::scheduler_hooks::numa
