#pragma once
// From accepted requests to their operations: what is journalled, what is serial, who answers.
#include "agent/rpc/endpoint_table.hpp"
#include "agent/tasks/ops/build/build.hpp"
#include "agent/tasks/ops/power/instance_verbs.hpp"
#include "agent/tasks/services.hpp"

#include <atomic>
#include <set>
#include <string>

namespace novalet::tasks {

class Router final : public rpc::Dispatcher {
  public:
    /// `rpc_version` is the compute endpoint's ("6.5"). Services outlive the router.
    Router(Services& services, const std::string& rpc_version);

    [[nodiscard]] Result<Admission> accept(const rpc::Request& request) override;
    void dispatch(rpc::Request request, rpc::Responder responder) override;
    /// Carries on what earlier processes accepted and did not finish; before any new request. What
    /// was accepted for servers of `elsewhere`, which were evacuated from here, is given up: it
    /// would start their guests a second time.
    [[nodiscard]] Result<std::size_t> recover(const std::set<std::string>& elsewhere = {});

  private:
    void add_methods(const std::string& rpc_version);
    rpc::Method effect(const char* name,
                       std::vector<std::string> required,
                       std::vector<std::string> optional,
                       Verb verb);
    rpc::Method query(const char* name,
                      std::vector<std::string> required,
                      std::vector<std::string> optional,
                      Result<Json> (*ask)(Services&, const rpc::Request&));
    void run_effect(rpc::Request request, rpc::Responder responder, Verb verb, Progress progress);
    Result<Json> run_until_settled(const rpc::Request& request,
                                   Verb verb,
                                   Progress progress,
                                   const std::stop_token& stop);

    Services& services_;
    BuildLimit build_limit_;
    rpc::EndpointTable table_;
    std::mutex mutex_;
    std::map<std::string, journal::EntryId> accepted_; ///< by unique id, until dispatched
};

} // namespace novalet::tasks
