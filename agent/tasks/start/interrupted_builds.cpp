#include "agent/tasks/start/interrupted_builds.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

namespace novalet::tasks {
namespace {

/// The time of the record's last change; of its creation when there was none.
std::string changed_at(const objects::Object& instance) {
    const auto& updated = instance.text("updated_at");
    return updated.empty() ? instance.text("created_at") : updated;
}

bool has_nobody(const objects::Object& instance) {
    return instance.text("vm_state") == "building" && instance.text("host").empty() &&
           !instance.get("deleted").as_bool() && instance.text("task_state") != "deleting";
}

} // namespace

Result<InterruptedBuilds::Records> InterruptedBuilds::look() {
    NOVALET_ASSIGN(const auto consumers, services_.allocations.consumers());
    Json uuids = Json::array();
    for (const auto& consumer : consumers)
        if (!services_.queues.busy(consumer))
            uuids.push_back(consumer);
    if (uuids.empty())
        return Records();
    Json filters = Json::object();
    filters.set("vm_state", "building").set("uuid", std::move(uuids));
    NOVALET_ASSIGN(
        const auto instances,
        services_.conductor.instances_by_filters(std::move(filters), {}, rpc::Context::admin()));
    Records out;
    for (const auto& instance : instances)
        if (has_nobody(instance))
            out[instance.text("uuid")] = changed_at(instance);
    return out;
}

/// The answer to our own question comes behind everything that waited.
Result<void> InterruptedBuilds::queue_is_emptied() {
    rpc::Target self;
    self.topic = "compute";
    self.server = services_.options.host;
    self.name_space = "baseapi";
    self.version = "1.0";
    Json args = Json::object();
    args.set("arg", "is the queue empty?");
    NOVALET_TRY(services_.bus.call(self, "ping", std::move(args), rpc::Context::admin(), {}));
    return {};
}

void InterruptedBuilds::turn() {
    if (done_)
        return;
    if (first_)
        if (const auto emptied = queue_is_emptied(); !emptied) {
            log::warning("interrupted builds cannot be told from waiting ones yet",
                         {{"error", emptied.error().text}});
            return;
        }
    auto now = look();
    if (!now) {
        log::warning("interrupted builds could not be looked for; the next turn tries again",
                     {{"error", now.error().text}});
        return;
    }
    if (!first_) {
        done_ = now->empty();
        first_ = std::move(*now);
        return;
    }
    done_ = true;
    for (const auto& [uuid, changed] : *now) {
        const auto before = first_->find(uuid);
        if (before == first_->end() || before->second != changed || services_.queues.busy(uuid))
            continue;
        services_.queues.post(uuid, [this, uuid = uuid, changed = changed](const std::stop_token&) {
            settle(uuid, changed);
        });
    }
}

/// On the server's queue.
void InterruptedBuilds::settle(const std::string& uuid, const std::string& changed) {
    const auto context = rpc::Context::admin();
    const auto host = services_.operation_host();
    const log::Scope scope{{"instance", uuid}, {"task", "interrupted_build"}};
    auto instance = services_.conductor.get_instance(uuid, {}, context);
    if (!instance && !instance_is_gone(instance.error()))
        log::error("an interrupted build could not be read; it stays in BUILD until the next start",
                   {{"error", instance.error().text}});
    if (!instance || !has_nobody(*instance) || changed_at(*instance) != changed)
        return;
    Error error;
    error.code = Code::Internal;
    error.exception = "BuildAbortException";
    error.text = cat("Build of instance ",
                     uuid,
                     " was interrupted before host ",
                     host.host,
                     " could begin with it: the request to build it is lost");
    log::warning("an interrupted build that nobody works on goes to ERROR");
    warn("the fault of an interrupted build could not be recorded",
         record_fault(host, context, uuid, error));
    const auto& found = instance->get("task_state");
    const TaskState task = found.is_null() ? TaskState() : TaskState(found.as_string());
    instance->set("vm_state", "error");
    instance->set("task_state", nullptr);
    const auto saved = save_instance(host, context, *instance, {task});
    if (!saved && !instance_is_gone(saved.error()))
        log::warning("an interrupted build could not be set to ERROR",
                     {{"error", saved.error().text}});
}

} // namespace novalet::tasks
