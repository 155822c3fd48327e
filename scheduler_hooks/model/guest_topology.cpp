#include "scheduler_hooks/model/guest_topology.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/model/primitive.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace novalet::scheduler_hooks::model {
namespace {

template <class E> struct Word {
    E value;
    std::string_view text;
};
constexpr std::array cpu_policies{Word<CpuPolicy>{CpuPolicy::Shared, "shared"},
                                  Word<CpuPolicy>{CpuPolicy::Dedicated, "dedicated"},
                                  Word<CpuPolicy>{CpuPolicy::Mixed, "mixed"}};
constexpr std::array thread_policies{Word<ThreadPolicy>{ThreadPolicy::Prefer, "prefer"},
                                     Word<ThreadPolicy>{ThreadPolicy::Isolate, "isolate"},
                                     Word<ThreadPolicy>{ThreadPolicy::Require, "require"}};
constexpr std::array emulator_policies{Word<EmulatorPolicy>{EmulatorPolicy::Share, "share"},
                                       Word<EmulatorPolicy>{EmulatorPolicy::Isolate, "isolate"}};

template <class E, std::size_t N>
const char* word_for(const std::array<Word<E>, N>& words, E value) noexcept {
    for (const auto& word : words)
        if (word.value == value)
            return word.text.data();
    return "?";
}

template <class E, std::size_t N>
std::optional<E> value_for(const std::array<Word<E>, N>& words, std::string_view text) noexcept {
    for (const auto& word : words)
        if (word.text == text)
            return word.value;
    return std::nullopt;
}

template <class E> Json optional_name(const std::optional<E>& value) {
    return value ? Json(name_of(*value)) : Json();
}

Json to_json(const VirtCpuTopology& topology) {
    Json data = Json::object();
    data.set("sockets", topology.sockets);
    data.set("cores", topology.cores);
    data.set("threads", topology.threads);
    return envelope("VirtCPUTopology", "1.0", std::move(data));
}

Json to_json(const GuestCell& cell) {
    Json data = Json::object();
    data.set("id", cell.id);
    data.set("cpuset", to_json(cell.cpuset));
    data.set("pcpuset", to_json(cell.pcpuset));
    data.set("memory", cell.memory_mib);
    data.set("pagesize", cell.page_size_kib == page_size_none ? Json() : Json(cell.page_size_kib));
    data.set("cpu_policy", optional_name(cell.cpu_policy));
    data.set("cpu_thread_policy", optional_name(cell.thread_policy));
    data.set("cpuset_reserved", cell.reserved ? to_json(*cell.reserved) : Json());
    if (cell.cpu_topology)
        data.set("cpu_topology", to_json(*cell.cpu_topology));
    Json pins;
    if (cell.pins) {
        pins = Json::object();
        for (const CpuPin& pin : *cell.pins)
            pins.set(cat(pin.vcpu), pin.cpu);
    }
    data.set("cpu_pinning_raw", std::move(pins));
    return envelope("InstanceNUMACell", "1.6", std::move(data));
}

template <class E>
Result<void> read_word(const Json& data,
                       const char* key,
                       std::optional<E> (*parse)(std::string_view) noexcept,
                       std::optional<E>& out,
                       const std::string& place) {
    NOVALET_ASSIGN(const std::optional<std::string> text, text_member(data, key, place));
    if (!text)
        return {};
    out = parse(*text);
    if (!out)
        return fail(Code::InvalidArgument, cat(place, ": ", key, ": unknown word '", *text, "'"));
    return {};
}

Result<std::optional<std::vector<CpuPin>>> pins_from_json(const Json& document,
                                                          const std::string& place) {
    if (document.is_null())
        return std::optional<std::vector<CpuPin>>();
    if (!document.is_object())
        return fail(Code::InvalidArgument, cat(place, ": cpu_pinning_raw: an object expected"));
    std::vector<CpuPin> pins;
    for (const auto& [key, value] : document.members()) {
        const auto vcpu = to_number<unsigned>(key);
        if (!vcpu || *vcpu > CpuSet::max_cpu || !value.is_integer() || value.as_int() < 0 ||
            value.as_int() > CpuSet::max_cpu)
            return fail(Code::InvalidArgument,
                        cat(place, ": cpu_pinning_raw: bad pin '", key, "': ", value.dump()));
        pins.push_back({*vcpu, static_cast<unsigned>(value.as_int())});
    }
    std::sort(
        pins.begin(), pins.end(), [](const CpuPin& a, const CpuPin& b) { return a.vcpu < b.vcpu; });
    return std::optional(std::move(pins));
}

Result<unsigned> count_member(const Json& data, const char* key, const std::string& place) {
    NOVALET_ASSIGN(const std::int64_t value, int_member(data, key, 1, place));
    if (value < 0 || value > CpuSet::max_cpu)
        return fail(Code::InvalidArgument, cat(place, ": ", key, ": out of range: ", value));
    return static_cast<unsigned>(value);
}

Result<std::optional<VirtCpuTopology>> virt_topology_from_json(const Json& document,
                                                               const std::string& place) {
    if (document.is_null())
        return std::optional<VirtCpuTopology>();
    NOVALET_ASSIGN(const Json* data, data_of(document, "VirtCPUTopology"));
    VirtCpuTopology topology;
    NOVALET_ASSIGN(topology.sockets, count_member(*data, "sockets", place));
    NOVALET_ASSIGN(topology.cores, count_member(*data, "cores", place));
    NOVALET_ASSIGN(topology.threads, count_member(*data, "threads", place));
    return std::optional(topology);
}

Result<GuestCell> cell_from_json(const Json& document) {
    NOVALET_ASSIGN(const Json* data, data_of(document, "InstanceNUMACell"));
    GuestCell cell;
    NOVALET_ASSIGN(const std::int64_t id, required_int(*data, "id", "InstanceNUMACell"));
    cell.id = static_cast<int>(id);
    const std::string place = cat("guest cell ", id);
    NOVALET_ASSIGN(cell.cpuset, cpu_set_from_json((*data)["cpuset"], cat(place, ": cpuset")));
    NOVALET_ASSIGN(cell.pcpuset, cpu_set_from_json((*data)["pcpuset"], cat(place, ": pcpuset")));
    NOVALET_ASSIGN(cell.memory_mib, int_member(*data, "memory", 0, place));
    NOVALET_ASSIGN(cell.page_size_kib, int_member(*data, "pagesize", page_size_none, place));
    NOVALET_TRY(read_word(*data, "cpu_policy", &cpu_policy_from, cell.cpu_policy, place));
    NOVALET_TRY(
        read_word(*data, "cpu_thread_policy", &thread_policy_from, cell.thread_policy, place));
    NOVALET_ASSIGN(cell.pins, pins_from_json((*data)["cpu_pinning_raw"], place));
    if (!(*data)["cpuset_reserved"].is_null()) {
        NOVALET_ASSIGN(
            cell.reserved,
            cpu_set_from_json((*data)["cpuset_reserved"], cat(place, ": cpuset_reserved")));
    }
    NOVALET_ASSIGN(cell.cpu_topology, virt_topology_from_json((*data)["cpu_topology"], place));
    // Before version 1.5 pinned vCPUs stood in cpuset and there was no pcpuset.
    if (!data->contains("pcpuset") && cell.cpu_policy == CpuPolicy::Dedicated)
        std::swap(cell.cpuset, cell.pcpuset);
    return cell;
}

} // namespace

