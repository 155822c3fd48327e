// CPU model and placement of a guest (reference 07 §2.2, 08 §7).
#include "agent/core/text.hpp"
#include "hypervisor/domain/build_parts.hpp"
#include "scheduler_hooks/model/flavor_image.hpp"
#include "scheduler_hooks/model/virt_cpu_topology.hpp"
#include "scheduler_hooks/numa/constraints.hpp"

#include <algorithm>
#include <array>

namespace novalet::hypervisor::domain {
namespace {

namespace model = scheduler_hooks::model;
namespace numa = scheduler_hooks::numa;

model::FlavorSpec flavor_of(const GuestSpec& guest) {
    model::FlavorSpec flavor;
    flavor.name = guest.flavor.name;
    flavor.vcpus = guest.flavor.vcpus;
    flavor.memory_mib = static_cast<std::int64_t>(guest.flavor.memory_mib);
    flavor.extra_specs.insert(guest.flavor.extra_specs.begin(), guest.flavor.extra_specs.end());
    return flavor;
}

model::ImageSpec image_of(const GuestSpec& guest) {
    model::ImageSpec image;
    image.id = guest.image.id;
    image.properties.insert(guest.image.properties.begin(), guest.image.properties.end());
    return image;
}

/// libvirt's name of a feature from the end of its trait HW_CPU_X86_….
std::string feature_of_trait(const std::string& trait) {
    static const std::map<std::string, std::string> special{
        {"AESNI", "aes"},
        {"AMD_SVM", "svm"},
        {"AVX512GFNI", "gfni"},
        {"AVX512VAES", "vaes"},
        {"AVX512VPCLMULQDQ", "vpclmulqdq"},
        {"AVX512VPOPCNTDQ", "avx512-vpopcntdq"},
        {"AMXBF16", "amx-bf16"},
        {"AMXINT8", "amx-int8"},
        {"AMXTILE", "amx-tile"},
        {"BMI", "bmi1"},
        {"CLMUL", "pclmuldq"},
        {"FMA3", "fma"},
        {"INTEL_VMX", "vmx"},
        {"SHA", "sha-ni"},
        {"SSE41", "sse4.1"},
        {"SSE42", "sse4.2"},
    };
    const auto found = special.find(trait);
    return found == special.end() ? lower(trait) : found->second;
}

std::vector<std::string> required_features(const GuestSpec& guest) {
    constexpr std::string_view prefix = "trait:HW_CPU_X86_";
    std::vector<std::string> out;
    for (const auto& [key, value] : guest.flavor.extra_specs)
        if (key.starts_with(prefix) && value == "required")
            out.push_back(feature_of_trait(key.substr(prefix.size())));
    return out;
}

/// cpu_mode custom: the first configured model that has what the flavor's traits require.
Result<std::string> custom_model(const Building& building) {
    const auto& options = building.options;
    if (options.cpu_models.empty()) {
        if (building.domain.arch == "aarch64")
            return std::string("max");
        return fail_as("InvalidCPUInfo",
                       Code::InvalidArgument,
                       "cpu_mode is custom but cpu_models names no model");
    }
    const auto wanted = required_features(building.guest);
    for (const auto& name : options.cpu_models) {
        const auto known = options.cpu_model_features.find(name);
        const auto has = [&](const std::string& feature) {
            return known != options.cpu_model_features.end() &&
                   std::find(known->second.begin(), known->second.end(), feature) !=
                       known->second.end();
        };
        if (std::all_of(wanted.begin(), wanted.end(), has))
            return name;
    }
    return fail_as("InvalidCPUInfo",
                   Code::InvalidArgument,
                   cat("none of cpu_models (",
                       join(options.cpu_models, ", "),
                       ") has all features that the flavor requires: ",
                       join(wanted, ", ")));
}

/// A guest of another architecture than the host's is emulated; there the mode means nothing.
void set_emulated(Cpu& cpu, const std::string& arch) {
    cpu.mode.clear();
    cpu.features.clear();
    cpu.model = arch == "aarch64" ? "cortex-a57" : arch == "ppc64le" ? "POWER8" : "";
}

std::vector<std::uint64_t> page_sizes(const model::HostTopology& host) {
    std::vector<std::uint64_t> sizes;
    for (const auto& pool : host.cells.front().mempages)
        sizes.push_back(pool.size_kib);
    std::sort(sizes.begin(), sizes.end());
    return sizes;
}

/// Is this one of the host's page sizes besides the smallest?
bool is_large(std::int64_t page_kib, const std::vector<std::uint64_t>& sizes) {
    return page_kib > 0 && !sizes.empty() && static_cast<std::uint64_t>(page_kib) > sizes.front();
}

Result<model::CpuSet> shared_online(const DomainOptions& options) {
    NOVALET_ASSIGN(auto shared, model::CpuSet::parse(options.shared_cpus));
    if (options.online_cpus.empty())
        return shared;
    NOVALET_ASSIGN(const auto online, model::CpuSet::parse(options.online_cpus));
    const auto usable = shared & online;
    if (usable.empty())
        return fail_as("Invalid",
                       Code::InvalidArgument,
                       cat("Invalid cpu_shared_set config, one or more of the specified cpuset is "
                           "not online. Online cpuset(s): ",
                           online.str(),
                           ", requested cpuset(s): ",
                           shared.str()));
    return usable;
}

/// Pins of one cell's vCPUs, and those of them where the emulator may run as well.
Result<void> pin_cell(Building& building,
                      const model::GuestCell& cell,
                      const model::HostCell& host_cell,
                      const model::CpuSet& realtime,
                      model::CpuSet& emulator) {
    auto& pins = building.domain.tune.pins;
    const auto pin = [&](unsigned vcpu, const model::CpuSet& cpus) {
        pins.push_back({vcpu, cpus.str()});
        if (!realtime.contains(vcpu))
            emulator |= cpus;
    };
    model::CpuSet pinned;
    if (cell.pins)
        for (const auto& one : *cell.pins) {
            pin(one.vcpu, model::CpuSet{one.cpu});
            pinned.insert(one.vcpu);
        }
    const auto floating = cell.vcpus() - pinned;
    if (!(floating & cell.pcpuset).empty())
        return fail_as("CPUPinningInvalid",
                       Code::InvalidArgument,
                       cat("vCPUs ",
                           (floating & cell.pcpuset).str(),
                           " of guest cell on host cell ",
                           cell.id,
                           " are dedicated but have no host CPU; the guest was not claimed"));
    if (!floating.empty() && host_cell.cpuset.empty())
        return fail_as("NUMATopologyUnsupported",
                       Code::Unsupported,
                       cat("host cell ",
                           cell.id,
                           " has no shared CPUs for vCPUs ",
                           floating.str(),
                           "; set compute.cpu_shared_set"));
    floating.for_each([&](unsigned vcpu) { pin(vcpu, host_cell.cpuset); });
    return {};
}

Result<void> place(Building& building, const model::CpuSet& realtime) {
    const auto& options = building.options;
    const auto& topology = *building.guest.numa;
    auto& domain = building.domain;
    if (options.host.empty())
        return fail_as("NUMATopologyUnsupported",
                       Code::Unsupported,
                       "Host does not support guests with NUMA topology set");
    const auto sizes = page_sizes(options.host);
    const bool shared_access =
        std::any_of(topology.cells.begin(), topology.cells.end(), [&](const auto& cell) {
            return is_large(cell.page_size_kib, sizes) &&
                   std::find(sizes.begin(),
                             sizes.end(),
                             static_cast<std::uint64_t>(cell.page_size_kib)) != sizes.end();
        });
    model::CpuSet of_vcpus;
    model::CpuSet reserved;
    model::CpuSet nodes;
    unsigned index = 0;
    for (const auto& cell : topology.cells) {
        const auto* host_cell = options.host.cell(cell.id);
        if (host_cell == nullptr)
            return fail_as("NUMATopologyUnsupported",
                           Code::Unsupported,
                           cat("the guest is placed on host NUMA cell ",
                               cell.id,
                               ", which this host does not have (any more)"));
        NOVALET_TRY(pin_cell(building, cell, *host_cell, realtime, of_vcpus));
        if (cell.reserved)
            reserved |= *cell.reserved;
        domain.cpu.cells.push_back({index,
                                    cell.vcpus().str(),
                                    static_cast<std::uint64_t>(cell.memory_mib) << 10U,
                                    shared_access});
        domain.memory_nodes.push_back({index, std::to_string(cell.id)});
        nodes.insert(static_cast<unsigned>(cell.id));
        if (is_large(cell.page_size_kib, sizes))
            domain.huge_pages.push_back({static_cast<std::uint64_t>(cell.page_size_kib), index});
        ++index;
    }
    model::CpuSet emulator = of_vcpus;
    if (topology.emulator_policy == model::EmulatorPolicy::Isolate)
        emulator = reserved;
    else if (topology.emulator_policy == model::EmulatorPolicy::Share &&
             !options.shared_cpus.empty()) {
        NOVALET_ASSIGN(emulator, shared_online(options));
    }
    domain.tune.emulator_pin = emulator.str();
    if (domain.iothreads > 0)
        domain.tune.iothread_pin = domain.tune.emulator_pin;
    domain.numa_nodeset = nodes.str();
    std::sort(domain.tune.pins.begin(), domain.tune.pins.end(), [](const Pin& a, const Pin& b) {
        return a.vcpu < b.vcpu;
    });
    return {};
}

Result<void> set_quotas(Building& building) {
    for (const char* name : {"shares", "quota", "period"}) {
        const std::string key = cat("quota:cpu_", name);
        const auto text = building.wishes.flavor(key);
        if (text.empty())
            continue;
        if (!building.options.cpu_control)
            return fail_as("UnsupportedHostCPUControlPolicy",
                           Code::Unsupported,
                           cat("Requested CPU control policy not supported by host: ",
                               key,
                               " needs the cgroup controller 'cpu'"));
        // A quota of -1 means "none": what libvirt does without the element.
        if (text == "-1" && std::string_view(name) == "quota")
            continue;
        NOVALET_ASSIGN(const auto value, building.wishes.flavor_number(key));
        building.domain.tune.quotas.emplace_back(name, *value);
    }
    return {};
}

} // namespace

Result<void> add_cpu(Building& building) {
    const auto& options = building.options;
    Cpu& cpu = building.domain.cpu;
    std::string mode = options.cpu_mode;
    if (mode.empty())
        mode = options.arch == "aarch64" ? "host-passthrough" : "host-model";
    if (mode != "none") {
        cpu.mode = mode;
        if (mode == "custom") {
            NOVALET_ASSIGN(cpu.model, custom_model(building));
        }
        for (const auto& flag : options.cpu_extra_flags) {
            const bool off = flag.starts_with('-');
            const auto name = flag.starts_with('+') || off ? flag.substr(1) : flag;
            cpu.features.emplace_back(lower(name), off ? "disable" : "require");
        }
    }
    if (building.domain.arch != options.arch)
        set_emulated(cpu, building.domain.arch);
    const auto flavor = flavor_of(building.guest);
    const auto image = image_of(building.guest);
    NOVALET_ASSIGN(const auto best, model::best_cpu_topology(flavor, image));
    cpu.sockets = best.sockets;
    cpu.cores = best.cores;
    cpu.threads = best.threads;
    if (options.style.max_address_width) {
        NOVALET_ASSIGN(const auto width, numa::max_phys_addr(flavor, image));
        if (width) {
            cpu.max_address_mode = width->mode;
            cpu.max_address_bits = width->bits.value_or(0);
        }
    }
    return {};
}

Result<void> add_placement(Building& building) {
    auto& domain = building.domain;
    const auto& options = building.options;
    const auto flavor = flavor_of(building.guest);
    const auto image = image_of(building.guest);
    NOVALET_TRY(set_quotas(building));
    NOVALET_ASSIGN(const auto realtime, numa::realtime_cpus(flavor, image));
    NOVALET_ASSIGN(const auto locked, numa::locked_memory(flavor, image));
    NOVALET_ASSIGN(const auto encrypted,
                   numa::memory_encryption(flavor, image, building.domain.machine));
    if (encrypted)
        return fail_as("InvalidInput",
                       Code::Unsupported,
                       "Invalid input received: hw:mem_encryption is set, but this agent does not "
                       "start guests with encrypted memory");
    domain.locked_memory = locked;
    if (!realtime.empty()) {
        NOVALET_ASSIGN(const auto policy, numa::emulator_policy(flavor));
        if (policy == model::EmulatorPolicy::Share && options.shared_cpus.empty())
            return fail_as("RealtimeMaskNotFoundOrInvalid",
                           Code::InvalidArgument,
                           "Use of realtime CPUs requires either one or more non-realtime CPU(s) "
                           "or offloaded emulator threads.");
        domain.tune.realtime_vcpus = realtime.str();
        domain.tune.realtime_priority = options.realtime_priority;
        domain.locked_memory = true;
        domain.no_share_pages = true;
    }
    if (building.guest.numa)
        return place(building, realtime);
    domain.vcpu_cpuset = options.shared_cpus;
    return {};
}

} // namespace novalet::hypervisor::domain
