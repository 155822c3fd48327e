#include "agent/tasks/upkeep/upkeep.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

#include <algorithm>
#include <map>

namespace novalet::tasks {
namespace {

using hypervisor::PowerState;

bool is_down(PowerState state) {
    return state == PowerState::Shutdown || state == PowerState::Crashed;
}

/// ComputeManager._sync_instance_power_state: does the server have to be stopped because its guest
/// is in this state?
bool has_to_stop(const std::string& vm_state, PowerState guest) {
    if (vm_state == "active")
        return is_down(guest) || guest == PowerState::Suspended;
    if (vm_state == "stopped")
        return guest != PowerState::NoState && !is_down(guest);
    return vm_state == "paused" && is_down(guest);
}

/// Is there nothing to be done for a server whose guest is in this state?
bool agrees(const objects::Object& instance, PowerState guest) {
    return instance.get("power_state").as_int() == static_cast<int>(guest) &&
           !has_to_stop(instance.text("vm_state"), guest);
}

} // namespace

Upkeep::Upkeep(Services& services, UpkeepOptions options)
    : services_(services), options_(std::move(options)) {}

/// From the records, so that a server without a guest is seen, too. One question to the conductor
/// and one to the hypervisor tell which servers have to be looked at.
void Upkeep::sync_power_states() {
    const auto instances = services_.conductor.instances_by_host(
        services_.options.host, std::nullopt, {}, rpc::Context::admin());
    if (!instances) {
        log::warning("the host's servers could not be read; their power states stay",
                     {{"error", instances.error().text}});
        return;
    }
    if (instances->empty())
        return;
    const auto guests = services_.hypervisor.list();
    if (!guests) {
        log::warning("the guests could not be listed", {{"error", guests.error().text}});
        return;
    }
    std::map<std::string, PowerState> states;
    for (const auto& guest : *guests)
        states[guest.uuid.str()] = guest.state;
    for (const auto& instance : *instances) {
        const std::string uuid = instance.text("uuid");
        const auto found = states.find(uuid);
        const auto state = found == states.end() ? PowerState::NoState : found->second;
        if (instance.get("task_state").is_null() && !agrees(instance, state))
            post_power_sync(InstanceUuid(uuid), NoGuest::IsAState);
    }
}

void Upkeep::sync_power_state_of(const InstanceUuid& uuid) {
    post_power_sync(uuid, NoGuest::IsIgnored);
}

void Upkeep::post_power_sync(const InstanceUuid& uuid, NoGuest no_guest) {
    if (services_.queues.busy(uuid.str())) // an operation of ours causes it
        return;
    services_.queues.post(uuid.str(), [this, uuid, no_guest](const std::stop_token&) {
        sync_power_state(uuid, no_guest);
    });
}

/// Record and guest are read anew: an operation may have ended in between.
void Upkeep::sync_power_state(const InstanceUuid& uuid, NoGuest no_guest) {
    const auto context = rpc::Context::admin();
    const log::Scope scope{{"instance", uuid.str()}, {"task", "power_sync"}};
    auto instance = services_.conductor.get_instance(uuid.str(), {}, context);
    if (!instance) {
        if (instance.error().code != Code::NotFound) // else a guest that is not Nova's
            warn("a power state could not be compared", Failure(instance.error()));
        return;
    }
    if (instance->text("host") != services_.options.host || !instance->get("task_state").is_null())
        return;
    const auto info = services_.hypervisor.info(uuid);
    if (!info && (info.error().code != Code::NotFound || no_guest == NoGuest::IsIgnored))
        return;
    const auto guest = info ? info->state : PowerState::NoState;
    const int state = static_cast<int>(guest);
    if (instance->get("power_state").as_int() != state) {
        log::info("the power state of a server follows its guest",
                  {{"vm_state", instance->text("vm_state")},
                   {"was", instance->get("power_state").as_int()},
                   {"is", state}});
        instance->set("power_state", state);
        const auto saved = save_instance(services_.operation_host(), context, *instance);
        if (!saved)
            return warn("a power state could not be saved", saved);
    }
    if (has_to_stop(instance->text("vm_state"), guest))
        stop_server(*instance, context);
}

/// What nova-api does for a stop, so that users see an action of its own.
void Upkeep::stop_server(objects::Object& instance, const rpc::Context& context) {
    log::info("the guest is not in the state of its server: the server is stopped",
              {{"vm_state", instance.text("vm_state")}});
    instance.set("task_state", "powering-off");
    instance.set("progress", 0);
    const auto saved = save_instance(services_.operation_host(), context, instance, {std::nullopt});
    if (!saved)
        return warn("the server could not be stopped", saved);
    Json action = Json::object();
    action.set("want_result", false);
    const auto begun = services_.conductor.class_action("InstanceAction",
                                                        "action_start",
                                                        Json::Array{instance.text("uuid"), "stop"},
                                                        action,
                                                        context);
    if (!begun)
        log::warning("the stop has no action record", {{"error", begun.error().text}});
    rpc::Target self;
    self.topic = "compute";
    self.server = services_.options.host;
    self.version = "6.0";
    Json args = Json::object();
    args.set("instance", instance.to_primitive()).set("clean_shutdown", true);
    const auto sent = services_.bus.cast(self, "stop_instance", std::move(args), context);
    if (sent)
        return;
    log::warning("the server could not be stopped", {{"error", sent.error().text}});
    instance.set("task_state", nullptr); // else nobody would look at it again
    warn("the server stays locked until its state is reset",
         save_instance(services_.operation_host(), context, instance, {"powering-off"}));
}

void Upkeep::heal_info_cache() {
    const auto uuids = services_.resources.instances();
    if (uuids.empty())
        return;
    std::string next;
    {
        const std::lock_guard lock(mutex_);
        const auto after = std::upper_bound(uuids.begin(), uuids.end(), healed_last_);
        next = after == uuids.end() ? uuids.front() : *after;
        healed_last_ = next;
    }
    if (services_.queues.busy(next))
        return;
    services_.queues.post(next, [this, next](const std::stop_token&) { heal_info_cache_of(next); });
}

void Upkeep::heal_info_cache_of(const std::string& uuid) {
    const log::Scope scope{{"instance", uuid}, {"task", "heal_info_cache"}};
    const auto context = rpc::Context::admin();
    auto instance = services_.conductor.get_instance(
        uuid, {"info_cache", "system_metadata", "flavor"}, context);
    if (!instance && !instance_is_gone(instance.error()))
        return warn("a server could not be read", Failure(instance.error()));
    if (!instance || instance->text("host") != services_.options.host ||
        instance->text("vm_state") == "building" || instance->text("task_state") == "deleting")
        return;
    // A server that is on its way may have ports that another host has bound.
    const auto healed = instance->get("task_state").is_null()
                            ? services_.networks.bind_to_host(context, *instance)
                            : services_.networks.heal(context, *instance);
    if (!healed)
        warn("the network cache could not be healed", Failure(healed.error()));
}

void Upkeep::sync_scheduler() {
    if (!services_.options.track_instance_changes)
        return;
    discard(services_.conductor.sync_scheduler(
                services_.options.host, services_.resources.instances(), rpc::Context::admin()),
            "the next turn tries again");
}

void Upkeep::remove_running_deleted() {
    if (options_.running_deleted_action == "noop")
        return;
    const auto context = rpc::Context::admin().reading_deleted("yes");
    const auto guests = services_.hypervisor.list();
    if (!guests)
        return;
    if (guests->empty())
        return;
    Json uuids = Json::array();
    for (const auto& guest : *guests)
        uuids.push_back(guest.uuid.str());
    Json filters = Json::object();
    filters.set("uuid", std::move(uuids)).set("deleted", true).set("soft_deleted", false);
    const auto instances = services_.conductor.instances_by_filters(
        std::move(filters), {"info_cache", "system_metadata", "flavor"}, context);
    if (!instances)
        return;
    for (const auto& instance : *instances) {
        if (!instance.get("deleted").as_bool() || instance.text("host") != services_.options.host)
            continue;
        // Both are UTC in the same form, so that their texts order as the times do.
        if (instance.text("deleted_at") >
            to_iso(system_clock().wall() - options_.running_deleted_timeout))
            continue;
        services_.queues.post(instance.text("uuid"), [this, instance](const std::stop_token&) {
            remove_guest_of(instance);
        });
    }
}

void Upkeep::remove_guest_of(objects::Object instance) {
    const InstanceUuid uuid(instance.text("uuid"));
    const log::Scope scope{{"instance", uuid.str()}, {"task", "running_deleted"}};
    if (!services_.hypervisor.info(uuid)) // the work before it was its delete
        return;
    log::warning("a guest runs although its server is deleted",
                 {{"action", options_.running_deleted_action}});
    if (options_.running_deleted_action == "log")
        return;
    if (options_.running_deleted_action == "shutdown")
        return warn("a guest without a server could not be powered off",
                    services_.hypervisor.power_off(uuid, {}));
    hypervisor::DestroyOptions options(hypervisor::Disks::Remove);
    options.interfaces = interfaces_of(cached_network_info(instance));
    warn("a guest without a server could not be removed",
         services_.hypervisor.destroy(uuid, options));
}

void Upkeep::finish_deletes() {
    const auto context = rpc::Context::admin().reading_deleted("yes");
    Json filters = Json::object();
    filters.set("deleted", true)
        .set("soft_deleted", false)
        .set("host", services_.options.host)
        .set("cleaned", false);
    const auto instances = services_.conductor.instances_by_filters(
        std::move(filters), {"info_cache", "system_metadata"}, context);
    if (!instances)
        return;
    for (const auto& instance : *instances)
        if (!services_.queues.busy(instance.text("uuid")))
            services_.queues.post(instance.text("uuid"), [this, instance](const std::stop_token&) {
                finish_delete(instance);
            });
}

void Upkeep::finish_delete(objects::Object instance) {
    const InstanceUuid uuid(instance.text("uuid"));
    const log::Scope scope{{"instance", uuid.str()}, {"task", "finish_delete"}};
    if (services_.hypervisor.info(uuid)) // a running guest is remove_running_deleted's
        return;
    hypervisor::DestroyOptions options(hypervisor::Disks::Remove);
    options.interfaces = interfaces_of(cached_network_info(instance));
    if (const auto gone = services_.hypervisor.destroy(uuid, options); !gone)
        return warn("files of a deleted server could not be removed", gone);
    instance.set("cleaned", true);
    warn("a deleted server could not be marked as cleaned",
         save_instance(
             services_.operation_host(), rpc::Context::admin().reading_deleted("yes"), instance));
}

void Upkeep::clean_console_tokens() {
    discard(services_.conductor.clean_expired_console_tokens(rpc::Context::admin()),
            "the next turn tries again");
}

} // namespace novalet::tasks
