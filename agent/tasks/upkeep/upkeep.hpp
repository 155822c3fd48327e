#pragma once
// Periodic work on the host's servers (periodic tasks of nova.compute.manager): records follow
// guests, caches follow Neutron, leftovers go.
#include "agent/tasks/services.hpp"

#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace novalet::tasks {

struct UpkeepOptions {
    std::string running_deleted_action = "reap"; ///< noop, log, shutdown, reap
    Seconds running_deleted_timeout{0};          ///< since the delete
    /// Hosts that use this host's folder of guests, itself among them. Empty: it is not known.
    std::function<Result<std::vector<std::string>>()> storage_users = {};
};

/// Thread safe. Each turn logs its failures; the next one tries again. Work on one server runs on
/// that server's queue; a server that is busy is left for the next turn where that is soon.
class Upkeep {
  public:
    /// Services outlive it.
    Upkeep(Services& services, UpkeepOptions options);

    /// Every server of the host's records (ComputeManager._sync_power_states): those whose guest
    /// is in another state than the record says, or that has none any more, each on its queue.
    /// Two questions when nothing has changed.
    void sync_power_states();
    /// One guest, as after a lifecycle event of libvirt; a guest that is gone tells nothing.
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
    /// Folders, domains and devices of no server of this host, as an undo leaves them whose link
    /// to libvirt was lost. They go when their server is deleted; or when it is on another or no
    /// host or has no record, they are an hour old, and no other host may use the files. Kept in
    /// any case: what is on the books, has a queue with work, an open journal entry, a task_state
    /// or a migration in progress, and what cannot be read. Guests that run are told in the log,
    /// but for those of deleted servers with the action "reap". An owner for everything that the
    /// hypervisor lists: nobody is asked.
    void sweep_leftovers();
    void clean_console_tokens();

  private:
    void heal_info_cache_of(const std::string& uuid);
    enum class NoGuest { IsAState, IsIgnored };
    void post_power_sync(const InstanceUuid& uuid, NoGuest no_guest);
    void sync_power_state(const InstanceUuid& uuid, NoGuest no_guest);
    void stop_server(objects::Object& instance, const rpc::Context& context);
    void remove_guest_of(objects::Object instance);
    void finish_delete(objects::Object instance);

    Services& services_;
    const UpkeepOptions options_;
    std::mutex mutex_;        ///< guards healed_last_
    std::string healed_last_; ///< uuid
};

} // namespace novalet::tasks
