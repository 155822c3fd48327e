#pragma once
// What operations stand on: the real ones are composed in agent/app, fakes in the unit tests. All
// of them are thread safe.
#include "agent/journal/journal.hpp"
#include "agent/objects/conductor.hpp"
#include "agent/rpc/caller.hpp"
#include "agent/tasks/books/resources.hpp"
#include "agent/tasks/engine/instance_queue.hpp"
#include "agent/tasks/engine/progress.hpp"
#include "agent/tasks/guest/task_options.hpp"
#include "agent/tasks/peers/event_waiters.hpp"
#include "agent/tasks/peers/images.hpp"
#include "agent/tasks/peers/networks.hpp"
#include "agent/tasks/records/notifier.hpp"
#include "agent/tasks/records/operation.hpp"
#include "hypervisor/hypervisor.hpp"

namespace novalet::tasks {

struct Services {
    TaskOptions options;
    rpc::Caller& bus;
    objects::Conductor& conductor;
    hypervisor::Hypervisor& hypervisor;
    Networks& networks;
    Resources& resources;
    Images& images;
    Notifier& notifier;
    journal::Journal& journal;
    InstanceQueues& queues;
    TaskPool& pool;
    TaskPool& network_pool; ///< network allocations run beside their builds
    EventWaiters& waiters;

    [[nodiscard]] OperationHost operation_host() const { return {conductor, options.host}; }
};

} // namespace novalet::tasks
