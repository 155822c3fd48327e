#include "agent/tasks/catalogue/router.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

namespace novalet::tasks {
namespace {

constexpr unsigned most_attempts = 3; ///< processes that may die over one request
constexpr const char* gone_elsewhere = "the server was evacuated to another host";

std::string instance_of(const rpc::Request& request) {
    return objects::data_of(request.args["instance"])["uuid"].as_string();
}

rpc::Request from_journal(const journal::Accepted& accepted) {
    rpc::Request request;
    request.method = accepted.method;
    request.version = accepted.version;
    request.name_space = accepted.name_space;
    request.args = accepted.args;
    request.context = rpc::Context(accepted.context);
    request.unique_id = accepted.unique_id;
    request.message_id = accepted.message_id;
    request.reply_queue = accepted.reply_queue;
    return request;
}

/// Nothing where not even the first step was begun.
Result<std::optional<Place>> place_of(const journal::Entry& entry) {
    if (entry.step.empty())
        return std::nullopt;
    if (!entry.step_data.contains("stage")) { // of a release that noted the name of the step alone
        Place place;
        place.stage = Stage::Forward;
        place.step = entry.step;
        place.state = Json::object();
        return place;
    }
    NOVALET_ASSIGN(auto place, place_from_json(entry.step_data));
    return place;
}

/// Names of arguments as the endpoint checks them: one that some release lacks is optional.
void name_arguments(const MethodFacts& facts, rpc::Method& method) {
    for (const auto& argument : facts.arguments) {
        const bool always = argument.required && argument.since.empty() && argument.until.empty();
        (always ? method.required : method.optional).emplace_back(argument.name);
    }
}

} // namespace

Router::Router(Services& services, const std::string& rpc_version)
    : services_(services), builds_(services.options.max_concurrent_builds),
      control_plane_(timer_, services.options.retry_pause),
      hypervisor_(timer_, services.options.retry_pause), waits_{timer_,
                                                                control_plane_,
                                                                hypervisor_,
                                                                services.options.retry_pause} {
    add_methods(rpc_version);
}

std::shared_ptr<OperationRun> Router::make_run(const Row& row,
                                               std::shared_ptr<const rpc::Request> request,
                                               Progress progress,
                                               rpc::Responder responder) {
    Gate* gate = nullptr;
    switch (row.limit) {
    case Limit::None:
        break;
    case Limit::Builds:
        gate = &builds_;
        break;
    }
    return std::make_shared<OperationRun>(waits_,
                                          make_operation(row, services_, std::move(request)),
                                          std::move(progress),
                                          gate,
                                          std::move(responder));
}

void Router::post(const Row& row,
                  const std::shared_ptr<const rpc::Request>& request,
                  std::shared_ptr<OperationRun> run) {
    const std::string server = instance_of(*request);
    // Beside: in a lane of its own, named so that nobody else's work is in it.
    const std::string lane =
        row.facts->lane == Lane::Beside ? cat(server, '/', request->unique_id) : server;
    if (row.overtakes)
        services_.queues.interrupt(lane);
    services_.queues.post_turns(
        lane, [request, server, run = std::move(run)](const std::stop_token& stop) {
            const log::Scope scope{{"req", request->context.request_id()},
                                   {"instance", server},
                                   {"task", request->method}};
            return run->turn(stop);
        });
}

Progress Router::take_progress(const std::string& unique_id) {
    const std::lock_guard lock(mutex_);
    const auto entry = accepted_.find(unique_id);
    if (entry == accepted_.end())
        return {};
    Progress progress(services_.journal, entry->second);
    accepted_.erase(entry);
    return progress;
}

rpc::Method::Handler Router::handler(const Row& row) {
    if (row.has_effects())
        return [this, &row](rpc::Request request, rpc::Responder responder) {
            auto progress = take_progress(request.unique_id);
            const auto shared = std::make_shared<const rpc::Request>(std::move(request));
            post(row, shared, make_run(row, shared, std::move(progress), std::move(responder)));
        };
    if (row.ask == nullptr)
        return [this, &row](const rpc::Request& /*request*/, const rpc::Responder& responder) {
            responder.reply(Failure(refusal(*row.facts, services_.options.host)));
        };
    if (row.at_once)
        return [this, &row](const rpc::Request& request, const rpc::Responder& responder) {
            responder.reply(row.ask(services_, request));
        };
    return [this, &row](rpc::Request request, const rpc::Responder& responder) {
        services_.question_pool.post(
            [this,
             &row,
             responder,
             shared = std::make_shared<const rpc::Request>(std::move(request))] {
                const log::Scope scope{{"req", shared->context.request_id()}};
                responder.reply(row.ask(services_, *shared));
            });
    };
}

void Router::add_methods(const std::string& rpc_version) {
    std::vector<rpc::Method> methods;
    for (const auto& row : catalogue()) {
        rpc::Method method;
        method.name = row.facts->name;
        method.has_effects = row.has_effects();
        method.any_arguments = !row.is_served();
        name_arguments(*row.facts, method);
        method.handler = handler(row);
        methods.push_back(std::move(method));
    }
    table_.add("", rpc_version, std::move(methods));
    rpc::add_base_api(table_);
}

Result<rpc::Dispatcher::Admission> Router::accept(const rpc::Request& request) {
    const auto method = table_.find(request);
    if (!method || !(*method)->has_effects)
        return Admission{};
    journal::Accepted accepted;
    accepted.unique_id = request.unique_id;
    accepted.method = request.method;
    accepted.version = request.version;
    accepted.name_space = request.name_space;
    accepted.instance_uuid = instance_of(request);
    accepted.message_id = request.message_id;
    accepted.reply_queue = request.reply_queue;
    accepted.args = request.args;
    accepted.context = request.context.keys();
    NOVALET_ASSIGN(const auto admission, services_.journal.record(accepted));
    if (admission.fresh) {
        const std::lock_guard lock(mutex_);
        accepted_[request.unique_id] = admission.entry;
    }
    return Admission{admission.fresh};
}

void Router::dispatch(rpc::Request request, rpc::Responder responder) {
    table_.dispatch(std::move(request), std::move(responder));
}

void Router::begin(const std::string& method, Json args, const rpc::Context& context) {
    const auto* const row = find_row(method);
    if (row == nullptr || !row->has_effects())
        return log::error("Nova has no such operation", {{"method", method}});
    rpc::Request request;
    request.method = method;
    request.args = std::move(args);
    request.context = context;
    const auto shared = std::make_shared<const rpc::Request>(std::move(request));
    post(*row, shared, make_run(*row, shared, {}, {}));
}

void Router::carry_on(const journal::Entry& entry, const std::set<std::string>& elsewhere) {
    const auto request = std::make_shared<const rpc::Request>(from_journal(entry.request));
    const std::string server = instance_of(*request);
    const log::Scope scope{{"instance", server}, {"task", request->method}};
    const Progress progress(services_.journal, entry.id);
    if (elsewhere.contains(server)) {
        log::warning("an accepted request is given up: its server was evacuated");
        return progress.finish(journal::Outcome::Abandoned, gone_elsewhere);
    }
    const auto* const row = find_row(request->method);
    if (row == nullptr) { // written by another release
        log::error("an accepted request is given up: this release knows no such method");
        return progress.finish(journal::Outcome::Abandoned, "the method is not known any more");
    }
    const auto run = make_run(*row, request, progress, {});
    if (auto place = place_of(entry); place) {
        run->continue_from(std::move(*place));
    } else {
        log::error("how far an operation had come cannot be read; it fails",
                   {{"error", place.error().text}});
        run->give_up();
    }
    if (entry.attempts > most_attempts) {
        log::error("the agent died over an operation several times; it fails",
                   {{"attempts", entry.attempts}});
        run->give_up();
    } else {
        log::info("carrying on an accepted request", {{"step", entry.step}});
    }
    post(*row, request, run);
}

Result<std::size_t> Router::recover(const std::set<std::string>& elsewhere) {
    NOVALET_ASSIGN(const auto entries, services_.journal.open_entries());
    for (const auto& entry : entries)
        carry_on(entry, elsewhere);
    return entries.size();
}

} // namespace novalet::tasks
