#include "agent/tasks/ops/events/external_events.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/objects/external_event.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace novalet::tasks {
namespace {

using objects::ExternalEvent;

/// Names that waiters wait for: objects.external_event.EVENT_NAMES without those that change the
/// server by themselves.
constexpr std::array<std::string_view, 4> awaited{
    "network-vif-plugged", "network-vif-unplugged", "volume-reimaged", "accelerator-request-bound"};
/// Part of Nova's protocol, and not served by this agent.
constexpr std::array<std::string_view, 2> not_served{"volume-extended", "power-update"};

template <std::size_t N>
bool one_of(std::string_view word, const std::array<std::string_view, N>& words) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

void network_changed(Services& services,
                     const rpc::Context& context,
                     objects::Object& instance,
                     const std::string& port) {
    const auto fresh = services.networks.refresh(context, instance, port);
    if (!fresh && fresh.error().code == Code::NotFound)
        log::info("network info is not refreshed after an event", {{"reason", fresh.error().text}});
    else if (!fresh)
        log::warning("network info could not be refreshed after an event",
                     {{"error", fresh.error().text}});
}

/// Its bandwidth stays allocated until the server is deleted: only Neutron knew whose it was.
void tell_leaked_allocation(const Json& vif) {
    const auto& allocation = vif["profile"]["allocation"];
    std::vector<std::string> providers;
    if (allocation.is_string())
        providers.push_back(allocation.as_string());
    for (const auto& [group, provider] : allocation.members())
        providers.push_back(provider.as_string());
    if (!providers.empty())
        log::error("a bound port was deleted in Neutron; what it holds of its resource providers "
                   "is free again when the server is deleted",
                   {{"port", vif["id"].as_string()}, {"providers", join(providers, ",")}});
}

void vif_deleted(Services& services,
                 const rpc::Context& context,
                 objects::Object& instance,
                 const std::string& port,
                 const std::stop_token& stop) {
    const auto vif = services.networks.forget(context, instance, port);
    if (!vif) {
        const bool gone = vif.error().code == Code::NotFound;
        log::write(gone ? log::Level::Info : log::Level::Warning,
                   "a deleted port could not be taken out of the network info",
                   {{"port", port}, {"error", vif.error().text}});
        return;
    }
    if (vif->is_null())
        return;
    log::info("Neutron deleted a port; its interface is detached", {{"port", port}});
    tell_leaked_allocation(*vif);
    const auto interface = interfaces_of(Json::Array{*vif}).front();
    const auto detached =
        services.hypervisor.detach_interface(InstanceUuid(instance.text("uuid")), interface, stop);
    if (!detached)
        log::write(instance_is_gone(detached.error()) ? log::Level::Debug : log::Level::Warning,
                   "the interface of a deleted port could not be detached",
                   {{"port", port}, {"error", detached.error().text}});
}

/// On the server's queue. A server that is not this host's is somebody else's to change.
void take_turn(Services& services,
               const rpc::Context& context,
               const ExternalEvent& event,
               const Json& instance) {
    services.queues.post(
        event.instance_uuid,
        [&services, context = context.elevated(), event, instance](const std::stop_token& stop) {
            const log::Scope scope{{"instance", event.instance_uuid}, {"event", event.key()}};
            auto record = objects::Object::from_primitive(instance);
            if (event.name == "network-changed")
                network_changed(services, context, record, event.tag);
            else
                vif_deleted(services, context, record, event.tag, stop);
        });
}

void wake(Services& services, const ExternalEvent& event, const Json& record) {
    if (services.waiters.deliver(InstanceUuid(event.instance_uuid),
                                 {event.name, event.tag},
                                 event.status == "completed"))
        return;
    const auto& task = record["task_state"].as_string();
    const bool expected =
        event.name == "network-vif-unplugged" && (task == "deleting" || task == "migrating");
    log::write(expected ? log::Level::Debug : log::Level::Warning,
               "an event came that nobody waits for",
               {{"vm_state", record["vm_state"].as_string()}, {"task_state", task}});
}

void handle(Services& services,
            const rpc::Request& request,
            const ExternalEvent& event,
            const Json& instance) {
    const log::Scope scope{{"instance", event.instance_uuid}, {"event", event.key()}};
    const bool changes = event.name == "network-changed" || event.name == "network-vif-deleted";
    if (changes && instance.is_null())
        log::warning("an event came without the server that it is about");
    else if (changes)
        take_turn(services, request.context, event, instance);
    else if (one_of(event.name, not_served))
        log::warning("an event is not served by this agent; the server is unchanged");
    else if (one_of(event.name, awaited))
        wake(services, event, objects::data_of(instance));
    else
        log::warning("an event of an unknown kind came and is left alone");
}

} // namespace

void external_instance_event(Services& services, const rpc::Request& request) {
    const auto events = objects::parse_external_events(request.args["events"]);
    if (!events) {
        log::error("external events cannot be read", {{"error", events.error().text}});
        return;
    }
    const auto& instances = request.args["instances"].items();
    for (const auto& event : *events) {
        const auto of_event = [&](const Json& instance) {
            return objects::data_of(instance)["uuid"].as_string() == event.instance_uuid;
        };
        const auto found = std::find_if(instances.begin(), instances.end(), of_event);
        handle(services, request, event, found == instances.end() ? Json() : *found);
    }
}

} // namespace novalet::tasks
