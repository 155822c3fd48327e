#include "agent/tasks/ops/build/build.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/guest/config_drive_content.hpp"
#include "agent/tasks/ops/build/build_undo.hpp"
#include "agent/tasks/ops/build/group_policy.hpp"

#include <future>

namespace novalet::tasks {
namespace {

constexpr const char* event_name = "compute__do_build_and_run_instance";

/// One build under way. Members are what the steps hand to each other.
class Build {
  public:
    Build(Services& services,
          const rpc::Request& request,
          const Progress& progress,
          std::stop_token stop)
        : services_(services), request_(request), progress_(progress), stop_(std::move(stop)),
          host_(services.operation_host()),
          instance_(objects::Object::from_primitive(request.args["instance"])) {
        for (const auto& mapping :
             objects::data_of(request.args["block_device_mapping"])["objects"].items())
            mappings_.push_back(objects::Object::from_primitive(mapping));
    }

    Result<Json> run();

  private:
    Result<bool> begin();
    Result<bool> begin_again();
    void note_roles();
    Result<void> make();
    Result<void> claim();
    Result<void> start_networks();
    Result<void> block_devices();
    Result<void> spawn();
    Result<void> finish();
    Result<Json> networks();
    Result<hypervisor::ConfigDrive> config_drive(const std::vector<Json>& mappings,
                                                 const Json& network_info);

