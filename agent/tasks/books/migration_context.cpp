#include "agent/tasks/books/migration_context.hpp"

#include "agent/core/text.hpp"

#include <array>

namespace novalet::tasks {
namespace {

/// nova.objects.instance, _MIGRATION_CONTEXT_ATTRS
constexpr std::array sides{"numa_topology", "pci_requests", "pci_devices", "resources"};

Json device_list(const objects::Conductor& conductor) {
    auto list = conductor.make("PciDeviceList");
    list.set("objects", Json::array());
    return std::move(list).to_primitive();
}

void take_side(objects::Object& instance, const std::string& prefix) {
    const Json context = instance.child("migration_context");
    if (!context.is_object())
        return;
    for (const char* field : sides)
        instance.set(field, context[prefix + field]);
}

} // namespace

Result<Json> pci_requests_after_move(const objects::Conductor& conductor,
                                     const objects::Object& instance,
                                     const Json& flavor_primitive) {
    const auto& aliases =
        objects::data_of(flavor_primitive)["extra_specs"]["pci_passthrough:alias"].as_string();
    if (!trim(aliases).empty())
        return fail_as("PciRequestAliasNotDefined",
                       Code::InvalidArgument,
                       cat("PCI alias ", aliases.substr(0, aliases.find(':')), " is not defined"));
    Json requests = Json::array();
    for (const auto& request : instance.child("pci_requests")["requests"].items())
        if (objects::data_of(request)["alias_name"].is_null()) // a port's
            requests.push_back(request);
    auto out = conductor.make("InstancePCIRequests");
    out.set("requests", std::move(requests));
    out.set("instance_uuid", instance.text("uuid"));
    return std::move(out).to_primitive();
}

objects::Object migration_context(const objects::Conductor& conductor,
                                  const objects::Object& instance,
                                  std::int64_t migration_id,
                                  const scheduler_hooks::claims::Claim& destination,
                                  const Json& new_pci_requests) {
    auto context = conductor.make("MigrationContext");
    context.set("instance_uuid", instance.text("uuid"));
    context.set("migration_id", migration_id);
    context.set("old_numa_topology", instance.get("numa_topology"));
    context.set("new_numa_topology", scheduler_hooks::model::to_json(destination.topology));
    const Json& devices = instance.get("pci_devices");
    context.set("old_pci_devices", devices.is_null() ? device_list(conductor) : devices);
    context.set("new_pci_devices", device_list(conductor));
    context.set("old_pci_requests", instance.get("pci_requests"));
    context.set("new_pci_requests", new_pci_requests);
    context.set("old_resources", instance.get("resources"));
    context.set("new_resources", nullptr); // only persistent memory would be assigned
    return context;
}

void apply_migration_context(objects::Object& instance) {
    take_side(instance, "new_");
}

void revert_migration_context(objects::Object& instance) {
    take_side(instance, "old_");
}

Result<void> drop_migration_context(objects::Conductor& conductor,
                                    objects::Object& instance,
                                    const rpc::Context& context) {
    if (!instance.is_set("migration_context"))
        NOVALET_TRY(conductor.load(instance, {"migration_context"}, context));
    if (instance.get("migration_context").is_null())
        return {};
    NOVALET_TRY(conductor.action(
        instance, "drop_migration_context", Json::array(), Json::object(), context));
    instance.set_unchanged("migration_context", nullptr);
    return {};
}

} // namespace novalet::tasks
