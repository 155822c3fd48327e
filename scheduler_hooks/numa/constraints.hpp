#pragma once
// From flavor and image to what the guest asks of the host (reference 08 §1, §2). Pure functions,
// any thread. Errors carry the name of Nova's exception and its text.
#include "scheduler_hooks/model/flavor_image.hpp"
#include "scheduler_hooks/model/guest_topology.hpp"
#include "scheduler_hooks/model/pci.hpp"

#include <optional>

namespace novalet::scheduler_hooks::numa {

/// The guest's cells before the fit. Empty: the guest asks for no cells, pins or pages and may run
/// anywhere. Everything is checked in Nova's order, so the first error is the one Nova reports.
/// Stricter than Nova where libvirt could not start the guest: a cell without vCPUs or memory.
[[nodiscard]] Result<std::optional<model::GuestTopology>>
constraints(const model::FlavorSpec& flavor, const model::ImageSpec& image);

/// vCPUs with realtime scheduling; empty set when realtime is off. Checked like constraints().
[[nodiscard]] Result<model::CpuSet> realtime_cpus(const model::FlavorSpec& flavor,
                                                  const model::ImageSpec& image);
[[nodiscard]] Result<std::optional<model::EmulatorPolicy>>
emulator_policy(const model::FlavorSpec& flavor);
/// hw:locked_memory / hw_locked_memory: guest memory is locked (needs a page size request).
[[nodiscard]] Result<bool> locked_memory(const model::FlavorSpec& flavor,
                                         const model::ImageSpec& image);
/// hw:mem_page_size / hw_mem_page_size: 0 none, > 0 KiB, or a symbol of guest_topology.hpp.
[[nodiscard]] Result<std::int64_t> page_size(const model::FlavorSpec& flavor,
                                             const model::ImageSpec& image);
/// hw:pci_numa_affinity_policy / hw_pci_numa_affinity_policy; empty when neither is set.
[[nodiscard]] Result<std::optional<model::PciNumaPolicy>>
pci_numa_policy(const model::FlavorSpec& flavor, const model::ImageSpec& image);

/// hw:mem_encryption / hw_mem_encryption, with what it needs of firmware and machine type.
/// `machine_type` is what the guest gets when the image names none.
[[nodiscard]] Result<bool> memory_encryption(const model::FlavorSpec& flavor,
                                             const model::ImageSpec& image,
                                             std::string_view machine_type);

struct MaxPhysAddr {
    std::string mode; ///< "passthrough" or "emulate"
    std::optional<unsigned> bits;
};
/// hw:maxphysaddr_mode and _bits (Epoxy and later); empty when no mode is set.
[[nodiscard]] Result<std::optional<MaxPhysAddr>> max_phys_addr(const model::FlavorSpec& flavor,
                                                               const model::ImageSpec& image);

} // namespace novalet::scheduler_hooks::numa