    Services& services_;
    const rpc::Request& request_;
    const Progress& progress_;
    std::stop_token stop_;
    OperationHost host_;
    objects::Object instance_;
    std::vector<objects::Object> mappings_;
    std::future<Result<Json>> network_info_;
    Json known_networks_;
    BuildLeftovers left_;
};

/// Another process of ours began this build. The record decides what may still be done; what was
/// made is removed and the build starts over, for nobody was given the server yet.
Result<bool> Build::begin_again() {
    left_.guest_may_exist = true;
    left_.ports_may_exist = true;
    NOVALET_ASSIGN(instance_,
                   services_.conductor.get_instance(instance_.text("uuid"),
                                                    {"metadata",
                                                     "system_metadata",
                                                     "info_cache",
                                                     "flavor",
                                                     "pci_requests",
                                                     "numa_topology",
                                                     "keypairs",
                                                     "security_groups"},
                                                    request_.context));
    left_.interfaces = interfaces_of(cached_network_info(instance_));
    const std::string task = instance_.text("task_state");
    const std::string owner = instance_.text("host");
    if (task == "deleting" || instance_.text("vm_state") == "deleted")
        return fail_as("UnexpectedDeletingTaskStateError",
                       Code::Conflict,
                       cat("instance ", instance_.text("uuid"), " is being deleted"));
    const bool given_back = owner.empty() && progress_.resumed_at() == step_reschedule;
    if (instance_.text("vm_state") != "building" || (!owner.empty() && owner != host_.host)) {
        log::info("a build that an earlier process began has ended meanwhile",
                  {{"vm_state", instance_.text("vm_state")}, {"host", owner}});
        if (owner != host_.host)
            remove_guest(services_, instance_, left_);
        return false;
    }
    if (given_back) { // cut off between the record and the message to the conductor
        NOVALET_TRY(
            give_back_to_scheduler(services_,
                                   request_,
                                   instance_,
                                   fail(Code::Cancelled, "the agent was restarted").value()));
        return false;
    }
    log::info("a build that an earlier process began starts over", {{"task_state", task}});
    remove_guest(services_, instance_, left_);
    left_.guest_may_exist = false;
    services_.resources.drop(request_.context, instance_, false);
    const TaskState current = task.empty() ? TaskState() : TaskState(task);
    instance_.set("vm_state", "building");
    instance_.set("task_state", nullptr);
    NOVALET_TRY(save_instance(host_, request_.context, instance_, {current}));
    note_roles();
    return true;
}

/// The server is deleted, or another operation has it: it is not ours to change.
bool is_somebody_elses(const Error& error) {
    return objects::is_instance_gone(error) || objects::is_unexpected_task_state(error);
}

/// False: nothing is left to build.
Result<bool> Build::begin() {
    if (progress_.resumed())
        return begin_again();
    progress_.step("begin");
    instance_.set("vm_state", "building");
    instance_.set("task_state", nullptr);
    NOVALET_TRY(save_instance(host_, request_.context, instance_, {"scheduling", std::nullopt}));
    services_.notifier.instance_action(request_.context, instance_, "create", "start");
    note_roles();
    return true;
}

/// In memory: the next save writes them.
void Build::note_roles() {
    std::vector<std::string> roles;
    for (const auto& role : request_.context.keys()["roles"].items())
        roles.push_back(role.as_string());
    instance_.set_item("system_metadata", "boot_roles", join(roles, ","));
}

Result<void> Build::claim() {
    progress_.step("claim");
    NOVALET_TRY(services_.resources.claim(request_.context, instance_, request_.args["limits"]));
    left_.claimed = true;
    return check_group_policy(services_, request_.context, instance_, request_.args);
}

/// Network allocation runs beside the disks; `networks()` is where the two meet.
Result<void> Build::start_networks() {
    progress_.step("networking");
    instance_.set("vm_state", "building");
    instance_.set("task_state", "networking");
    NOVALET_TRY(save_instance(host_, request_.context, instance_, {std::nullopt}));
    if (left_.ports_may_exist) {
        NOVALET_TRY(services_.networks.deallocate(
            request_.context.elevated(), instance_, request_.args["requested_networks"]));
    }
    left_.ports_may_exist = true;
    auto promise = std::make_shared<std::promise<Result<Json>>>();
    network_info_ = promise->get_future();
    // Copies keep the allocation independent of what this thread does to the record, and of this
    // build should it end early.
    services_.network_pool.post([&networks = services_.networks,
                                 promise,
                                 context = request_.context,
                                 copy = instance_,
                                 wishes = request_.args["requested_networks"],
                                 groups = request_.args["security_groups"]]() mutable {
        promise->set_value(networks.allocate(context, copy, wishes, groups));
    });
    return {};
}

Result<Json> Build::networks() {
    if (network_info_.valid()) {
        auto info = network_info_.get();
        if (!info)
            return info;
        known_networks_ = std::move(*info);
        instance_.set_item("system_metadata", "network_allocated", "True");
    }
    return known_networks_;
}

Result<void> Build::block_devices() {
    progress_.step("block_device_mapping");
    std::vector<Json> documents;
    for (const auto& mapping : mappings_)
        documents.push_back(mapping.data());
    NOVALET_ASSIGN(const auto plan,
                   plan_disks(instance_.data(), documents, services_.options.guest));
    for (std::size_t i = 0; i < mappings_.size(); ++i) {
        if (plan.assigned[i].device_name.empty())
            continue;
        mappings_[i].set("device_name", plan.assigned[i].device_name);
        mappings_[i].set("disk_bus", plan.assigned[i].disk_bus);
        NOVALET_TRY(services_.conductor.action(
            mappings_[i], "save", Json::array(), Json::object(), request_.context));
    }
    instance_.set("root_device_name", plan.root_device_name);
    instance_.set("task_state", "block_device_mapping");
    NOVALET_TRY(save_instance(host_, request_.context, instance_));
    instance_.set("task_state", "spawning");
    return save_instance(host_, request_.context, instance_, {"block_device_mapping"});
}

Result<hypervisor::ConfigDrive> Build::config_drive(const std::vector<Json>& mappings,
                                                    const Json& network_info) {
    ConfigDriveSource source;
    source.instance = instance_.data();
    source.network_info = network_info;
    source.block_device_mappings = mappings;
    source.injected_files = request_.args["injected_files"];
    source.admin_password = Secret(request_.args["admin_password"].as_string());
    for (const auto& group : request_.args["security_groups"].items())
        source.security_groups.push_back(group.as_string());
    return config_drive_content(source, services_.options);
}

Result<void> Build::spawn() {
    progress_.step("spawning");
    NOVALET_ASSIGN(const auto network_info, networks());
    std::vector<Json> documents;
    for (const auto& mapping : mappings_)
        documents.push_back(mapping.data());
    NOVALET_ASSIGN(auto guest,
                   guest_spec(instance_.data(), documents, network_info, services_.options.guest));
    NOVALET_ASSIGN(
        guest.numa,
        scheduler_hooks::model::guest_topology_from_json(instance_.get("numa_topology")));
    if (needs_config_drive(instance_.data(), services_.options.guest)) {
        NOVALET_ASSIGN(guest.config_drive, config_drive(documents, network_info));
    }
    std::set<EventKey> awaited;
    if (services_.options.vif_plugging_timeout > Seconds(0))
        for (const auto& interface : guest.interfaces)
            if (!interface.active && interface.vnic_type != "remote-managed")
                awaited.insert({"network-vif-plugged", interface.port.str()});
    // Registered before the interfaces are plugged: an event without a waiter is lost.
    EventWaiters::Waiter waiter(services_.waiters, guest.uuid, awaited);
    const auto images = services_.images.for_request(request_.context);
    hypervisor::SpawnHooks hooks;
    hooks.images = images.get();
    hooks.stop = stop_;
    hooks.step = [this](const char* step) { progress_.step(step); };
    if (!awaited.empty())
        hooks.wait_for_plugged = [&] { return wait_for_plugged(services_, waiter, guest, stop_); };
    left_.guest_may_exist = true;
    left_.interfaces = guest.interfaces;
    NOVALET_TRY(services_.hypervisor.spawn(guest, hooks));
    const auto hardware = undefined_hardware(instance_.data(), services_.options.guest);
    for (const auto& [key, value] : hardware.members())
        instance_.set_item("system_metadata", key, value);
    instance_.set("config_drive", guest.config_drive ? "True" : "");
    return {};
}

Result<void> Build::finish() {
    progress_.step("finish");
    NOVALET_ASSIGN(const auto info,
                   services_.hypervisor.info(InstanceUuid(instance_.get("uuid").as_string())));
    instance_.erase_item("system_metadata", "network_allocated");
    instance_.set("power_state", static_cast<int>(info.state));
    instance_.set("vm_state", "active");
    instance_.set("task_state", nullptr);
    instance_.set("launched_at", to_iso(system_clock().wall()));
    NOVALET_TRY(save_instance(host_, request_.context, instance_, {"spawning"}));
    services_.resources.update(instance_);
    services_.resources.build_finished(true);
    if (services_.options.track_instance_changes)
        discard(
            services_.conductor.tell_scheduler_instance(host_.host, instance_, request_.context),
            "the scheduler's view heals itself with the next sync");
    services_.notifier.instance_action(request_.context, instance_, "create", "end");
    log::info("server is active");
    return {};
}

Result<void> Build::make() {
    NOVALET_TRY(claim());
    NOVALET_TRY(start_networks());
    NOVALET_TRY(block_devices());
    NOVALET_TRY(spawn());
    return finish();
}

Result<Json> Build::run() {
    const auto begun = begin();
    if (begun && !*begun)
        return Json();
    if (!begun && control_plane_unreachable(begun.error()))
        return Failure(begun.error());
    if (!begun) { // taken over or deleted: what an earlier process made, and the allocation
        log::info("build is not started", {{"reason", begun.error().text}});
        if (!progress_.resumed() && is_somebody_elses(begun.error())) {
            discard(services_.resources.delete_allocation(instance_.text("uuid")),
                    "the audit removes allocations of deleted instances");
            return Json();
        }
        NOVALET_TRY(undo_build(services_, request_, progress_, instance_, left_, begun.error()));
        return Json();
    }
    const auto made = make();
    if (made)
        return Json();
    // The allocation of networks may still run: its outcome decides what there is to undo.
    if (network_info_.valid())
        discard(network_info_.get(), "undone below whatever came out");
    if (control_plane_unreachable(made.error()))
        return Failure(made.error()); // started over when it can be reached
    NOVALET_TRY(undo_build(services_, request_, progress_, instance_, left_, made.error()));
    return Json();
}

} // namespace

BuildLimit::BuildLimit(unsigned max) : max_(max) {}

bool BuildLimit::enter(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    if (!freed_.wait(lock, stop, [this] { return max_ == 0 || inside_ < max_; }))
        return false;
    ++inside_;
    return true;
}

void BuildLimit::leave() {
    {
        const std::lock_guard lock(mutex_);
        --inside_;
    }
    freed_.notify_one();
}

Result<Json> build_and_run_instance(Services& services,
                                    BuildLimit& limit,
                                    const rpc::Request& request,
                                    const Progress& progress,
                                    const std::stop_token& stop) {
    struct Place {
        BuildLimit& limit;
        ~Place() { limit.leave(); }
    };
    if (!limit.enter(stop))
        return fail(Code::Cancelled, "the agent stops before the build could begin");
    const Place place{limit};
    Build build(services, request, progress, stop);
    auto instance = objects::Object::from_primitive(request.args["instance"]);
    // The build records its own faults: only the event is kept around it.
    const Records records{event_name, false, false, progress.resumed()};
    bool ran = false;
    auto done = with_records(services.operation_host(), request.context, instance, records, [&] {
        ran = true;
        return build.run();
    });
    if (ran || done || control_plane_unreachable(done.error()))
        return done;
    // An action that lacks its record is no reason to leave a server in BUILD.
    log::warning("the build goes on without its action event", {{"error", done.error().text}});
    return build.run();
}

} // namespace novalet::tasks
