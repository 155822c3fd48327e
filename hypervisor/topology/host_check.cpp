#include "hypervisor/topology/host_check.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/model/page_size.hpp"

#include <algorithm>

namespace novalet::hypervisor::topology {
namespace {

namespace model = scheduler_hooks::model;
using model::CpuSet;

constexpr const char* shared_option = "compute.cpu_shared_set";
constexpr const char* dedicated_option = "compute.cpu_dedicated_set";
constexpr const char* pages_option = "compute.reserved_huge_pages";

std::string cpus_text(const CpuSet& cpus) {
    return cat(cpus.size() == 1 ? "CPU " : "CPUs ", cpus.str());
}

/// The value that would be right, ready to be copied.
std::string instead(const CpuSet& cpus) {
    return cpus.empty() ? std::string("; nothing is left of it then")
                        : cat("; write \"", cpus.str(), "\"");
}

class Check {
  public:
    Check(const HostWish& wish, const KernelState& kernel)
        : wish_(wish), options_(wish.cpus_and_pages), kernel_(kernel) {}

    HostFindings run() {
        const CpuSet shared = existing(shared_option, options_.shared_cpus);
        const CpuSet dedicated = existing(dedicated_option, options_.dedicated_cpus);
        if (shared.intersects(dedicated))
            error(dedicated_option,
                  cat("has ",
                      cpus_text(shared & dedicated),
                      " in common with cpu_shared_set; a CPU is either shared or dedicated",
                      instead(dedicated - shared)));
        if (shared.intersects(kernel_.isolated))
            warning(shared_option,
                    cat("has ",
                        cpus_text(shared & kernel_.isolated),
                        ", isolated by the kernel's isolcpus=: the scheduler does not spread "
                        "guests over them",
                        instead(shared - kernel_.isolated)));
        const bool sets = !options_.shared_cpus.empty() || !options_.dedicated_cpus.empty();
        if (sets && wish_.reserved_cpus != 0)
            error("compute.reserved_host_cpus",
                  cat("is ",
                      wish_.reserved_cpus,
                      ", but with cpu_shared_set or cpu_dedicated_set the CPUs they leave out are "
                      "the reserved ones; write 0"));
        memory();
        pages();
        return std::move(found_);
    }

  private:
    void error(std::string option, std::string text) {
        found_.errors.push_back({std::move(option), std::move(text)});
    }
    void warning(std::string option, std::string text) {
        found_.warnings.push_back({std::move(option), std::move(text)});
    }

    /// The CPUs of the set that are online; the others are told.
    CpuSet existing(const char* option, const std::string& text) {
        if (text.empty())
            return {};
        const auto set = CpuSet::parse(text);
        if (!set) {
            error(option, cat("is '", text, "': ", set.error().text));
            return {};
        }
        if (set->empty())
            error(option, cat("is '", text, "', which names no CPU; leave it out or name some"));
        const CpuSet offline = *set & kernel_.offline;
        const CpuSet unknown = *set - kernel_.online - kernel_.offline;
        const CpuSet good = *set & kernel_.online;
        if (!unknown.empty())
            error(option,
                  cat("names ",
                      cpus_text(unknown),
                      ", which this host does not have (it has ",
                      (kernel_.online | kernel_.offline).str(),
                      ")",
                      instead(good)));
        if (!offline.empty())
            error(option,
                  cat("names ",
                      cpus_text(offline),
                      ", which are off-line; switch them on (echo 1 > /sys/devices/system/cpu/cpu",
                      offline.front(),
                      "/online), or leave them out",
                      instead(good)));
        return good;
    }

    void memory() {
        std::uint64_t total_mib = 0;
        for (const auto& [id, node] : kernel_.nodes)
            total_mib += node.total_kib >> 10U;
        if (total_mib != 0 && wish_.reserved_memory_mib >= total_mib)
            error("compute.reserved_host_memory",
                  cat("is ",
                      wish_.reserved_memory_mib,
                      " MiB, but the host has ",
                      total_mib,
                      " MiB; nothing is left for guests"));
    }

