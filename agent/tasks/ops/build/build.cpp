#include "agent/tasks/ops/build/build.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/guest/config_drive_content.hpp"
#include "agent/tasks/ops/build/group_policy.hpp"
#include "agent/tasks/peers/shared_storage.hpp"

#include <array>

namespace novalet::tasks {

BuildInstance::BuildInstance(const Services& services, OperationCall call)
    : Steps(services, std::move(call)), guests_(services), volumes_(services), network_(services),
      books_(services), message_id_(new_uuid_hex()) {
    const auto& list = objects::data_of(this->call().argument("block_device_mapping"));
    for (const auto& mapping : list["objects"].items())
        mappings_.push_back(objects::Object::from_primitive(mapping));
}

std::span<const Step<BuildInstance>> BuildInstance::table() {
    using Build = BuildInstance;
    constexpr auto again = AfterCrash::Again;
    static constexpr std::array<Step<Build>, 6> steps{{
        {"begin", again, &Build::take_over, &Build::give_allocation_back},
        {"claim", again, &Build::claim, &Build::drop_claim},
        {"networking", again, &Build::start_networks, &Build::deallocate_networks},
        {"block_device_mapping", again, &Build::block_devices},
        {"spawning", again, &Build::spawn, &Build::remove_guest},
        {"finish", again, &Build::finish},
    }};
    return steps;
}

Json BuildInstance::state() const {
    Json out = Json::object();
    out.set("taken_over", taken_over_);
    out.set("given_back", given_back_);
    out.set("fault_recorded", fault_recorded_);
    out.set("message_id", message_id_);
    return out;
}

Result<void> BuildInstance::restore(const Json& state, int /*version*/) {
    taken_over_ = state["taken_over"].as_bool();
    given_back_ = state["given_back"].as_bool();
    fault_recorded_ = state["fault_recorded"].as_bool();
    message_id_ = state["message_id"].as_string(message_id_);
    return {};
}

std::vector<std::string> BuildInstance::fields() const {
    return {"metadata",
            "system_metadata",
            "info_cache",
            "flavor",
            "pci_requests",
            "numa_topology",
            "keypairs",
            "security_groups"};
}

/// An action that lacks its record is no reason to leave a server in BUILD.
Result<void> BuildInstance::begin() {
    auto begun = InstanceOperation::begin();
    if (begun || waits_for_peer(begun.error()))
        return begun;
    log::warning("the build goes on without its action event", {{"error", begun.error().text}});
    return {};
}

/// A build that fails ends in what it leaves, not with an exception: nova-compute's
/// _do_build_and_run_instance returns, so that its event is one of success in any case.
Result<void> BuildInstance::end(const Error* /*failure*/) {
    return InstanceOperation::end(nullptr);
}

Result<bool> BuildInstance::resume() {
    again_ = true;
    NOVALET_ASSIGN(const bool wanted, InstanceOperation::resume());
    if (wanted && !mappings_.empty()) { // with the names that an earlier try gave the disks
        NOVALET_ASSIGN(mappings_, records_.conductor.block_devices(uuid().str(), context()));
    }
    return wanted;
}

Result<void> BuildInstance::resume_undo() {
    again_ = true;
    return InstanceOperation::resume_undo();
}

Result<bool> BuildInstance::still_wanted() {
    const std::string task = instance().text("task_state");
    const std::string vm = instance().text("vm_state");
    const std::string owner = instance().text("host");
    if (task == "deleting" || vm == "deleted")
        return fail_as("UnexpectedDeletingTaskStateError",
                       Code::Conflict,
                       cat("instance ", uuid().str(), " is being deleted"));
    if (vm == "building" && (owner.empty() || owner == records_.options.host)) {
        note_roles();
        return true;
    }
    log::info("a build has ended meanwhile", {{"vm_state", vm}, {"host", owner}});
    if (owner != records_.options.host) // built elsewhere: what there is of it here is nobody's
        NOVALET_TRY(remove_guest());
    return false;
}

std::vector<TaskState> BuildInstance::expecting(std::vector<TaskState> states,
                                                const char* own) const {
    if (again_)
        states.emplace_back(own);
    return states;
}

/// The server is ours to build from now on.
Result<void> BuildInstance::take_over() {
    std::vector<TaskState> expected{"scheduling", std::nullopt};
    const std::string before = instance().text("task_state");
    if (again_ && !before.empty())
        expected.emplace_back(before);
    instance().set("vm_state", "building");
    instance().set("task_state", nullptr);
    NOVALET_TRY(save(expected));
    taken_over_ = true;
    records_.notifier.instance_action(context(), instance(), "create", "start");
    note_roles();
    return {};
}

/// In memory: the next save writes them.
void BuildInstance::note_roles() {
    std::vector<std::string> roles;
    for (const auto& role : context().keys()["roles"].items())
        roles.push_back(role.as_string());
    instance().set_item("system_metadata", "boot_roles", join(roles, ","));
}

/// What the scheduler claimed for this host; not what another one has got since.
Result<void> BuildInstance::give_allocation_back() {
    const auto& owner = instance().text("host");
    if (given_back_ || (!owner.empty() && owner != records_.options.host))
        return {};
    return books_.allocations.remove(uuid().str());
}

Result<void> BuildInstance::claim() {
    if (again_) // the books may hold what an earlier try claimed
        books_.resources.drop(context(), instance(), false);
    NOVALET_TRY(books_.resources.claim(context(), instance(), call().argument("limits")));
    return check_group_policy(records_, context(), instance(), call().request->args);
}

Result<void> BuildInstance::drop_claim() {
    books_.resources.drop(context(), instance(), false);
    return {};
}

/// Network allocation runs beside the disks; `networks()` is where the two meet.
Result<void> BuildInstance::start_networks() {
    instance().set("vm_state", "building");
    instance().set("task_state", "networking");
    NOVALET_TRY(save(expecting({std::nullopt}, "networking")));
    auto promise = std::make_shared<std::promise<Result<Json>>>();
    network_info_ = promise->get_future();
    // Copies keep the allocation independent of what this thread does to the record, and of this
    // build should it end early.
    network_.network_pool.post([&networks = network_.networks,
                                promise,
                                request = call().request,
                                copy = instance()]() mutable {
        promise->set_value(networks.allocate(request->context,
                                             copy,
                                             request->args["requested_networks"],
                                             request->args["security_groups"]));
    });
    return {};
}

/// Ports that an earlier try made are taken, not made again.
Result<Json> BuildInstance::networks() {
    if (known_networks_)
        return *known_networks_;
    auto info = network_info_.valid()
                    ? network_info_.get()
                    : network_.networks.allocate(context(),
                                                 instance(),
                                                 call().argument("requested_networks"),
                                                 call().argument("security_groups"));
    if (!info)
        return info;
    instance().set_item("system_metadata", "network_allocated", "True");
    known_networks_ = *info;
    return info;
}

Result<void> BuildInstance::deallocate_networks() {
    // The allocation may still run: its outcome decides what there is to undo.
    if (network_info_.valid())
        discard(network_info_.get(), "undone below whatever came out");
    auto gone = network_.networks.deallocate(
        context().elevated(), instance(), call().argument("requested_networks"));
    if (!gone && !instance_is_gone(gone.error()))
        return gone;
    if (instance().get("system_metadata").is_object())
        instance().set_item("system_metadata", "network_allocated", "False");
    return {};
}

std::vector<Json> BuildInstance::mapping_documents() const {
    std::vector<Json> documents;
    for (const auto& mapping : mappings_)
        documents.push_back(mapping.data());
    return documents;
}

Result<void> BuildInstance::block_devices() {
    NOVALET_ASSIGN(const auto plan,
                   plan_disks(instance().data(), mapping_documents(), records_.options.guest));
    for (std::size_t i = 0; i < mappings_.size(); ++i) {
        if (plan.assigned[i].device_name.empty())
            continue;
        mappings_[i].set("device_name", plan.assigned[i].device_name);
        mappings_[i].set("disk_bus", plan.assigned[i].disk_bus);
        NOVALET_TRY(records_.conductor.action(
            mappings_[i], "save", Json::array(), Json::object(), context()));
    }
    instance().set("root_device_name", plan.root_device_name);
    instance().set("task_state", "block_device_mapping");
    auto expected = expecting({"networking"}, "block_device_mapping");
    if (again_)
        expected.emplace_back("spawning");
    NOVALET_TRY(save(expected));
    instance().set("task_state", "spawning");
    return save({"block_device_mapping"});
}

Result<hypervisor::ConfigDrive> BuildInstance::config_drive(const std::vector<Json>& mappings,
                                                            const Json& network_info) {
    ConfigDriveSource source;
    source.instance = instance().data();
    source.network_info = network_info;
    source.block_device_mappings = mappings;
    source.injected_files = call().argument("injected_files");
    source.admin_password = Secret(call().argument("admin_password").as_string());
    for (const auto& group : call().argument("security_groups").items())
        source.security_groups.push_back(group.as_string());
    return config_drive_content(source, records_.options);
}

Result<hypervisor::GuestSpec> BuildInstance::guest() {
    NOVALET_ASSIGN(const auto network_info, networks());
    const auto documents = mapping_documents();
    NOVALET_ASSIGN(auto guest,
                   guest_spec(instance().data(), documents, network_info, records_.options.guest));
    NOVALET_ASSIGN(
        guest.numa,
        scheduler_hooks::model::guest_topology_from_json(instance().get("numa_topology")));
    if (needs_config_drive(instance().data(), records_.options.guest)) {
        NOVALET_ASSIGN(guest.config_drive, config_drive(documents, network_info));
    }
    return guest;
}

Result<void> BuildInstance::wait_for_plugged(EventWaiters::Waiter& waiter) const {
    auto waited = waiter.wait(Deadline::after(records_.options.vif_plugging_timeout), stop());
    if (waited || waited.error().code == Code::Cancelled)
        return waited;
    if (!records_.options.vif_plugging_is_fatal) {
        log::warning("the guest starts although its ports are not reported as plugged",
                     {{"reason", waited.error().text}});
        return {};
    }
    return fail_as("VirtualInterfaceCreateException",
                   Code::Timeout,
                   cat("Virtual Interface creation failed for ",
                       uuid().str(),
                       ": ",
                       waited.error().text,
                       "; is the L2 agent of this host alive?"));
}

Result<void> BuildInstance::spawn() {
    NOVALET_ASSIGN(const auto spec, guest());
    std::set<EventKey> awaited;
    if (records_.options.vif_plugging_timeout > Seconds(0))
        for (const auto& interface : spec.interfaces)
            if (!interface.active && interface.vnic_type != "remote-managed")
                awaited.insert({"network-vif-plugged", interface.port.str()});
    // Registered before the interfaces are plugged: an event without a waiter is lost.
    EventWaiters::Waiter waiter(network_.waiters, spec.uuid, awaited);
    const auto images = guests_.images.for_request(context());
    hypervisor::SpawnHooks hooks;
    hooks.images = images.get();
    hooks.stop = stop();
    hooks.step = [](const char* step) { log::debug("step of spawn", {{"step", step}}); };
    if (!awaited.empty())
        hooks.wait_for_plugged = [&] { return wait_for_plugged(waiter); };
    NOVALET_TRY(guests_.hypervisor.spawn(spec, hooks));
    NOVALET_ASSIGN(const auto hardware, guests_.hypervisor.hardware(spec));
    const auto undefined = undefined_hardware(instance().data(), hardware);
    for (const auto& [key, value] : undefined.members())
        instance().set_item("system_metadata", key, value);
    instance().set("config_drive", spec.config_drive ? "True" : "");
    return {};
}

/// Another host that has the server by now may have it on the very same files.
Result<void> BuildInstance::remove_guest() {
    const std::string owner = instance().text("host");
    const bool lives_on_here = !owner.empty() && owner != records_.options.host &&
                               storage_is_shared(records_.bus, records_.options, uuid(), owner);
    return guests_.hypervisor.destroy(
        uuid(),
        {lives_on_here ? hypervisor::Disks::Keep : hypervisor::Disks::Remove,
         interfaces_of(known_networks_ ? *known_networks_ : cached_network_info(instance()))});
}

Result<void> BuildInstance::finish() {
    NOVALET_ASSIGN(const auto info, guests_.hypervisor.info(uuid()));
    instance().erase_item("system_metadata", "network_allocated");
    instance().set("power_state", static_cast<int>(info.state));
    instance().set("vm_state", "active");
    instance().set("task_state", nullptr);
    instance().set("launched_at", to_iso(system_clock().wall()));
    NOVALET_TRY(save({"spawning"}));
    books_.resources.update(instance());
    books_.resources.build_finished(true);
    if (records_.options.track_instance_changes)
        discard(records_.conductor.tell_scheduler_instance(
                    records_.options.host, instance(), context()),
                "the scheduler's view heals itself with the next sync");
    records_.notifier.instance_action(context(), instance(), "create", "end");
    log::info("server is active");
    return {};
}

} // namespace novalet::tasks
