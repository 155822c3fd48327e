#include "agent/tasks/recorded_guest.hpp"

namespace novalet::tasks {

Result<hypervisor::GuestSpec> recorded_guest(const RecordServices& services,
                                             const rpc::Context& context,
                                             objects::Object& instance,
                                             const Json& network_info) {
    NOVALET_TRY(services.conductor.load(
        instance, {"flavor", "system_metadata", "info_cache", "numa_topology"}, context));
    NOVALET_ASSIGN(const auto mappings,
                   services.conductor.block_devices(instance.text("uuid"), context));
    std::vector<Json> documents;
    for (const auto& mapping : mappings)
        documents.push_back(mapping.data());
    NOVALET_ASSIGN(auto spec,
                   guest_spec(instance.data(), documents, network_info, services.options.guest));
    NOVALET_ASSIGN(spec.numa,
                   scheduler_hooks::model::guest_topology_from_json(instance.get("numa_topology")));
    if (needs_config_drive(instance.data(), services.options.guest))
        spec.config_drive = hypervisor::ConfigDrive{}; // the existing one is kept
    return spec;
}

} // namespace novalet::tasks
