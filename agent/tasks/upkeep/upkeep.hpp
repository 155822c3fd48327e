#pragma once
// Periodic work on the host's servers (reference 04 §6): records follow guests, caches follow
// Neutron, leftovers of deleted servers go.
#include "agent/tasks/services.hpp"

#include <string>

namespace novalet::tasks {

struct UpkeepOptions {
    std::string running_deleted_action = "reap"; ///< noop, log, shutdown, reap
    Seconds running_deleted_timeout{0};          ///< since the delete
};

/// Thread safe. Each turn logs its failures; the next one tries again. Work on one server runs on
/// that server's queue; a server that is busy is left for the next turn where that is soon.
class Upkeep {
  public:
    /// Services outlive it.
    Upkeep(Services& services, UpkeepOptions options);

    /// Every guest of the hypervisor, each on its queue.
    void sync_power_states();
    /// One guest, as after a lifecycle event of libvirt.
    void sync_power_state_of(const InstanceUuid& uuid);
    /// The info cache of one server, another one each turn: made anew of the ports that Neutron
    /// has, which are bound to this host where they are not.
    void heal_info_cache();
    /// Tells the schedulers which servers the host has.
    void sync_scheduler();
    /// Guests that still run although their server is deleted.
    void remove_running_deleted();
    /// Files of servers that were deleted while the agent was away.
    void finish_deletes();
    void clean_console_tokens();

  private:
    void sync_power_state(const InstanceUuid& uuid);
    void heal_info_cache_of(const std::string& uuid);
    void stop_server(objects::Object& instance, const rpc::Context& context);
    void remove_guest_of(objects::Object instance);
    void finish_delete(objects::Object instance);

    Services& services_;
    const UpkeepOptions options_;
    std::mutex mutex_;        ///< guards healed_last_
    std::string healed_last_; ///< uuid
};

} // namespace novalet::tasks
