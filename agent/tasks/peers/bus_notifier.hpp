#pragma once
// Notifications over the message bus, in the forms the configuration asks for.
#include "agent/objects/conductor.hpp"
#include "agent/rpc/caller.hpp"
#include "agent/tasks/guest/task_options.hpp"
#include "agent/tasks/records/notifier.hpp"
#include "agent/telemetry/notifications.hpp"
#include "config/schema/config.hpp"

namespace novalet::tasks {

/// Tells of operations on instances; nothing is sent when notifications are off. A notification
/// that cannot be delivered is logged and counted (novalet_notifications_lost_total); the
/// operation goes on. Thread safe; references outlive it.
class BusNotifier final : public Notifier {
  public:
    BusNotifier(rpc::Caller& bus,
                objects::Conductor& conductor,
                const config::Notifications& options,
                const TaskOptions& task_options);
    void instance_action(const rpc::Context& context,
                         const objects::Object& instance,
                         const std::string& action,
                         const std::string& phase,
                         const Error* error) override;

  private:
    void send(const config::Texts& topics,
              const telemetry::Notification& notification,
              const rpc::Context& context);

    rpc::Caller& bus_;
    objects::Conductor& conductor_;
    const config::Notifications& options_;
    const std::string host_;
    const std::string name_template_;
};

} // namespace novalet::tasks
