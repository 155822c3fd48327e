#include "agent/tasks/start/repair.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/recorded_guest.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace novalet::tasks {
namespace {

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
constexpr std::array<std::string_view, 6> reboot_tasks{"reboot_pending",
                                                       "reboot_pending_hard",
                                                       "reboot_started",
                                                       "reboot_started_hard",
                                                       "rebooting",
                                                       "rebooting_hard"};

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
        if (!read_anew() || finish_what_is_decided())
            return;
        forget_task();
        if (carry_on_task())
            return;
        if (plug())
            resume_after_host_boot();
    }

  private:
    using PowerState = hypervisor::PowerState;

    [[nodiscard]] PowerState guest_state() const {
        const auto info = services_.hypervisor.info(uuid_);
        return info ? info->state : PowerState::NoState;
    }

    void save(const char* vm_state) {
        if (vm_state != nullptr)
            instance_.set("vm_state", vm_state);
        instance_.set("task_state", nullptr);
        instance_.set("power_state", static_cast<int>(guest_state()));
        if (const auto saved = save_instance(host_, context_, instance_); !saved)
            log::error("the server could not be repaired", {{"error", saved.error().text}});
    }

    bool read_anew();
    bool finish_what_is_decided();
    void forget_task();
    bool carry_on_task();
    void again(const char* method, Json args);
    [[nodiscard]] Json network_info();
    bool plug();
    void resume_after_host_boot();

    Services& services_;
    Router& router_;
    OperationHost host_;
    rpc::Context context_;
    objects::Object instance_;
    InstanceUuid uuid_;
};

/// An operation may have ended between the reading of the list and our turn: a server that is in
/// the middle of something is looked at again, or a server that has just become ACTIVE would go to
/// ERROR. False: it cannot be read, so that nothing may be decided.
bool Repair::read_anew() {
    const std::string vm = instance_.text("vm_state");
    if (instance_.get("task_state").is_null() && vm != "building" && vm != "deleted")
        return true;
    auto fresh = services_.conductor.get_instance(uuid_.str(), what_repair_reads, context_);
    if (!fresh) {
        if (!instance_is_gone(fresh.error()))
            log::error("the server could not be read and is not repaired",
                       {{"error", fresh.error().text}});
        return false;
    }
    instance_ = std::move(*fresh);
    return instance_.text("host") == host_.host;
}

bool Repair::finish_what_is_decided() {
    const std::string vm = instance_.text("vm_state");
    const std::string task = instance_.text("task_state");
    if (vm == "soft-delete" || (vm == "error" && task != "resize_migrating" && task != "deleting"))
        return true;
    if (vm == "deleted" || task == "deleting") {
        log::info("finishing a delete that was interrupted");
        again("terminate_instance", Json::object().set("bdms", Json::array()));
        return true;
    }
    if (vm == "building" || one_of(task, building_tasks)) {
        log::warning("an interrupted build without a journal entry goes to ERROR");
        save("error");
        return true;
    }
    if (one_of(task, rebuilding_tasks)) {
        log::warning("an interrupted rebuild goes to ERROR");
        save("error");
        return true;
    }
    return false;
}

void Repair::forget_task() {
    if (!one_of(instance_.text("task_state"), tasks_to_forget))
        return;
    log::warning("an interrupted operation is reset",
                 {{"task_state", instance_.text("task_state")}});
    save(nullptr);
}

/// The operation once more, with the records it keeps; next on the server's queue.
void Repair::again(const char* method, Json args) {
    args.set("instance", instance_.to_primitive());
    router_.begin(method, std::move(args), context_);
}

bool Repair::carry_on_task() {
    const std::string task = instance_.text("task_state");
    const auto state = guest_state();
    if (one_of(task, reboot_tasks)) {
        if (state == PowerState::Running) {
            save("active");
            return false;
        }
        log::info("doing an interrupted reboot again");
        // A hard reboot takes over from the tasks of hard reboots only.
        instance_.set("task_state", "rebooting_hard");
        if (const auto saved = save_instance(host_, context_, instance_, {task}); !saved) {
            log::error("an interrupted reboot could not be done again",
                       {{"error", saved.error().text}});
            return true;
        }
        again("reboot_instance", Json::object().set("reboot_type", "HARD"));
        return true;
    }
    if (state == PowerState::Running && (task == "pausing" || task == "unpausing")) {
        save("active");
        return false;
    }
    if (state == PowerState::Paused && task == "pausing") { // paused, but nobody heard of it
        save("paused");
        return false;
    }
    if (state == PowerState::Paused && task == "unpausing") {
        again("unpause_instance", Json::object());
        return true;
    }
    if (task == "powering-off") {
        log::info("stopping a server whose stop was interrupted");
        again("stop_instance", Json::object().set("clean_shutdown", true));
        return true;
    }
    if (task == "powering-on") {
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

/// False: the guest cannot have its network, and the server is in ERROR.
bool Repair::plug() {
    const auto guest = recorded_guest(services_, context_, instance_, network_info());
    if (!guest) {
        log::warning("the interfaces of a server cannot be checked",
                     {{"error", guest.error().text}});
        return true;
    }
    const auto plugged = services_.hypervisor.plug(*guest);
    if (plugged)
        return true;
    log::error("the interfaces of a server cannot be plugged", {{"error", plugged.error().text}});
    if (plugged.error().exception != "VirtualInterfacePlugException")
        return true;
    save("error");
    return false;
}

void Repair::resume_after_host_boot() {
    constexpr int running = static_cast<int>(PowerState::Running);
    if (!services_.options.resume_guests_state_on_host_boot ||
        instance_.get("power_state").as_int() != running || guest_state() == PowerState::Running)
        return;
    log::info("starting a guest that ran before the host went down");
    instance_.set("task_state", "powering-on");
    if (const auto saved = save_instance(host_, context_, instance_); !saved) {
        log::error("a guest could not be started again", {{"error", saved.error().text}});
        return;
    }
    again("start_instance", Json::object());
}

} // namespace

void repair_instances(Services& services, Router& router, const std::set<std::string>& elsewhere) {
    const auto context = rpc::Context::admin();
    const auto instances = services.conductor.instances_by_host(
        services.options.host, std::nullopt, what_repair_reads, context);
    if (!instances) {
        log::error("the host's servers could not be read; none was repaired",
                   {{"error", instances.error().text}});
        return;
    }
    for (const auto& instance : *instances) {
        const std::string uuid = instance.text("uuid");
        // A journal entry takes care of it, or it lives on another host.
        if (elsewhere.contains(uuid) || services.queues.busy(uuid))
            continue;
        services.queues.post(uuid, [&services, &router, instance](const std::stop_token&) {
            Repair(services, router, instance).run();
        });
    }
}

} // namespace novalet::tasks
