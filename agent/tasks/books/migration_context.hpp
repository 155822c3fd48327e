#pragma once
// Instance.migration_context: what a move changes besides the flavor, kept with the server's record
// until the move is confirmed or reverted (nova.objects.migration_context, nova.objects.instance).
#include "agent/objects/conductor.hpp"
#include "scheduler_hooks/claims/ledger.hpp"

namespace novalet::tasks {

/// The flavor's requests, for which aliases would have to be configured on this host
/// (PciRequestAliasNotDefined), and those of the server's Neutron ports, which move with it.
[[nodiscard]] Result<Json> pci_requests_after_move(const objects::Conductor& conductor,
                                                   const objects::Object& instance,
                                                   const Json& flavor_primitive);

/// The context of a move: the old side is what the server has (numa_topology, pci_requests,
/// pci_devices and resources have to be loaded), the new side is the destination's claim. In the
/// version of the release in force; every field noted as a change, as Nova sends it.
[[nodiscard]] objects::Object migration_context(const objects::Conductor& conductor,
                                                const objects::Object& instance,
                                                std::int64_t migration_id,
                                                const scheduler_hooks::claims::Claim& destination,
                                                const Json& new_pci_requests);

/// The server gets the new or the old side (numa_topology, pci_requests, pci_devices, resources);
/// without a context nothing changes. Not saved.
void apply_migration_context(objects::Object& instance);
void revert_migration_context(objects::Object& instance);
/// Instance.drop_migration_context: gone from the record and from `instance`, at once. Ok when
/// there is none.
[[nodiscard]] Result<void> drop_migration_context(objects::Conductor& conductor,
                                                  objects::Object& instance,
                                                  const rpc::Context& context);

} // namespace novalet::tasks
