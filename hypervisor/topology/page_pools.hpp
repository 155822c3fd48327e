#pragma once
// The kernel's huge page pools through /sys: their sizes now, and changing them.
#include "hypervisor/topology/sysfs.hpp"
#include "scheduler_hooks/claims/page_pools.hpp"
#include "scheduler_hooks/numa/fit.hpp"

#include <filesystem>
#include <vector>

namespace novalet::hypervisor::topology {

/// All pools of all cells.
[[nodiscard]] std::vector<scheduler_hooks::claims::PoolNow> pools_of(const KernelState& kernel);
/// Free pages as a claim asks for them.
[[nodiscard]] std::vector<scheduler_hooks::numa::KernelPages>
free_pages_of(const KernelState& kernel);

/// Asks the kernel for that many pages in the pool and returns how many it has then: fewer than
/// asked where memory is too fragmented, more where pages are in use. NotFound for a cell or size
/// that is not there, Unauthorized without the right to change it.
[[nodiscard]] Result<std::int64_t> resize_pool(int cell,
                                               std::uint64_t size_kib,
                                               std::int64_t pages,
                                               const std::filesystem::path& root = "/");

} // namespace novalet::hypervisor::topology
