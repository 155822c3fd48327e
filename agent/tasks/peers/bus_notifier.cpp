#include "agent/tasks/peers/bus_notifier.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/records/operation.hpp"

namespace novalet::tasks {
namespace {

/// Members that Nova adds to the unversioned form of some notifications.
Json legacy_extra(const objects::Object& instance,
                  const std::string& action,
                  const std::string& phase) {
    Json extra = Json::object();
    if (action != "create")
        return extra;
    if (phase == "start") {
        const auto& metadata = instance.get("system_metadata");
        extra.set("image_name", metadata["image_name"].as_string());
    }
    if (phase == "end")
        extra.set("message", "Success");
    return extra;
}

} // namespace

BusNotifier::BusNotifier(rpc::Caller& bus,
                         objects::Conductor& conductor,
                         const config::Notifications& options,
                         const TaskOptions& task_options)
    : bus_(bus), conductor_(conductor), options_(options), host_(task_options.host),
      name_template_(task_options.guest.name_template) {}

void BusNotifier::send(const config::Texts& topics,
                       const telemetry::Notification& notification,
                       const rpc::Context& context) {
    for (const auto& topic : topics) {
        const auto sent =
            bus_.notify(topic, lower(notification.priority), notification.body, context);
        if (sent)
            continue;
        metrics::counter("novalet_notifications_lost_total",
                         "Notifications the message bus did not take")
            .add();
        log::warning("a notification was lost",
                     {{"event_type", notification.body["event_type"].as_string()},
                      {"topic", topic},
                      {"error", sent.error().text}});
    }
}

void BusNotifier::instance_action(const rpc::Context& context,
                                  const objects::Object& instance,
                                  const std::string& action,
                                  const std::string& phase,
                                  const Error* error) {
    if (!options_.enabled)
        return;
    auto complete = instance;
    const auto loaded =
        conductor_.load(complete,
                        {"flavor", "system_metadata", "metadata", "info_cache", "keypairs", "tags"},
                        context);
    if (!loaded) // told of with what is known
        log::debug("a notification has not all members", {{"error", loaded.error().text}});
    telemetry::InstanceNews news;
    news.action = action;
    news.phase = phase;
    news.instance = complete.data();
    if (error != nullptr)
        news.error = *error;
    if (const auto name = instance_name(name_template_, complete.data()))
        news.instance_name = *name;
    news.image_url = complete.text("image_ref");
    news.extra = legacy_extra(complete, action, phase);
    if (phase == "end")
        news.network_info = cached_network_info(complete);
    using config::NotificationFormat;
    if (options_.format != NotificationFormat::Versioned)
        send(options_.topics, telemetry::unversioned(news, host_, options_.default_level), context);
    if (options_.format != NotificationFormat::Unversioned) {
        const telemetry::Actor actor{context.request_id(), context.user_id(), context.project_id()};
        send(options_.versioned_topics, telemetry::versioned(news, actor, host_), context);
    }
}

} // namespace novalet::tasks
