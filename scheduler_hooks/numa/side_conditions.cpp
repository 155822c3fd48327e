#include "scheduler_hooks/numa/side_conditions.hpp"

#include "agent/core/text.hpp"

#include <algorithm>
#include <bit>

namespace novalet::scheduler_hooks::numa {
namespace {

using model::PciNumaPolicy;
using model::PciPool;
using model::PciRequest;
using model::TextMap;

constexpr CellMask bit(std::size_t index) {
    return CellMask{1} << index;
}

bool ignored_key(std::string_view key) {
    return key == "resource_class" || key == "traits" || key == "rp_uuids";
}

/// Nova compares lower-cased texts.
bool alike(std::string_view a, std::string_view b) {
    return a.size() == b.size() && (a == b || lower(a) == lower(b));
}

bool has(const TextMap& attributes, std::string_view key, std::string_view value) {
    const auto at = attributes.find(key);
    return at != attributes.end() && alike(at->second, value);
}

bool matches(const TextMap& spec, const PciPool& pool) {
    return std::all_of(spec.begin(), spec.end(), [&](const auto& wanted) {
        return ignored_key(wanted.first) || has(pool.attributes, wanted.first, wanted.second);
    });
}

bool matches_any(const PciRequest& request, const PciPool& pool) {
    return std::any_of(request.spec.begin(), request.spec.end(), [&](const TextMap& spec) {
        return matches(spec, pool);
    });
}

bool asks(const PciRequest& request, std::string_view key, std::string_view value) {
    return std::any_of(request.spec.begin(), request.spec.end(), [&](const TextMap& spec) {
        return has(spec, key, value);
    });
}

/// Physical functions, vDPA and remote-managed devices only go to who asks for them by name.
bool only_by_name(std::string_view key, std::string_view value) {
    if (key == "dev_type")
        return alike(value, "type-pf") || alike(value, "vdpa");
    return key == "remote_managed" && alike(value, "true");
}

bool kind_allowed(const PciRequest& request, const PciPool& pool) {
    return std::all_of(pool.attributes.begin(), pool.attributes.end(), [&](const auto& attribute) {
        const auto& [key, value] = attribute;
        return !only_by_name(key, value) || asks(request, key, value);
    });
}

/// Index of the cell that the pool is on; empty: on none of this host.
std::optional<std::size_t> cell_of(const model::HostTopology& host, const PciPool& pool) {
    for (std::size_t i = 0; pool.numa_node && i < host.cells.size(); ++i)
        if (host.cells[i].id == *pool.numa_node)
            return i;
    return std::nullopt;
}

} // namespace

SideConditions::SideConditions(const model::HostTopology& host,
                               const model::NumaLimits* limits,
                               const std::vector<PciRequest>* requests,
                               const std::vector<PciPool>* pools)
    : host_(host), pools_(pools) {
    if (limits != nullptr && limits->network)
        read_networks(*limits);
    if (requests != nullptr && !requests->empty() && pools != nullptr)
        read_requests(*requests);
    if (none())
        return;
    if (host_.cells.size() > max_side_cells)
        too_many_ = true;
    else
        make_kinds();
}

void SideConditions::read_networks(const model::NumaLimits& limits) {
    covers_.assign(host_.cells.size(), 0);
    const auto add = [&](const std::string& name, auto&& provides) {
        // What no cell provides has no affinity to ask for.
        if (std::none_of(host_.cells.begin(), host_.cells.end(), provides))
            return;
        if (item_names_.size() >= 64) {
            too_many_ = true;
            return;
        }
        const std::uint64_t item = std::uint64_t{1} << item_names_.size();
        item_names_.push_back(name);
        items_ |= item;
        for (std::size_t i = 0; i < host_.cells.size(); ++i)
            if (provides(host_.cells[i]))
                covers_[i] |= item;
    };
    for (const std::string& physnet : limits.network->physnets)
        add(physnet,
            [&](const model::HostCell& c) { return c.network.physnets.count(physnet) != 0; });
    if (limits.network->tunneled)
        add("tunnels", [](const model::HostCell& c) { return c.network.tunneled; });
}

void SideConditions::read_requests(const std::vector<PciRequest>& requests) {
    ask_pci_ = true;
    pool_cell_.reserve(pools_->size());
    for (const PciPool& pool : *pools_)
        pool_cell_.push_back(cell_of(host_, pool));
    requests_.reserve(requests.size());
    for (const PciRequest& asked : requests) {
        Request& request = requests_.emplace_back();
        request.asked = &asked;
        request.matching.reserve(pools_->size());
        request.allowed.assign(pools_->size(), false);
        request.per_cell.assign(host_.cells.size(), 0);
        for (std::size_t p = 0; p < pools_->size(); ++p) {
            const PciPool& pool = (*pools_)[p];
            if (!matches_any(asked, pool))
                continue;
            request.matching.push_back(p);
            request.allowed[p] = kind_allowed(asked, pool);
            request.total += pool.count;
            if (pool_cell_[p])
                request.per_cell[*pool_cell_[p]] += pool.count;
            else if (!pool.numa_node)
                request.nowhere += pool.count;
        }
    }
}

void SideConditions::make_kinds() {
    const std::size_t count = host_.cells.size();
    bool sockets_matter = false;
    for (const Request& request : requests_) {
        sockets_matter |= request.asked->numa_policy == PciNumaPolicy::Socket;
        for (std::size_t i = 0; i < count; ++i)
            if (request.per_cell[i] != 0)
                relevant_ |= bit(i);
    }
    // With policy socket a cell without devices reaches those of its neighbours.
    if (sockets_matter)
        relevant_ = count == max_side_cells ? ~CellMask{0} : bit(count) - 1;
    kinds_.assign(count, 0);
    for (std::size_t i = 0; i < count; ++i) {
        std::size_t same = i;
        for (std::size_t j = 0; j < i && same == i; ++j) {
            const bool plain = ((relevant_ >> i) & 1U) == 0 && ((relevant_ >> j) & 1U) == 0;
            if (plain && (covers_.empty() || covers_[i] == covers_[j]))
                same = j;
        }
        kinds_[i] = same;
    }
}

bool SideConditions::satisfied(CellMask cells) {
    if (too_many_ || !networks_satisfied(cells))
        return false;
    if (!ask_pci_)
        return true;
    const CellMask key = cells & relevant_;
    const auto [at, inserted] = known_.try_emplace(key, false);
    if (inserted)
        at->second = devices_satisfied(cells);
    return at->second;
}

bool SideConditions::networks_satisfied(CellMask cells) const {
    std::uint64_t covered = 0;
    for (CellMask rest = cells; items_ != 0 && rest != 0; rest &= rest - 1)
        covered |= covers_[static_cast<std::size_t>(std::countr_zero(rest))];
    return (items_ & ~covered) == 0;
}

CellMask SideConditions::same_sockets(CellMask cells) const {
    CellMask out = 0;
    for (std::size_t i = 0; i < host_.cells.size(); ++i) {
        if (!host_.cells[i].socket)
            return 0;
        for (CellMask rest = cells; rest != 0; rest &= rest - 1)
            if (host_.cells[static_cast<std::size_t>(std::countr_zero(rest))].socket ==
                host_.cells[i].socket)
                out |= bit(i);
    }
    return out;
}

/// The pools a request may take from, in the order it takes; nothing left counts as not there.
std::vector<std::size_t> SideConditions::filtered(const Request& request,
                                                  CellMask cells,
                                                  const std::vector<std::int64_t>& left) const {
    const auto on = [&](std::size_t p, CellMask mask) {
        return pool_cell_[p] && ((mask >> *pool_cell_[p]) & 1U) != 0;
    };
    const auto nowhere = [&](std::size_t p) { return !(*pools_)[p].numa_node; };
    std::vector<std::size_t> there;
    there.reserve(request.matching.size());
    for (const std::size_t p : request.matching)
        if (left[p] > 0)
            there.push_back(p);
    std::vector<std::size_t> near;
    near.reserve(there.size());
    std::int64_t devices = 0;
    const auto collect = [&](auto&& wanted) {
        for (const std::size_t p : there)
            if (wanted(p)) {
                near.push_back(p);
                devices += left[p];
            }
    };
    const PciNumaPolicy policy = request.asked->numa_policy;
    collect([&](std::size_t p) { return on(p, cells); });
    if (policy == PciNumaPolicy::Required || devices >= request.asked->count)
        return near;
    if (policy == PciNumaPolicy::Socket) {
        const CellMask reach = same_sockets(cells);
        near.clear();
        collect([&](std::size_t p) { return on(p, reach); });
        return near;
    }
    // Near ones and those without a cell in the order of the pools, as Nova takes them.
    near.clear();
    devices = 0;
    collect([&](std::size_t p) { return on(p, cells) || nowhere(p); });
    if (policy == PciNumaPolicy::Legacy || devices >= request.asked->count)
        return near;
    std::stable_sort(there.begin(), there.end(), [&](std::size_t a, std::size_t b) {
        const auto far = [&](std::size_t p) { return !on(p, cells) && !nowhere(p); };
        return far(a) < far(b);
    });
    return there;
}

/// Every request in order takes its devices, as the claim will.
bool SideConditions::devices_satisfied(CellMask cells) const {
    std::vector<std::int64_t> left;
    left.reserve(pools_->size());
    for (const PciPool& pool : *pools_)
        left.push_back(pool.count);
    for (const Request& request : requests_) {
        std::int64_t missing = request.asked->count;
        for (const std::size_t p : filtered(request, cells, left)) {
            if (!request.allowed[p])
                continue;
            const std::int64_t taken = std::min(missing, left[p]);
            left[p] -= taken;
            missing -= taken;
        }
        if (missing > 0)
            return false;
    }
    return true;
}

bool SideConditions::reachable(CellMask cells, std::size_t more) const {
    if (too_many_)
        return false;
    std::uint64_t covered = 0;
    int widest = 0;
    for (std::size_t i = 0; items_ != 0 && i < covers_.size(); ++i)
        if (((cells >> i) & 1U) != 0)
            covered |= covers_[i];
        else
            widest = std::max(widest, std::popcount(covers_[i]));
    if (std::popcount(items_ & ~covered) > widest * static_cast<int>(more))
        return false;
    for (const Request& request : requests_) {
        const PciNumaPolicy policy = request.asked->numa_policy;
        if (policy == PciNumaPolicy::Preferred || policy == PciNumaPolicy::Socket) {
            if (request.total < request.asked->count)
                return false;
            continue;
        }
        std::int64_t devices = policy == PciNumaPolicy::Legacy ? request.nowhere : 0;
        std::int64_t largest = 0;
        for (std::size_t i = 0; i < request.per_cell.size(); ++i)
            if (((cells >> i) & 1U) != 0)
                devices += request.per_cell[i];
            else
                largest = std::max(largest, request.per_cell[i]);
        if (devices + largest * static_cast<std::int64_t>(more) < request.asked->count)
            return false;
    }
    return true;
}

std::vector<std::int64_t> SideConditions::devices_per_cell(const model::HostTopology& host,
                                                           const std::vector<PciPool>& pools) {
    std::vector<std::int64_t> devices(host.cells.size(), 0);
    for (const PciPool& pool : pools)
        if (const auto cell = cell_of(host, pool))
            devices[*cell] += pool.count;
    return devices;
}

std::vector<std::string> SideConditions::lines() const {
    std::vector<std::string> out;
    if (too_many_)
        out.push_back(cat("host has ",
                          host_.cells.size(),
                          " cells; PCI and network affinity are ",
                          "decided for at most ",
                          max_side_cells,
                          " cells and 64 networks"));
    for (const Request& request : requests_) {
        std::string text = cat("PCI request",
                               request.asked->alias_name.empty() ? "" : " ",
                               request.asked->alias_name,
                               " needs ",
                               request.asked->count,
                               " devices with affinity '",
                               name_of(request.asked->numa_policy),
                               "'; free:");
        for (std::size_t i = 0; i < request.per_cell.size(); ++i)
            text += cat(" cell ", host_.cells[i].id, ": ", request.per_cell[i], ",");
        out.push_back(cat(text, " without a cell: ", request.nowhere));
    }
    for (std::size_t item = 0; item < item_names_.size(); ++item) {
        std::string cells;
        for (std::size_t i = 0; i < covers_.size(); ++i)
            if (((covers_[i] >> item) & 1U) != 0)
                cells += cat(cells.empty() ? "" : ", ", host_.cells[i].id);
        out.push_back(cat("network ", item_names_[item], " is near host cells ", cells, " only"));
    }
    return out;
}

} // namespace novalet::scheduler_hooks::numa
