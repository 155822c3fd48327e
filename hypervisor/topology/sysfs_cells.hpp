#pragma once
// The host's NUMA cells read from /sys alone: the same content as libvirt's capabilities, for dry
// runs and checks that must work without libvirt, and from recorded trees.
#include "agent/core/result.hpp"
#include "scheduler_hooks/model/host_topology.hpp"

#include <cstdint>
#include <filesystem>

namespace novalet::hypervisor::topology {

/// Cells ascending by id, with all their online CPUs in `cpuset`, sibling sets ascending by lowest
/// CPU, sockets, memory, page totals (ascending; the smallest size holds what huge pages leave) and
/// distances. Nothing is used. Cells without CPUs are there, as are sparse ids; off-line CPUs are
/// not. A host without NUMA is one cell with id 0. `root` is put before /sys and /proc;
/// `small_page_kib` is the kernel's base page. NotFound and DataLoss name the file.
[[nodiscard]] Result<scheduler_hooks::model::HostTopology>
cells_from_sysfs(const std::filesystem::path& root = "/", std::uint64_t small_page_kib = 4);
/// The base page of the running kernel, KiB.
[[nodiscard]] std::uint64_t small_page_kib();

} // namespace novalet::hypervisor::topology
