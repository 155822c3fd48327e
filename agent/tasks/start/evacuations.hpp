#pragma once
// Servers that were evacuated to other hosts while this one was taken for dead
// (nova.compute.manager, ComputeManager._destroy_evacuated_instances): a guest must not run on two
// hosts.
#include "agent/tasks/services.hpp"

#include <cstdint>
#include <mutex>
#include <set>

namespace novalet::tasks {

/// The rule, for each migration of type "evacuation" whose source is this host and whose status is
/// accepted, pre-migrating or done:
///  - the guest that is still here is destroyed. Its disks go only when the other host answers that
///    it does not see them (shared_storage.hpp); when the server is deleted they always go.
///  - what the server holds of this host in Placement is given back; the rest is the other host's.
///  - the migration becomes "completed", so that this happens once.
/// A server that is deleted, or whose record is gone, has no allocation; its migration is left. A
/// guest without a record is nobody's to destroy.
/// One thing is not as in Nova: when the evacuation is done and the server's host is this one again
/// it came back, and its guest is its only one. Nova destroys it; here only the migration is
/// completed.
/// Thread safe.
class Evacuations {
  public:
    /// Services outlive it.
    explicit Evacuations(Services& services) : services_(services) {}

    /// At the start, before anything else is done with a server: reads all, then clears away each
    /// server on its own queue. The result: the servers that live elsewhere, which neither journal
    /// nor repair may touch. A failure means that records or guests could not be read and nothing
    /// was touched; the start must not go on, or a guest might be started that runs elsewhere.
    [[nodiscard]] Result<std::set<std::string>> begin();
    /// Those of begin() that could not be brought to their end, once more. Nothing is read or sent
    /// when there are none.
    void carry_on();

  private:
    struct Away {
        objects::Object migration;
        objects::Object server;
        bool guest_is_here = false;
        bool came_back = false;
    };
    [[nodiscard]] Result<std::vector<Away>> read();
    void post(Away away);
    void clear(Away away);
    [[nodiscard]] Result<void> remove_guest(const Away& away);
    [[nodiscard]] bool unfinished(std::int64_t migration) const;

    Services& services_;
    mutable std::mutex mutex_;          ///< guards unfinished_
    std::set<std::int64_t> unfinished_; ///< ids of migrations
};

} // namespace novalet::tasks
