#include "agent/tasks/catalogue/router.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/ops/build/build_undo.hpp"
#include "agent/tasks/ops/console/queries.hpp"
#include "agent/tasks/ops/terminate/terminate.hpp"
#include "agent/tasks/peers/shared_storage.hpp"

#include <array>

namespace novalet::tasks {
namespace {

constexpr unsigned most_attempts = 3; ///< processes that may die over one request
constexpr const char* given_up = "the agent died over it several times";
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

Result<Json> shared_storage_question(Services& services, const rpc::Request& request) {
    return check_instance_shared_storage(services.options, request);
}

/// Operations of nova-compute that this release answers with a clear refusal. Those that lock the
/// server by a task_state unlock it; others leave the records as they are.
struct Refused {
    const char* name;
    Verb verb;
};
constexpr std::array refused{
    Refused{"snapshot_instance", refuse_operation},
    Refused{"backup_instance", refuse_operation},
    Refused{"rebuild_instance", refuse_operation},
    Refused{"rescue_instance", refuse_operation},
    Refused{"unrescue_instance", refuse_operation},
    Refused{"shelve_instance", refuse_operation},
    Refused{"shelve_offload_instance", refuse_operation},
    Refused{"unshelve_instance", refuse_operation},
    Refused{"prep_resize", refuse_operation},
    Refused{"resize_instance", refuse_operation},
    Refused{"finish_resize", refuse_operation},
    Refused{"revert_resize", refuse_operation},
    Refused{"finish_revert_resize", refuse_operation},
    Refused{"live_migration", refuse_operation},
    Refused{"soft_delete_instance", refuse_operation},
    Refused{"restore_instance", refuse_operation},
    Refused{"set_admin_password", refuse_operation},
    // No task_state of their own: an operation that holds one now must keep it.
    Refused{"confirm_resize", refuse_change},
    Refused{"attach_volume", refuse_change},
    Refused{"detach_volume", refuse_change},
    Refused{"swap_volume", refuse_change},
    Refused{"attach_interface", refuse_change},
    Refused{"detach_interface", refuse_change},
    Refused{"trigger_crash_dump", refuse_change},
    // Questions, and steps that the asking side records itself.
    Refused{"check_can_live_migrate_destination", refuse_question},
    Refused{"check_can_live_migrate_source", refuse_question},
    Refused{"pre_live_migration", refuse_question},
    Refused{"post_live_migration_at_destination", refuse_question},
    Refused{"reserve_block_device_name", refuse_question},
    Refused{"inject_network_info", refuse_question},
    Refused{"get_diagnostics", refuse_question},
    Refused{"get_instance_diagnostics", refuse_question},
    Refused{"quiesce_instance", refuse_question},
    Refused{"unquiesce_instance", refuse_question}};

/// What `recover` runs for a method; none for a build.
Verb verb_of(const std::string& method) {
    static const std::map<std::string, Verb, std::less<>> verbs{
        {"terminate_instance", terminate_instance},
        {"stop_instance", stop_instance},
        {"start_instance", start_instance},
        {"reboot_instance", reboot_instance},
        {"pause_instance", pause_instance},
        {"unpause_instance", unpause_instance},
        {"suspend_instance", suspend_instance},
        {"resume_instance", resume_instance},
        {"build_and_run_instance", nullptr}};
    if (const auto verb = verbs.find(method); verb != verbs.end())
        return verb->second;
    for (const auto& other : refused)
        if (method == other.name)
            return other.verb;
    return refuse_operation;
}

} // namespace

Router::Router(Services& services, const std::string& rpc_version)
    : services_(services), build_limit_(services.options.max_concurrent_builds) {
    add_methods(rpc_version);
}

/// Nothing is given up because the control plane is away: the operation starts over, as it would
/// after a restart, until an answer comes or the agent stops.
Result<Json> Router::run_until_settled(const rpc::Request& request,
                                       Verb verb,
                                       Progress progress,
                                       const std::stop_token& stop) {
    const auto again = [&]() -> Result<Json> {
        return verb != nullptr
                   ? verb(services_, request, progress, stop)
                   : build_and_run_instance(services_, build_limit_, request, progress, stop);
    };
    auto result = again();
    while (!result && control_plane_unreachable(result.error()) && progress.journalled()) {
        log::warning("the control plane cannot be reached; the operation starts over",
                     {{"error", result.error().text}});
        std::mutex mutex;
        std::unique_lock lock(mutex);
        std::condition_variable_any quiet;
        if (quiet.wait_for(lock, stop, services_.options.retry_pause, [] { return false; });
            stop.stop_requested())
            break;
        progress = progress.again();
        result = again();
    }
    return result;
}

void Router::run_effect(rpc::Request request,
                        rpc::Responder responder,
                        Verb verb,
                        Progress progress) {
    const std::string key = instance_of(request);
    if (request.method == "terminate_instance")
        services_.queues.interrupt(key); // a delete does not wait for the build before it
    auto shared = std::make_shared<const rpc::Request>(std::move(request));
    services_.queues.post(
        key, [this, shared, responder, verb, progress, key](const std::stop_token& stop) {
            const log::Scope scope{
                {"req", shared->context.request_id()}, {"instance", key}, {"task", shared->method}};
            const auto result = run_until_settled(*shared, verb, progress, stop);
            if (!result && control_plane_unreachable(result.error()))
                return; // the journal entry stays open for the next start
            if (!result)
                log::warning("operation failed", {{"error", result.error().text}});
            progress.finish(result ? journal::Outcome::Done : journal::Outcome::Failed,
                            result ? std::string() : result.error().text);
            responder.reply(result);
        });
}

rpc::Method Router::effect(const char* name,
                           std::vector<std::string> required,
                           std::vector<std::string> optional,
                           Verb verb) {
    rpc::Method method;
    method.name = name;
    method.required = std::move(required);
    method.optional = std::move(optional);
    method.has_effects = true;
    method.handler = [this, verb](rpc::Request request, rpc::Responder responder) {
        Progress progress;
        {
            const std::lock_guard lock(mutex_);
            if (const auto entry = accepted_.find(request.unique_id); entry != accepted_.end()) {
                progress = Progress(services_.journal, entry->second);
                accepted_.erase(entry);
            }
        }
        run_effect(std::move(request), std::move(responder), verb, progress);
    };
    return method;
}

rpc::Method Router::query(const char* name,
                          std::vector<std::string> required,
                          std::vector<std::string> optional,
                          Result<Json> (*ask)(Services&, const rpc::Request&)) {
    rpc::Method method;
    method.name = name;
    method.required = std::move(required);
    method.optional = std::move(optional);
    method.handler = [this, ask](rpc::Request request, rpc::Responder responder) {
        services_.pool.post([this,
                             ask,
                             responder,
                             shared = std::make_shared<const rpc::Request>(std::move(request))] {
            const log::Scope scope{{"req", shared->context.request_id()}};
            responder.reply(ask(services_, *shared));
        });
    };
    return method;
}

void Router::add_methods(const std::string& rpc_version) {
    std::vector<rpc::Method> methods;
    methods.push_back(effect("build_and_run_instance",
                             {"instance", "image", "request_spec", "filter_properties"},
                             {"accel_uuids",
                              "admin_password",
                              "injected_files",
                              "requested_networks",
                              "security_groups",
                              "block_device_mapping",
                              "node",
                              "limits",
                              "host_list"},
                             nullptr));
    methods.push_back(effect("terminate_instance", {"instance", "bdms"}, {}, terminate_instance));
    methods.push_back(effect("stop_instance", {"instance"}, {"clean_shutdown"}, stop_instance));
    methods.push_back(effect("start_instance", {"instance"}, {}, start_instance));
    methods.push_back(effect(
        "reboot_instance", {"instance"}, {"block_device_info", "reboot_type"}, reboot_instance));
    methods.push_back(effect("pause_instance", {"instance"}, {}, pause_instance));
    methods.push_back(effect("unpause_instance", {"instance"}, {}, unpause_instance));
    methods.push_back(effect("suspend_instance", {"instance"}, {}, suspend_instance));
    methods.push_back(effect("resume_instance", {"instance"}, {}, resume_instance));
    methods.push_back(
        query("get_console_output", {"instance", "tail_length"}, {}, get_console_output));
    methods.push_back(query("get_vnc_console", {"console_type", "instance"}, {}, get_vnc_console));
    methods.push_back(query(
        "validate_console_port", {"instance", "port", "console_type"}, {}, validate_console_port));
    methods.push_back(
        query("check_instance_shared_storage", {"data"}, {"instance"}, shared_storage_question));
    methods.push_back(query("get_host_uptime", {}, {}, get_host_uptime));
    methods.push_back(query("set_host_enabled", {"enabled"}, {}, set_host_enabled));
    rpc::Method events;
    events.name = "external_instance_event";
    events.required = {"instances", "events"};
    events.handler = [this](rpc::Request request, rpc::Responder responder) {
        external_instance_event(services_, request);
        responder.reply(Json());
    };
    methods.push_back(std::move(events));
    for (const auto& [name, verb] : refused) {
        auto method = effect(name, {}, {}, verb);
        method.any_arguments = true;
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

Result<std::size_t> Router::recover(const std::set<std::string>& elsewhere) {
    NOVALET_ASSIGN(auto entries, services_.journal.open_entries());
    for (auto& entry : entries) {
        auto request = from_journal(entry.request);
        const auto method = table_.find(request);
        // Without a step nothing was begun, but perhaps the action event.
        const Progress progress = entry.step.empty()
                                      ? Progress(services_.journal, entry.id)
                                      : Progress(services_.journal, entry.id, entry.step);
        if (elsewhere.contains(instance_of(request))) {
            log::warning("an accepted request is given up: its server was evacuated",
                         {{"method", request.method}, {"instance", instance_of(request)}});
            progress.finish(journal::Outcome::Abandoned, gone_elsewhere);
            continue;
        }
        if (!method || entry.attempts > most_attempts) {
            log::error("an accepted request is given up",
                       {{"method", request.method},
                        {"instance", instance_of(request)},
                        {"attempts", entry.attempts}});
            // The repair of servers without an entry does the rest; a build is not among them as
            // long as its record names no host.
            if (!method || request.method != "build_and_run_instance") {
                progress.finish(journal::Outcome::Abandoned, given_up);
                continue;
            }
            run_effect(std::move(request), rpc::Responder(), give_up_build, progress);
            continue;
        }
        log::info(
            "carrying on an accepted request",
            {{"method", request.method}, {"instance", instance_of(request)}, {"step", entry.step}});
        const auto verb = verb_of(request.method);
        run_effect(std::move(request), rpc::Responder(), verb, progress);
    }
    return entries.size();
}

} // namespace novalet::tasks
