#pragma once
// Did the kernel really give a guest what it was granted? Threads and memory of its QEMU process
// against the fitted topology, from /proc. Nothing is changed; any thread.
#include "agent/core/result.hpp"
#include "scheduler_hooks/model/guest_topology.hpp"
#include "scheduler_hooks/model/host_topology.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace novalet::hypervisor::topology {

struct ThreadOfGuest {
    pid_t id = 0;
    std::string name;                                   ///< "CPU 0/KVM", "qemu-system-x86"
    scheduler_hooks::model::CpuSet allowed;             ///< Cpus_allowed_list
    [[nodiscard]] std::optional<unsigned> vcpu() const; ///< empty: not a vCPU's thread
};

/// Pages mapped by the process, by host cell and page size in KiB. `bound` counts only mappings
/// that a policy binds to cells: the guest's memory, not QEMU's own.
struct MemoryOfGuest {
    std::map<int, std::map<std::uint64_t, std::int64_t>> all;
    std::map<int, std::map<std::uint64_t, std::int64_t>> bound;
};

/// NotFound when the process is gone; threads that end meanwhile are left out.
[[nodiscard]] Result<std::vector<ThreadOfGuest>>
threads_of(pid_t process, const std::filesystem::path& root = "/");
[[nodiscard]] Result<MemoryOfGuest> memory_of(pid_t process,
                                              const std::filesystem::path& root = "/");
/// The text of a numa_maps file.
[[nodiscard]] MemoryOfGuest read_numa_maps(const std::string& text);

/// What the guest was granted.
struct Granted {
    scheduler_hooks::model::GuestTopology guest; ///< fitted: ids are those of host cells
    scheduler_hooks::model::HostTopology host;
    /// CPUs of the emulator threads where policy `share` and cpu_shared_set name them; empty:
    /// by the guest's pins (reference 08 §7.4).
    scheduler_hooks::model::CpuSet emulator;
};

/// One text for each thing that is not as granted, in numbers; empty: all is. vCPU threads must be
/// allowed exactly their CPUs, the process's first thread exactly the emulator's; huge pages must
/// lie on the granted cells in full, bound memory on no other cell.
[[nodiscard]] std::vector<std::string> differences(const Granted& granted,
                                                   const std::vector<ThreadOfGuest>& threads,
                                                   const MemoryOfGuest& memory,
                                                   pid_t process);

/// The whole check of a running guest. The outcome is counted in the metric
/// novalet_guest_placement_checks_total{result="granted"|"different"}.
[[nodiscard]] Result<std::vector<std::string>>
check_placement(const Granted& granted, pid_t process, const std::filesystem::path& root = "/");

} // namespace novalet::hypervisor::topology
