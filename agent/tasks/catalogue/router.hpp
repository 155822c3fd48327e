#pragma once
// From accepted requests to their operations: what is journalled, what is serial, who answers.
#include "agent/core/timer.hpp"
#include "agent/rpc/endpoint_table.hpp"
#include "agent/tasks/catalogue/catalogue.hpp"
#include "agent/tasks/engine/gate.hpp"
#include "agent/tasks/engine/operation_run.hpp"

#include <map>
#include <mutex>
#include <set>
#include <string>

namespace novalet::tasks {

class Router final : public rpc::Dispatcher {
  public:
    /// `rpc_version` is the compute endpoint's ("6.5"). Services outlive the router; their queues
    /// are stopped, and the pool is idle, before it ends.
    Router(Services& services, const std::string& rpc_version);

    [[nodiscard]] Result<Admission> accept(const rpc::Request& request) override;
    void dispatch(rpc::Request request, rpc::Responder responder) override;
    /// Carries on what earlier processes accepted and did not finish; before any new request. What
    /// was accepted for servers of `elsewhere`, which were evacuated from here, is given up: it
    /// would start their guests a second time.
    [[nodiscard]] Result<std::size_t> recover(const std::set<std::string>& elsewhere = {});
    /// An operation that the agent begins itself, on the queue of its server, with the records that
    /// it keeps; without a journal entry, for the records say at the next start that it is due.
    void begin(const std::string& method, Json args, const rpc::Context& context);

  private:
    void add_methods(const std::string& rpc_version);
    [[nodiscard]] rpc::Method::Handler handler(const Row& row);
    [[nodiscard]] std::shared_ptr<OperationRun> make_run(const Row& row,
                                                         std::shared_ptr<const rpc::Request>,
                                                         Progress progress,
                                                         rpc::Responder responder);
    void post(const Row& row,
              const std::shared_ptr<const rpc::Request>& request,
              std::shared_ptr<OperationRun> run);
    void carry_on(const journal::Entry& entry, const std::set<std::string>& elsewhere);
    [[nodiscard]] Progress take_progress(const std::string& unique_id);

    Services& services_;
    Gate builds_;
    Outage control_plane_;
    Outage hypervisor_;
    Timer timer_; ///< ends before what it wakes
    const Waits waits_;
    rpc::EndpointTable table_;
    std::mutex mutex_;
    std::map<std::string, journal::EntryId> accepted_; ///< by unique id, until dispatched
};

} // namespace novalet::tasks
