#pragma once
// A failed build undone in order, then rescheduled or put into ERROR (reference 03 §2.1).
#include "agent/rpc/request.hpp"
#include "agent/tasks/services.hpp"

#include <vector>

namespace novalet::tasks {

/// What a build may have made so far.
struct BuildLeftovers {
    bool claimed = false;
    bool ports_may_exist = false;
    bool guest_may_exist = false;
    std::vector<hypervisor::InterfaceSpec> interfaces;
};

/// Step of the journal while a failed build is handed back to the scheduler.
inline constexpr const char* step_reschedule = "reschedule";

/// The guest with its files and taps; a failure is logged.
void remove_guest(Services& services, const objects::Object& instance, const BuildLeftovers& left);

/// The record that has no host any more goes to the conductor, which asks the scheduler again;
/// a failure means that the message bus did not take it.
[[nodiscard]] Result<void> give_back_to_scheduler(Services& services,
                                                  const rpc::Request& request,
                                                  objects::Object& instance,
                                                  const Error& error);

/// Guest, ports, claim, allocation; then what classify_build_failure says. Failures on the way are
/// logged and do not stop the rest. A failure means that the last step, the message to the
/// conductor, has to be tried again.
[[nodiscard]] Result<void> undo_build(Services& services,
                                      const rpc::Request& request,
                                      const Progress& progress,
                                      objects::Object& instance,
                                      const BuildLeftovers& left,
                                      const Error& error);

/// A build that no process survives ends in ERROR, as a Verb.
[[nodiscard]] Result<Json> give_up_build(Services& services,
                                         const rpc::Request& request,
                                         const Progress& progress,
                                         const std::stop_token& stop);

/// Waits for the plug events of a guest that is being started; fatal or not by configuration.
[[nodiscard]] Result<void> wait_for_plugged(const Services& services,
                                            EventWaiters::Waiter& waiter,
                                            const hypervisor::GuestSpec& guest,
                                            const std::stop_token& stop);

} // namespace novalet::tasks
