#include "agent/tasks/catalogue/catalogue.hpp"

#include "agent/core/text.hpp"
#include "agent/tasks/ops/build/build.hpp"
#include "agent/tasks/ops/console/queries.hpp"
#include "agent/tasks/ops/events/external_events.hpp"
#include "agent/tasks/ops/power/power.hpp"
#include "agent/tasks/ops/terminate/terminate.hpp"
#include "agent/tasks/peers/shared_storage.hpp"
#include "agent/tasks/records/nova_exceptions.hpp"

#include <algorithm>
#include <array>

namespace novalet::tasks {
namespace {

template <class Operation>
std::unique_ptr<Saga> make(const Services& services, OperationCall call) {
    return std::make_unique<Operation>(services, std::move(call));
}

Result<Json> shared_storage_question(Services& services, const rpc::Request& request) {
    return check_instance_shared_storage(services.options, request);
}

Result<Json> events(Services& services, const rpc::Request& request) {
    external_instance_event(services, request);
    return Json();
}

/// The guest reads its networks from DHCP or the config drive: nothing is injected
/// (nova.virt.libvirt.driver has no inject_network_info of its own).
Result<Json> nothing_to_do(Services& /*services*/, const rpc::Request& /*request*/) {
    return Json();
}

/// What is served: the operation or the question, its limit, and how it stands to others.
struct Served {
    std::string_view method;
    std::unique_ptr<Saga> (*make)(const Services&, OperationCall) = nullptr;
    Result<Json> (*ask)(Services&, const rpc::Request&) = nullptr;
    Limit limit = Limit::None;
    bool at_once = false;
    bool overtakes = false;
};

constexpr std::array served{
    Served{.method = "build_and_run_instance", .make = make<BuildInstance>, .limit = Limit::Builds},
    Served{.method = "terminate_instance", .make = make<TerminateInstance>, .overtakes = true},
    Served{.method = "stop_instance", .make = make<StopInstance>},
    Served{.method = "start_instance", .make = make<StartInstance>},
    Served{.method = "reboot_instance", .make = make<RebootInstance>},
    Served{.method = "pause_instance", .make = make<PauseInstance>},
    Served{.method = "unpause_instance", .make = make<UnpauseInstance>},
    Served{.method = "suspend_instance", .make = make<SuspendInstance>},
    Served{.method = "resume_instance", .make = make<ResumeInstance>},
    Served{.method = "get_console_output", .ask = get_console_output},
    Served{.method = "get_vnc_console", .ask = get_vnc_console},
    Served{.method = "validate_console_port", .ask = validate_console_port},
    Served{.method = "check_instance_shared_storage", .ask = shared_storage_question},
    Served{.method = "get_host_uptime", .ask = get_host_uptime},
    Served{.method = "set_host_enabled", .ask = set_host_enabled},
    Served{.method = "inject_network_info", .ask = nothing_to_do, .at_once = true},
    Served{.method = "external_instance_event", .ask = events, .at_once = true},
};

std::vector<Row> all_rows() {
    std::vector<Row> rows;
    for (const auto& facts : nova_methods()) {
        Row row;
        row.facts = &facts;
        for (const auto& one : served)
            if (one.method == facts.name) {
                row.make = one.make;
                row.ask = one.ask;
                row.limit = one.limit;
                row.at_once = one.at_once;
                row.overtakes = one.overtakes;
            }
        rows.push_back(row);
    }
    return rows;
}

/// One step, which fails: the rest is the method's policy.
class RefusedOperation final : public Steps<RefusedOperation, InstanceOperation> {
  public:
    RefusedOperation(const Services& services, OperationCall call, Error why)
        : Steps(services, std::move(call)), why_(std::move(why)) {}
    [[nodiscard]] static std::span<const Step<RefusedOperation>> table() {
        static constexpr std::array<Step<RefusedOperation>, 1> steps{
            {{"refuse", AfterCrash::Again, &RefusedOperation::refuse}}};
        return steps;
    }

  private:
    [[nodiscard]] Result<void> refuse() { return Failure(why_); }
    const Error why_;
};

} // namespace

std::span<const Row> catalogue() {
    static const auto rows = all_rows();
    return rows;
}

const Row* find_row(std::string_view method) {
    const auto rows = catalogue();
    const auto found =
        std::lower_bound(rows.begin(), rows.end(), method, [](const Row& row, auto name) {
            return row.facts->name < name;
        });
    return found != rows.end() && found->facts->name == method ? &*found : nullptr;
}

Error refusal(const MethodFacts& method, const std::string& host) {
    Error error;
    error.code = Code::Unsupported;
    error.exception = method.on_failure.refusal;
    if (const auto* known = find_exception(error.exception))
        error.module = known->module;
    error.text = cat("The compute agent of host ",
                     host,
                     " does not support ",
                     method.name,
                     " yet; the server is unchanged.");
    return error;
}

std::unique_ptr<Saga> make_operation(const Row& row,
                                     const Services& services,
                                     std::shared_ptr<const rpc::Request> request) {
    OperationCall call{std::move(request), std::string(row.facts->event), row.facts->on_failure};
    if (row.make != nullptr)
        return row.make(services, std::move(call));
    call.on_failure = of_refusal(call.on_failure);
    return std::make_unique<RefusedOperation>(
        services, std::move(call), refusal(*row.facts, services.options.host));
}

} // namespace novalet::tasks
