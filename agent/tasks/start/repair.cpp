#include "agent/tasks/start/repair.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/objects/migration.hpp"
#include "agent/tasks/recorded_guest.hpp"
#include "agent/tasks/start/moved_files.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

namespace novalet::tasks {
namespace {

using hypervisor::PowerState;

template <std::size_t N>
bool one_of(std::string_view word, const std::array<std::string_view, N>& words) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

constexpr std::array<std::string_view, 4> building_tasks{
    "scheduling", "block_device_mapping", "networking", "spawning"};
constexpr std::array<std::string_view, 3> rebuilding_tasks{
    "rebuilding", "rebuild_block_device_mapping", "rebuild_spawning"};
constexpr std::array<std::string_view, 5> tasks_to_forget{"image_snapshot_pending",
                                                          "image_pending_upload",
                                                          "image_uploading",
                                                          "image_snapshot",
                                                          "resize_prep"};
constexpr std::array<std::string_view, 3> soft_reboot_tasks{
    "rebooting", "reboot_pending", "reboot_started"};
/// vm_states that a hard reboot is allowed from.
constexpr std::array<std::string_view, 5> hard_reboot_states{
    "active", "stopped", "paused", "suspended", "error"};
/// Service version of 2025.1: from then on Nova repairs a reboot that nobody had begun with, too.
constexpr int begins_lost_reboots = 68;

const std::vector<std::string> what_repair_reads{
    "info_cache", "metadata", "system_metadata", "flavor", "numa_topology"};

/// One server at the start of the agent.
class Repair {
  public:
    Repair(Services& services, Router& router, objects::Object instance)
        : services_(services), router_(router), host_(services.operation_host()),
          context_(rpc::Context::admin()), instance_(std::move(instance)),
          uuid_(instance_.text("uuid")) {}

    void run() {
        const log::Scope scope{{"instance", uuid_.str()}, {"task", "repair"}};
        if (!is_ours() || finish_what_is_decided())
            return;
        if (one_of(task(), tasks_to_forget))
            clear_task("an interrupted operation is reset");
        if (!task().empty() && carry_on_task())
            return;
        if (!plug())
            return;
        if (task() == "migrating")
            return reset_live_migration();
        if (task() == "resize_migrating")
            revert_resize();
        resume_after_host_boot();
    }

  private:
    [[nodiscard]] std::string task() const { return instance_.text("task_state"); }
    /// The guest's state; none: there is no guest.
    [[nodiscard]] Result<std::optional<PowerState>> look() const {
        const auto info = services_.hypervisor.info(uuid_);
        if (info)
            return std::optional(info->state);
        if (info.error().code == Code::NotFound)
            return std::optional<PowerState>();
        return Failure(info.error());
    }

    bool is_ours();
    bool finish_what_is_decided();
    bool carry_on_task();
    [[nodiscard]] Json network_info();
    bool carry_on_reboot(PowerState guest);
    bool plug();
    void revert_resize();
    [[nodiscard]] Result<void> take_back_guest();
    void reset_live_migration();
    void resume_after_host_boot();

    /// The operation once more, with the records it keeps; next on the server's queue.
    void again(const char* method, Json args) {
        args.set("instance", instance_.to_primitive());
        router_.begin(method, std::move(args), context_);
    }
    [[nodiscard]] Result<void> power_on() {
        const auto images = services_.images.for_request(context_);
        hypervisor::SpawnHooks hooks;
        hooks.images = images.get();
        return services_.hypervisor.power_on(*guest_, hooks);
    }
    bool save(const std::vector<TaskState>& expected = {}) {
        const auto saved = save_instance(host_, context_, instance_, expected);
        if (!saved)
            log::error("the server could not be repaired", {{"error", saved.error().text}});
        return saved.has_value();
    }
    void clear_task(const char* why, const std::vector<TaskState>& expected = {}) {
        log::warning(why, {{"task_state", task()}});
        instance_.set("task_state", nullptr);
        save(expected);
    }
    void set_error() {
        instance_.set("vm_state", "error");
        save();
    }

