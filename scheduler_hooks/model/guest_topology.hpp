#pragma once
// What a guest asks of CPUs and memory and, after the fit, what it got: the content of
// InstanceNUMATopology (reference 08 §2, 02). Plain values, any thread.
#include "agent/core/json.hpp"
#include "scheduler_hooks/model/cpu_set.hpp"
#include "scheduler_hooks/model/virt_cpu_topology.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace novalet::scheduler_hooks::model {

enum class CpuPolicy { Shared, Dedicated, Mixed };
enum class ThreadPolicy { Prefer, Isolate, Require };
enum class EmulatorPolicy { Share, Isolate };

[[nodiscard]] const char* name_of(CpuPolicy policy) noexcept;
[[nodiscard]] const char* name_of(ThreadPolicy policy) noexcept;
[[nodiscard]] const char* name_of(EmulatorPolicy policy) noexcept;
/// Nova's lower-case words; empty for any other text.
[[nodiscard]] std::optional<CpuPolicy> cpu_policy_from(std::string_view text) noexcept;
[[nodiscard]] std::optional<ThreadPolicy> thread_policy_from(std::string_view text) noexcept;
[[nodiscard]] std::optional<EmulatorPolicy> emulator_policy_from(std::string_view text) noexcept;

/// Symbolic page sizes as the document stores them (reference 08 §1.3).
constexpr std::int64_t page_size_none = 0; ///< null in the document
constexpr std::int64_t page_size_small = -1;
constexpr std::int64_t page_size_large = -2;
constexpr std::int64_t page_size_any = -3;

/// One vCPU on one host CPU.
struct CpuPin {
    unsigned vcpu = 0;
    unsigned cpu = 0;
    [[nodiscard]] bool operator==(const CpuPin&) const = default;
};

struct GuestCell {
    int id = 0;    ///< index of the cell in the guest; after the fit: id of the host cell; -1: none
    CpuSet cpuset; ///< vCPUs that float over the shared CPUs of the host cell
    CpuSet pcpuset; ///< vCPUs that are pinned
    std::int64_t memory_mib = 0;
    std::int64_t page_size_kib = page_size_none; ///< > 0 KiB, or one of the symbols above
    std::optional<CpuPolicy> cpu_policy;
    std::optional<ThreadPolicy> thread_policy;
    std::optional<std::vector<CpuPin>> pins; ///< ascending by vCPU; empty optional before the fit
    std::optional<CpuSet> reserved;          ///< host CPUs of the emulator threads (policy isolate)
    std::optional<VirtCpuTopology> cpu_topology; ///< only in old records

    [[nodiscard]] CpuSet vcpus() const { return cpuset | pcpuset; }
    [[nodiscard]] bool wants_pins() const noexcept {
        return cpu_policy == CpuPolicy::Dedicated || cpu_policy == CpuPolicy::Mixed;
    }
    /// Pinned host CPUs and the emulator's; the siblings that policy isolate blocks not included.
    [[nodiscard]] CpuSet taken_cpus() const;
    [[nodiscard]] bool operator==(const GuestCell&) const = default;
};

struct GuestTopology {
    std::vector<GuestCell> cells;
    std::optional<EmulatorPolicy> emulator_policy;
    std::optional<std::string> instance_uuid; ///< only in records read from the database
    std::optional<std::int64_t> id;

    /// Forget the host: cell ids -1, no pins, nothing reserved (an aborted claim).
    void clear_host_pinning();
    [[nodiscard]] bool operator==(const GuestTopology&) const = default;
};

/// The InstanceNUMATopology 1.3 primitive (cells InstanceNUMACell 1.6), null for "no topology".
[[nodiscard]] Json to_json(const std::optional<GuestTopology>& topology);
/// Reads the primitive or null. Records of cells older than 1.5 (dedicated guests kept their vCPUs
/// in `cpuset`) are brought to today's form. An error names the cell and the field.
[[nodiscard]] Result<std::optional<GuestTopology>> guest_topology_from_json(const Json& document);

} // namespace novalet::scheduler_hooks::model
