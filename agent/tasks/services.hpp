#pragma once
// What operations stand on, by family: an operation takes those that it needs. The real ones are
// composed in agent/app, fakes in the unit tests. All of them are thread safe.
#include "agent/core/task_pool.hpp"
#include "agent/journal/journal.hpp"
#include "agent/objects/conductor.hpp"
#include "agent/rpc/caller.hpp"
#include "agent/tasks/books/allocations.hpp"
#include "agent/tasks/books/resources.hpp"
#include "agent/tasks/engine/instance_queue.hpp"
#include "agent/tasks/guest/task_options.hpp"
#include "agent/tasks/peers/event_waiters.hpp"
#include "agent/tasks/peers/images.hpp"
#include "agent/tasks/peers/networks.hpp"
#include "agent/tasks/peers/volumes.hpp"
#include "agent/tasks/records/notifier.hpp"
#include "agent/tasks/records/operation.hpp"
#include "hypervisor/hypervisor.hpp"

namespace novalet::tasks {

/// The records of servers, and who hears of their changes.
struct RecordServices {
    objects::Conductor& conductor;
    Notifier& notifier;
    rpc::Caller& bus;
    TaskOptions options;

    [[nodiscard]] OperationHost operation_host() const { return {conductor, options.host}; }
};

/// Guests of this host and the images they are made of.
struct GuestServices {
    hypervisor::Hypervisor& hypervisor;
    Images& images;
};

/// What Cinder keeps of servers.
struct VolumeServices {
    Volumes& volumes;
};

struct NetworkServices {
    Networks& networks;
    EventWaiters& waiters;
    TaskPool& network_pool; ///< network allocations run beside their builds
};

/// What the host has promised and what Placement knows of it.
struct BookServices {
    Resources& resources;
    Allocations& allocations;
};

/// What carries operations.
struct EngineServices {
    journal::Journal& journal;
    InstanceQueues& queues;
    TaskPool& pool;          ///< operations
    TaskPool& question_pool; ///< questions, which operations that wait for a peer do not hold up
};

struct Services : RecordServices,
                  GuestServices,
                  VolumeServices,
                  NetworkServices,
                  BookServices,
                  EngineServices {};

} // namespace novalet::tasks