    Services& services_;
    Router& router_;
    OperationHost host_;
    rpc::Context context_;
    objects::Object instance_;
    InstanceUuid uuid_;
    std::optional<hypervisor::GuestSpec> guest_; ///< as recorded; none: that cannot be read
};

/// An operation may have ended between the reading of the list and our turn: a server that is in
/// the middle of something is looked at again, or a server that has just become ACTIVE would go to
/// ERROR. False: it cannot be read, so that nothing may be decided, or it is another host's.
bool Repair::is_ours() {
    const std::string vm = instance_.text("vm_state");
    if (!task().empty() || vm == "building" || vm == "deleted") {
        auto fresh = services_.conductor.get_instance(uuid_.str(), what_repair_reads, context_);
        if (!fresh) {
            if (!instance_is_gone(fresh.error()))
                log::error("the server could not be read and is not repaired",
                           {{"error", fresh.error().text}});
            return false;
        }
        instance_ = std::move(*fresh);
    }
    return instance_.text("host") == host_.host;
}

/// In Nova's order: the first row that fits counts, so that a server that is BUILD goes to ERROR
/// also when its delete had begun.
bool Repair::finish_what_is_decided() {
    const std::string vm = instance_.text("vm_state");
    if (vm == "soft-delete" ||
        (vm == "error" && task() != "resize_migrating" && task() != "deleting"))
        return true;
    if (vm == "deleted") {
        log::info("a delete lacks its end");
        again("terminate_instance", Json::object().set("bdms", Json::array()));
        return true;
    }
    const bool rebuilds = (vm == "active" || vm == "stopped") && one_of(task(), rebuilding_tasks);
    if (vm == "building" || one_of(task(), building_tasks) || rebuilds) {
        instance_.set("vm_state", "error");
        clear_task("an interrupted build goes to ERROR");
        return true;
    }
    if (task() == "deleting") {
        log::info("finishing a delete that was interrupted");
        again("terminate_instance", Json::object().set("bdms", Json::array()));
        return true;
    }
    return false;
}

/// ComputeManager._retry_reboot. A soft reboot of a guest that does not run is a hard one.
bool Repair::carry_on_reboot(PowerState guest) {
    const std::string vm = instance_.text("vm_state");
    const bool soft_task = one_of(task(), soft_reboot_tasks);
    const bool not_begun = task() == "rebooting" || task() == "rebooting_hard";
    const bool pending = (task() == "reboot_pending" && vm == "active") ||
                         (task() == "reboot_pending_hard" && one_of(vm, hard_reboot_states));
    const bool started =
        task() == "reboot_started" || task() == "reboot_started_hard" ||
        (not_begun && services_.conductor.release().service_version >= begins_lost_reboots);
    if (!pending && (!started || guest == PowerState::Running)) {
        if (started) {
            instance_.set("vm_state", "active");
            clear_task("the reboot took place, but nobody heard of it");
        }
        return false;
    }
    const bool soft = soft_task && guest == PowerState::Running;
    if (soft_task && !soft) {
        const std::string before = task();
        instance_.set("task_state", "reboot_pending_hard");
        if (!save({before}))
            return true;
    }
    log::info("doing an interrupted reboot again", {{"type", soft ? "SOFT" : "HARD"}});
    again("reboot_instance",
          Json::object()
              .set("block_device_info", nullptr)
              .set("reboot_type", soft ? "SOFT" : "HARD"));
    return true;
}

/// False: what comes next is the network.
bool Repair::carry_on_task() {
    const auto looked = look();
    if (!looked) {
        log::error("the guest cannot be looked at and is not repaired",
                   {{"error", looked.error().text}});
        return true;
    }
    const PowerState guest = looked->value_or(PowerState::NoState);
    if (carry_on_reboot(guest))
        return true;
    if (guest == PowerState::Running && (task() == "pausing" || task() == "unpausing")) {
        instance_.set("vm_state", "active");
        clear_task("the guest runs: an interrupted operation is reset");
    }
    if (guest == PowerState::Paused && task() == "unpausing") {
        again("unpause_instance", Json::object());
        return true;
    }
    if (task() == "powering-off") {
        log::info("stopping a server whose stop was interrupted");
        again("stop_instance", Json::object().set("clean_shutdown", true));
        return true;
    }
    if (task() == "powering-on") {
        log::info("starting a server whose start was interrupted");
        again("start_instance", Json::object());
        return true;
    }
    return false;
}

/// That of the cache; ports that are not bound could not be plugged, so that they are bound first.
Json Repair::network_info() {
    Json cached = cached_network_info(instance_);
    if (!badly_bound(cached) || !instance_.get("task_state").is_null())
        return cached;
    auto bound = services_.networks.bind_to_host(context_, instance_);
    if (bound)
        return std::move(*bound);
    log::error("the ports of a server could not be bound to this host",
               {{"error", bound.error().text}});
    return cached;
}

/// False: the guest cannot have its network, and the server is in ERROR; its task_state stays.
bool Repair::plug() {
    auto guest = recorded_guest(services_, context_, instance_, network_info());
    if (!guest) {
        log::warning("the interfaces of a server cannot be checked",
                     {{"error", guest.error().text}});
        return true;
    }
    guest_ = std::move(*guest);
    const auto plugged = services_.hypervisor.plug(*guest_);
    if (plugged)
        return true;
    const bool device_gone = plugged.error().exception == "PciDeviceNotFoundById";
    if (plugged.error().code == Code::NotFound && !device_gone) // a server without a guest
        return true;
    log::error("the interfaces of a server cannot be plugged", {{"error", plugged.error().text}});
    if (device_gone)
        return false;
    if (plugged.error().exception != "VirtualInterfacePlugException")
        return true;
    set_error();
    return false;
}

/// Cut off on the source side of a resize, before the destination had anything: the server goes on
/// here as it was.
void Repair::revert_resize() {
    if (const auto back = take_back_guest(); !back)
        log::error("an interrupted resize could not be reverted", {{"error", back.error().text}});
    clear_task("a server that was being moved stays here");
}

Result<void> Repair::take_back_guest() {
    NOVALET_ASSIGN(const auto guest, look());
    if (guest == PowerState::Running || guest == PowerState::Paused)
        return {}; // it had not been powered off
    NOVALET_TRY(take_back_files(services_.options.instances_path, uuid_));
    if (instance_.get("system_metadata")["old_vm_state"].as_string() == "stopped")
        return {};
    if (!guest_)
        return fail(Code::Internal, "the guest's records could not be read");
    return power_on();
}

/// ComputeManager._reset_live_migration. The guest may run on the other host already: it is not
/// started here.
void Repair::reset_live_migration() {
    Json filters = Json::object();
    filters.set("instance_uuid", uuid_.str()).set("status", "running");
    auto running = services_.conductor.migrations_by_filters(std::move(filters), context_);
    if (!running)
        log::error("an interrupted live migration could not be looked for",
                   {{"error", running.error().text}});
    else
        for (auto& migration : *running) {
            again("live_migration_abort",
                  Json::object().set("migration_id", objects::MigrationView(migration).id()));
            migration.set("status", "error");
            warn("an interrupted live migration could not be marked as failed",
                 services_.conductor.save_migration(migration, context_));
        }
    clear_task("an interrupted live migration is reset", {"migrating"});
}

/// A hard reboot without any record of it (driver.resume_state_on_host_boot).
void Repair::resume_after_host_boot() {
    constexpr int running = static_cast<int>(PowerState::Running);
    if (!services_.options.resume_guests_state_on_host_boot ||
        instance_.get("power_state").as_int() != running || !guest_)
        return;
    const auto guest = look();
    if (!guest)
        return log::error("a guest cannot be looked at and is not started again",
                          {{"error", guest.error().text}});
    const bool is_down =
        !*guest || **guest == PowerState::Shutdown || **guest == PowerState::Crashed;
    if (!is_down)
        return;
    log::info("starting a guest that ran before the host went down");
    const auto started = power_on();
    if (started)
        return;
    log::error("a guest could not be started again", {{"error", started.error().text}});
    if (!waits_for_peer(started.error()))
        set_error();
}

} // namespace

void repair_instances(Services& services, Router& router, const std::set<std::string>& elsewhere) {
    const auto context = rpc::Context::admin();
    const auto entries = services.journal.open_entries();
    const auto instances = services.conductor.instances_by_host(
        services.options.host, std::nullopt, what_repair_reads, context);
    if (!entries || !instances) {
        log::error("the host's servers could not be read; none was repaired",
                   {{"error", !entries ? entries.error().text : instances.error().text}});
        return;
    }
    std::set<std::string> left_alone = elsewhere; // and those that a journal entry takes care of
    for (const auto& entry : *entries)
        left_alone.insert(entry.request.instance_uuid);
    for (const auto& instance : *instances) {
        const std::string uuid = instance.text("uuid");
        if (left_alone.contains(uuid) || services.queues.busy(uuid))
            continue;
        services.queues.post(uuid, [&services, &router, instance](const std::stop_token&) {
            Repair(services, router, instance).run();
        });
    }
}

} // namespace novalet::tasks
