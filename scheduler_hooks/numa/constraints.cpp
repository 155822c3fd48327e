// The order of the steps is Nova's (numa_get_constraints; reference 08 §2): it decides which error
// the user sees when several things are wrong.
#include "scheduler_hooks/numa/constraints.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/model/page_size.hpp"
#include "scheduler_hooks/numa/topology_request.hpp"

#include <algorithm>

namespace novalet::scheduler_hooks::numa {
namespace {

using model::CpuPolicy;
using model::CpuSet;
using model::EmulatorPolicy;
using model::FlavorSpec;
using model::ImageSpec;
using model::ThreadPolicy;

Failure refuse(const char* exception, std::string text) {
    return fail_as(exception, Code::InvalidArgument, std::move(text));
}

/// Empty text counts as not set, as in Python.
std::optional<std::string_view> set_text(std::optional<std::string_view> text) {
    return text && !text->empty() ? text : std::nullopt;
}

/// Junk is false (reference 08 §1.1).
bool is_true(std::string_view text) {
    return to_bool(text).value_or(false);
}

Result<std::optional<CpuPolicy>> cpu_policy(const FlavorSpec& flavor, const ImageSpec& image) {
    const auto read = [](std::optional<std::string_view> text,
                         const char* source) -> Result<std::optional<CpuPolicy>> {
        if (!text)
            return std::optional<CpuPolicy>();
        const auto policy = model::cpu_policy_from(*text);
        if (!policy)
            return refuse("InvalidCPUAllocationPolicy",
                          cat("CPU policy requested from '",
                              source,
                              "' is invalid, given: '",
                              *text,
                              "', available: '('dedicated', 'shared', 'mixed')'."));
        return policy;
    };
    NOVALET_ASSIGN(const auto by_flavor,
                   read(set_text(flavor.extra("hw:cpu_policy")), "flavor extra specs"));
    NOVALET_ASSIGN(const auto by_image,
                   read(set_text(image.property("hw_cpu_policy")), "image properties"));
    if (!by_flavor || !by_image)
        return by_flavor ? by_flavor : by_image;
    const bool allowed = *by_flavor == CpuPolicy::Dedicated || *by_flavor == *by_image ||
                         (*by_flavor == CpuPolicy::Mixed && *by_image == CpuPolicy::Shared);
    if (!allowed)
        return refuse("ImageCPUPinningForbidden",
                      cat("Image property 'hw_cpu_policy' is not permitted to override CPU pinning "
                          "policy set against the flavor (flavor '",
                          name_of(*by_flavor),
                          "', image '",
                          name_of(*by_image),
                          "')"));
    return by_flavor;
}

Result<std::optional<ThreadPolicy>> thread_policy(const FlavorSpec& flavor,
                                                  const ImageSpec& image) {
    const auto read = [](std::optional<std::string_view> text,
                         const char* source) -> Result<std::optional<ThreadPolicy>> {
        if (!text)
            return std::optional<ThreadPolicy>();
        const auto policy = model::thread_policy_from(*text);
        if (!policy)
            return refuse("InvalidCPUThreadAllocationPolicy",
                          cat("CPU thread policy requested from '",
                              source,
                              "' is invalid, given: '",
                              *text,
                              "', available: '('prefer', 'isolate', 'require')'."));
        return policy;
    };
    NOVALET_ASSIGN(const auto by_flavor,
                   read(set_text(flavor.extra("hw:cpu_thread_policy")), "flavor extra specs"));
    NOVALET_ASSIGN(const auto by_image,
                   read(set_text(image.property("hw_cpu_thread_policy")), "image properties"));
    // Empty text in the flavor is no policy, but one that the image may not replace (as in Nova).
    const auto in_flavor = flavor.extra("hw:cpu_thread_policy");
    const bool replaceable = !in_flavor || by_flavor == ThreadPolicy::Prefer;
    if (!replaceable && by_image && by_image != by_flavor)
        return refuse("ImageCPUThreadPolicyForbidden",
                      cat("Image property 'hw_cpu_thread_policy' is not permitted to override "
                          "CPU thread pinning policy set against the flavor (flavor '",
                          *in_flavor,
                          "', image '",
                          name_of(*by_image),
                          "')"));
    return by_flavor ? by_flavor : by_image;
}

/// A mask of vCPUs; one that begins with ^ means "all but".
Result<CpuSet> vcpu_mask(std::string_view text, unsigned vcpus) {
    if (!text.empty() && text.front() == '^')
        return CpuSet::parse(cat("0-", vcpus - 1, ',', text));
    return CpuSet::parse(text);
}

/// Empty optional: no mask.
Result<std::optional<CpuSet>> dedicated_mask(const FlavorSpec& flavor) {
    const auto text = set_text(flavor.extra("hw:cpu_dedicated_mask"));
    if (!text)
        return std::optional<CpuSet>();
    NOVALET_ASSIGN(CpuSet mask, vcpu_mask(*text, flavor.vcpus));
    const CpuSet all = CpuSet::range(0, flavor.vcpus - 1);
    const CpuSet pinned = mask & all;
    const bool some_of_both = !mask.empty() && !(all - mask).empty();
    if (!some_of_both)
        return refuse("InvalidMixedInstanceDedicatedMask",
                      "Mixed instance must have at least 1 pinned vCPU and 1 unpinned vCPU. See "
                      "'hw:cpu_dedicated_mask'.");
    if (pinned != mask)
        return refuse("InvalidMixedInstanceDedicatedMask",
                      "Mixed instance dedicated vCPU(s) mask is not a subset of vCPUs in the "
                      "flavor. See \"hw:cpu_dedicated_mask\"");
    return std::optional(std::move(mask));
}

/// Is it "resources", optional number from 1, ":" and the class? A prefix match, as in Nova.
bool is_resource_key(std::string_view key, std::string_view prefix, std::string_view resource) {
    if (key.substr(0, prefix.size()) != prefix)
        return false;
    key.remove_prefix(prefix.size());
    if (!key.empty() && key.front() >= '1' && key.front() <= '9')
        while (!key.empty() && key.front() >= '0' && key.front() <= '9')
            key.remove_prefix(1);
    return !key.empty() && key.front() == ':' && key.substr(1, resource.size()) == resource;
}

std::int64_t requested(const FlavorSpec& flavor, std::string_view resource) {
    std::int64_t sum = 0;
    for (const auto& [key, value] : flavor.extra_specs)
        if (is_resource_key(key, "resources", resource))
            sum += to_number<std::int64_t>(trim(value)).value_or(0);
    return sum;
}

/// resources:VCPU and resources:PCPU stand for a policy (reference 08 §1.5).
Result<void> policy_from_resources(const FlavorSpec& flavor,
                                   std::optional<EmulatorPolicy> emulator,
                                   std::optional<CpuPolicy>& policy) {
    const std::int64_t shared = requested(flavor, "VCPU");
    const std::int64_t pinned = requested(flavor, "PCPU");
    if (policy && (shared != 0 || pinned != 0))
        return refuse("InvalidRequest",
                      "It is not possible to use the 'resources:VCPU' or 'resources:PCPU' extra "
                      "specs in combination with the 'hw:cpu_policy' extra spec or 'hw_cpu_policy' "
                      "image metadata property; use one or the other");
    if (shared != 0 && pinned != 0)
        return refuse("InvalidRequest",
                      "It is not possible to specify both 'resources:VCPU' and 'resources:PCPU' "
                      "extra specs; use one or the other");
    if (pinned != 0) {
        const std::int64_t vcpus = flavor.vcpus;
        if (emulator == EmulatorPolicy::Isolate) {
            if (pinned != vcpus + 1)
                return refuse("InvalidRequest",
                              "You have requested 'hw:emulator_threads_policy=isolate' but have "
                              "not requested sufficient PCPUs to handle this policy; you must "
                              "allocate exactly flavor.vcpus + 1 PCPUs.");
        } else if (pinned != vcpus) {
            return refuse("InvalidRequest",
                          "There is a mismatch between the number of PCPUs requested via "
                          "'resourcesNN:PCPU' and the flavor); you must allocate exactly "
                          "flavor.vcpus PCPUs");
        }
        policy = CpuPolicy::Dedicated;
    } else if (shared != 0) {
        policy = CpuPolicy::Shared;
    }
    return {};
}

/// The hyper-threading trait stands for a thread policy (reference 08 §2 step 7).
Result<void> thread_policy_from_trait(const FlavorSpec& flavor,
                                      const ImageSpec& image,
                                      std::optional<ThreadPolicy>& policy) {
    std::optional<std::string_view> wanted;
    for (const auto& [key, value] : flavor.extra_specs)
        if (!wanted && is_resource_key(key, "trait", "HW_CPU_HYPERTHREADING"))
            wanted = value;
    if (!wanted && image.property("trait:HW_CPU_HYPERTHREADING") == "required")
        wanted = "required";
    if (!wanted)
        return {};
    if (policy)
        return refuse("InvalidRequest",
                      "It is not possible to use the 'trait:HW_CPU_HYPERTHREADING' extra spec in "
                      "combination with the 'hw:cpu_thread_policy' extra spec or "
                      "'hw_cpu_thread_policy' image metadata property; use one or the other");
    if (*wanted == "forbidden")
        policy = ThreadPolicy::Isolate;
    else if (*wanted == "required")
        policy = ThreadPolicy::Require;
    return {};
}

/// What the policies allow together (reference 08 §2 step 8); decides the pinned vCPUs of mixed.
Result<void> check_policies(const Policies& wanted, std::optional<CpuSet>& dedicated) {
    const bool realtime = !wanted.realtime.empty();
    if (wanted.cpu == CpuPolicy::Mixed) {
        if (realtime == dedicated.has_value())
            return refuse("RequiredMixedOrRealtimeCPUMask",
                          "Dedicated CPU set can be specified from either 'hw:cpu_dedicated_mask' "
                          "or 'hw:cpu_realtime_mask' when using 'mixed' CPU policy. "
                          "'hw:cpu_dedicated_mask' and 'hw:cpu_realtime_mask' can not be specified "
                          "at the same time, or be specified with none of them.");
        if (realtime)
            dedicated = wanted.realtime;
        return {};
    }
    const bool pinned = wanted.cpu == CpuPolicy::Dedicated;
    if (!pinned && wanted.thread)
        return refuse("CPUThreadPolicyConfigurationInvalid",
                      "Cannot set cpu thread pinning policy in a non dedicated cpu pinning policy");
    if (!pinned && wanted.emulator == EmulatorPolicy::Isolate)
        return refuse("BadRequirementEmulatorThreadsPolicy",
                      "An isolated CPU emulator threads option requires a dedicated CPU policy "
                      "option.");
    if (dedicated)
        return refuse("RequiredMixedInstancePolicy",
                      "Cannot specify 'hw:cpu_dedicated_mask' without the 'mixed' policy.");
    if (!pinned && realtime)
        return refuse("RealtimeConfigurationInvalid",
                      "Cannot set realtime policy in a non dedicated cpu pinning policy");
    return {};
}

std::optional<bool> boolean(std::optional<std::string_view> text) {
    if (!text)
        return std::nullopt;
    return is_true(*text);
}

const char* python_bool(bool value) {
    return value ? "True" : "False";
}

/// Persistent-memory labels: the list counts even though nothing of it is placed here.
bool wants_persistent_memory(const FlavorSpec& flavor) {
    for (const std::string& label : split(flavor.extra("hw:pmem").value_or(""), ','))
        if (!trim(label).empty())
            return true;
    return false;
}

} // namespace

Result<std::optional<EmulatorPolicy>> emulator_policy(const FlavorSpec& flavor) {
    const auto text = set_text(flavor.extra("hw:emulator_threads_policy"));
    if (!text)
        return std::optional<EmulatorPolicy>();
    const auto policy = model::emulator_policy_from(*text);
    if (!policy)
        return refuse("InvalidEmulatorThreadsPolicy",
                      cat("CPU emulator threads option requested is invalid, given: '",
                          *text,
                          "', available: '('share', 'isolate')'."));
    return policy;
}

Result<CpuSet> realtime_cpus(const FlavorSpec& flavor, const ImageSpec& image) {
    const CpuSet all = CpuSet::range(0, flavor.vcpus - 1);
    CpuSet mask;
    if (!is_true(flavor.extra("hw:cpu_realtime").value_or("")))
        return mask;
    auto text = set_text(image.property("hw_cpu_realtime_mask"));
    if (!text)
        text = set_text(flavor.extra("hw:cpu_realtime_mask"));
    mask = all;
    if (text) {
        NOVALET_ASSIGN(mask, vcpu_mask(*text, flavor.vcpus));
    }
    std::optional<EmulatorPolicy> emulator;
    if (!mask.empty()) {
        NOVALET_ASSIGN(emulator, emulator_policy(flavor));
    }
    if (mask.empty() || ((all - mask).empty() && !emulator))
        return refuse("RealtimeMaskNotFoundOrInvalid",
                      "Use of realtime CPUs requires either one or more non-realtime CPU(s) or "
                      "offloaded emulator threads.");
    if (!mask.is_subset_of(all))
        return refuse("RealtimeMaskNotFoundOrInvalid",
                      "Realtime policy vCPU(s) mask is configured with RT vCPUs that are not a "
                      "subset of the vCPUs in the flavor. See hw:cpu_realtime_mask or "
                      "hw_cpu_realtime_mask");
    return mask;
}

Result<std::int64_t> page_size(const FlavorSpec& flavor, const ImageSpec& image) {
    const auto by_flavor = set_text(flavor.extra("hw:mem_page_size"));
    const auto by_image = set_text(image.property("hw_mem_page_size"));
    std::int64_t size = model::page_size_none;
    if (by_flavor) {
        NOVALET_ASSIGN(size, model::parse_page_size(*by_flavor));
    }
    if (!by_image)
        return size;
    if (size != model::page_size_any && size != model::page_size_large)
        return refuse("MemoryPageSizeForbidden",
                      cat("Page size ",
                          *by_image,
                          " forbidden against '",
                          by_flavor.value_or("<empty>"),
                          "'"));
    return model::parse_page_size(*by_image);
}

Result<bool> locked_memory(const FlavorSpec& flavor, const ImageSpec& image) {
    const auto by_flavor = boolean(flavor.extra("hw:locked_memory"));
    const auto by_image = boolean(image.property("hw_locked_memory"));
    if (by_flavor && by_image && *by_flavor != *by_image)
        return refuse("FlavorImageLockedMemoryConflict",
                      cat("locked_memory value in image (",
                          python_bool(*by_image),
                          ") and flavor (",
                          python_bool(*by_flavor),
                          ") conflict. A consistent value is expected if both specified."));
    const bool locked = by_flavor.value_or(false) || by_image.value_or(false);
    if (locked && !set_text(flavor.extra("hw:mem_page_size")) &&
        !set_text(image.property("hw_mem_page_size")))
        return refuse("LockMemoryForbidden",
                      "locked_memory value in image or flavor is forbidden when mem_page_size is "
                      "not set.");
    return locked;
}

Result<std::optional<model::PciNumaPolicy>> pci_numa_policy(const FlavorSpec& flavor,
                                                            const ImageSpec& image) {
    const auto by_flavor = set_text(flavor.extra("hw:pci_numa_affinity_policy"));
    const auto by_image = set_text(image.property("hw_pci_numa_affinity_policy"));
    if (by_flavor && by_image && *by_flavor != *by_image)
        return refuse("ImagePCINUMAPolicyForbidden",
                      cat("Image property 'hw_pci_numa_affinity_policy' is not permitted to "
                          "override the 'hw:pci_numa_affinity_policy' flavor extra spec. (flavor '",
                          *by_flavor,
                          "', image '",
                          *by_image,
                          "')"));
    const auto text = by_flavor ? by_flavor : by_image;
    if (!text)
        return std::optional<model::PciNumaPolicy>();
    const auto policy = model::pci_numa_policy_from(*text);
    if (!policy)
        return refuse("InvalidPCINUMAAffinity",
                      cat("Invalid PCI NUMA affinity configured: ", *text));
    return policy;
}

Result<bool>
memory_encryption(const FlavorSpec& flavor, const ImageSpec& image, std::string_view machine_type) {
    const auto by_flavor = boolean(flavor.extra("hw:mem_encryption"));
    const auto by_image = boolean(image.property("hw_mem_encryption"));
    if (by_flavor && by_image && *by_flavor != *by_image)
        return refuse("FlavorImageConflict",
                      cat("Flavor ",
                          flavor.name,
                          " has hw:mem_encryption extra spec explicitly set to ",
                          flavor.extra("hw:mem_encryption").value_or(""),
                          ", conflicting with image ",
                          image.name,
                          " which has hw_mem_encryption property explicitly set to ",
                          image.property("hw_mem_encryption").value_or("")));
    if (!by_flavor.value_or(false) && !by_image.value_or(false))
        return false;
    std::string requesters = by_flavor.value_or(false)
                                 ? cat("hw:mem_encryption extra spec in ", flavor.name, " flavor")
                                 : std::string();
    if (by_image.value_or(false))
        requesters += cat(
            requesters.empty() ? "" : " and ", "hw_mem_encryption property of image ", image.name);
    if (image.property("hw_firmware_type") != "uefi")
        return refuse("FlavorImageConflict",
                      cat("Memory encryption requested by ",
                          requesters,
                          " but image ",
                          image.name,
                          " doesn't have 'hw_firmware_type' property set to 'uefi'"));
    const std::string_view machine = image.property("hw_machine_type").value_or(machine_type);
    if (machine.find("q35") == std::string_view::npos)
        return refuse("InvalidMachineType",
                      cat("Machine type '",
                          machine,
                          "' is not compatible with image ",
                          image.name,
                          " (",
                          image.id,
                          "): q35 type is required for SEV to work"));
    return true;
}

Result<std::optional<MaxPhysAddr>> max_phys_addr(const FlavorSpec& flavor, const ImageSpec& image) {
    const auto by_flavor = set_text(flavor.extra("hw:maxphysaddr_mode"));
    const auto by_image = set_text(image.property("hw_maxphysaddr_mode"));
    if (by_flavor && by_image && *by_flavor != *by_image)
        return refuse("FlavorImageConflict",
                      cat("Flavor ",
                          flavor.name,
                          " has hw:maxphysaddr_mode extra spec explicitly set to ",
                          *by_flavor,
                          ", conflicting with image ",
                          image.name,
                          " which has hw_maxphysaddr_mode explicitly set to ",
                          *by_image,
                          "."));
    const auto mode = by_flavor ? by_flavor : by_image;
    if (!mode)
        return std::optional<MaxPhysAddr>();
    if (*mode != "passthrough" && *mode != "emulate")
        return refuse(
            "Invalid",
            cat("Invalid Maxphyaddr mode '", *mode, "'. Allowed values: passthrough, emulate."));
    MaxPhysAddr out{std::string(*mode), {}};
    auto bits = set_text(flavor.extra("hw:maxphysaddr_bits"));
    if (!bits)
        bits = set_text(image.property("hw_maxphysaddr_bits"));
    if (bits) {
        out.bits = to_number<unsigned>(trim(*bits));
        if (!out.bits)
            return refuse("Invalid",
                          cat("maxphysaddr_bits must be a whole number, not '", *bits, "'"));
    }
    return std::optional(std::move(out));
}

Result<std::optional<model::GuestTopology>> constraints(const FlavorSpec& flavor,
                                                        const ImageSpec& image) {
    if (flavor.vcpus == 0)
        return refuse("Invalid", cat("flavor '", flavor.name, "' has no vCPUs"));
    Policies wanted;
    NOVALET_ASSIGN(wanted.cpu, cpu_policy(flavor, image));
    NOVALET_ASSIGN(wanted.thread, thread_policy(flavor, image));
    NOVALET_ASSIGN(wanted.realtime, realtime_cpus(flavor, image));
    NOVALET_ASSIGN(std::optional<CpuSet> dedicated, dedicated_mask(flavor));
    NOVALET_ASSIGN(wanted.emulator, emulator_policy(flavor));
    NOVALET_TRY(policy_from_resources(flavor, wanted.emulator, wanted.cpu));
    NOVALET_TRY(thread_policy_from_trait(flavor, image, wanted.thread));
    NOVALET_TRY(check_policies(wanted, dedicated));
    NOVALET_ASSIGN(const std::optional<unsigned> nodes, requested_nodes(flavor, image));
    NOVALET_ASSIGN(wanted.page_size_kib, page_size(flavor, image));
    NOVALET_ASSIGN(const bool locked, locked_memory(flavor, image));
    discard(locked, "only checked here; the domain writer asks again");
    const bool pinned = wanted.cpu == CpuPolicy::Dedicated || wanted.cpu == CpuPolicy::Mixed;
    if (!nodes && wanted.page_size_kib == model::page_size_none && !pinned &&
        !wants_persistent_memory(flavor))
        return std::optional<model::GuestTopology>();
    if (wanted.cpu == CpuPolicy::Dedicated)
        dedicated = CpuSet::range(0, flavor.vcpus - 1);
    wanted.pinned = dedicated.value_or(CpuSet());
    NOVALET_ASSIGN(model::GuestTopology topology,
                   build_topology(flavor, image, nodes.value_or(1), wanted));
    return std::optional(std::move(topology));
}

} // namespace novalet::scheduler_hooks::numa