const char* name_of(CpuPolicy policy) noexcept {
    return word_for(cpu_policies, policy);
}
const char* name_of(ThreadPolicy policy) noexcept {
    return word_for(thread_policies, policy);
}
const char* name_of(EmulatorPolicy policy) noexcept {
    return word_for(emulator_policies, policy);
}
std::optional<CpuPolicy> cpu_policy_from(std::string_view text) noexcept {
    return value_for(cpu_policies, text);
}
std::optional<ThreadPolicy> thread_policy_from(std::string_view text) noexcept {
    return value_for(thread_policies, text);
}
std::optional<EmulatorPolicy> emulator_policy_from(std::string_view text) noexcept {
    return value_for(emulator_policies, text);
}

CpuSet GuestCell::taken_cpus() const {
    CpuSet cpus;
    if (pins)
        for (const CpuPin& pin : *pins)
            cpus.insert(pin.cpu);
    if (reserved)
        cpus |= *reserved;
    return cpus;
}

void GuestTopology::clear_host_pinning() {
    for (GuestCell& cell : cells) {
        cell.id = -1;
        cell.pins.emplace();
        cell.reserved.reset();
    }
}

Json to_json(const std::optional<GuestTopology>& topology) {
    if (!topology)
        return {};
    Json cells = Json::array();
    for (const GuestCell& cell : topology->cells)
        cells.push_back(to_json(cell));
    Json data = Json::object();
    data.set("cells", std::move(cells));
    data.set("emulator_threads_policy", optional_name(topology->emulator_policy));
    if (topology->instance_uuid)
        data.set("instance_uuid", *topology->instance_uuid);
    if (topology->id)
        data.set("id", *topology->id);
    return envelope("InstanceNUMATopology", "1.3", std::move(data));
}

Result<std::optional<GuestTopology>> guest_topology_from_json(const Json& document) {
    if (document.is_null())
        return std::optional<GuestTopology>();
    NOVALET_ASSIGN(const Json* data, data_of(document, "InstanceNUMATopology"));
    if (!(*data)["cells"].is_array())
        return fail(Code::InvalidArgument, "InstanceNUMATopology: cells: a list expected");
    GuestTopology topology;
    for (const Json& item : (*data)["cells"].items()) {
        NOVALET_ASSIGN(GuestCell cell, cell_from_json(item));
        topology.cells.push_back(std::move(cell));
    }
    NOVALET_TRY(read_word(*data,
                          "emulator_threads_policy",
                          &emulator_policy_from,
                          topology.emulator_policy,
                          "InstanceNUMATopology"));
    NOVALET_ASSIGN(topology.instance_uuid,
                   text_member(*data, "instance_uuid", "InstanceNUMATopology"));
    if (!(*data)["id"].is_null()) {
        NOVALET_ASSIGN(topology.id, required_int(*data, "id", "InstanceNUMATopology"));
    }
    return std::optional(std::move(topology));
}

} // namespace novalet::scheduler_hooks::model