    void pages() {
        for (const auto& [id, sizes] : options_.reserved_pages)
            for (const auto& [size, count] : sizes)
                reserved(id, size, count);
    }

    void reserved(int id, std::uint64_t size, std::int64_t count) {
        const auto node = kernel_.nodes.find(id);
        const std::string pages =
            cat(count, " pages of ", model::page_size_text(static_cast<std::int64_t>(size)));
        if (node == kernel_.nodes.end()) {
            std::vector<std::string> there;
            for (const auto& [other, memory] : kernel_.nodes)
                there.push_back(cat(other));
            error(pages_option,
                  cat("reserves ",
                      pages,
                      " of cell ",
                      id,
                      "; the host has cells ",
                      join(there, ", ")));
            return;
        }
        if (size < smallest_huge_page(node->second))
            return; // small pages may be reserved too
        for (const HugePagePool& pool : node->second.pools)
            if (pool.size_kib == size) {
                if (count > pool.total)
                    error(pages_option,
                          cat("reserves ",
                              pages,
                              " of cell ",
                              id,
                              ", which has ",
                              pool.total,
                              "; lower the count, or raise /sys/devices/system/node/node",
                              id,
                              "/hugepages/hugepages-",
                              size,
                              "kB/nr_hugepages"));
                return;
            }
        std::vector<std::string> sizes;
        for (const HugePagePool& pool : node->second.pools)
            sizes.push_back(model::page_size_text(static_cast<std::int64_t>(pool.size_kib)));
        error(pages_option,
              cat("reserves ",
                  pages,
                  " of cell ",
                  id,
                  ", a size that its kernel does not have",
                  sizes.empty() ? "" : cat("; it has ", join(sizes, ", "))));
    }

    static std::uint64_t smallest_huge_page(const NodeMemory& node) {
        return node.pools.empty() ? 65 : node.pools.front().size_kib;
    }

    const HostWish& wish_;
    const TopologyOptions& options_;
    const KernelState& kernel_;
    HostFindings found_;
};

/// What of the sets a guest needs.
struct Needs {
    bool shared = false;
    CpuSet pinned;
};

Needs needs_of(const GuestOnHost& guest) {
    Needs out;
    if (!guest.topology) {
        out.shared = true;
        return out;
    }
    for (const model::GuestCell& cell : guest.topology->cells) {
        out.shared |= !cell.cpuset.empty();
        out.pinned |= cell.taken_cpus();
    }
    return out;
}

} // namespace

HostFindings check_host(const HostWish& wish, const KernelState& kernel) {
    return Check(wish, kernel).run();
}

HostFindings check_guests(const TopologyOptions& options,
                          const CpuSet& online,
                          const std::vector<GuestOnHost>& guests) {
    HostFindings found;
    const auto sets = guest_cpus(options, online);
    if (!sets || sets->everything)
        return found; // what is wrong with the sets themselves, check_host() says
    for (const GuestOnHost& guest : guests) {
        const Needs needs = needs_of(guest);
        if (needs.shared && sets->shared.empty())
            found.errors.push_back({shared_option,
                                    cat("is empty, but guest ",
                                        guest.uuid,
                                        " has floating vCPUs; name CPUs for it, or move the guest "
                                        "away first")});
        if (!needs.pinned.empty() && sets->dedicated.empty())
            found.errors.push_back({dedicated_option,
                                    cat("is empty, but guest ",
                                        guest.uuid,
                                        " is pinned to ",
                                        cpus_text(needs.pinned),
                                        "; write \"",
                                        needs.pinned.str(),
                                        "\", or move the guest away first")});
        else if (!needs.pinned.is_subset_of(sets->dedicated))
            found.warnings.push_back({dedicated_option,
                                      cat("does not have ",
                                          cpus_text(needs.pinned - sets->dedicated),
                                          ", to which guest ",
                                          guest.uuid,
                                          " is pinned; write \"",
                                          (needs.pinned | sets->dedicated).str(),
                                          "\", or move the guest away")});
    }
    return found;
}

} // namespace novalet::hypervisor::topology
