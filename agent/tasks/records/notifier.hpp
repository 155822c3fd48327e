#pragma once
// Notifications about servers.
#include "agent/core/result.hpp"
#include "agent/objects/object.hpp"
#include "agent/rpc/context.hpp"

#include <string>

namespace novalet::tasks {

/// Notifications, when a driver is configured (reference 03 §1.3); otherwise nothing.
class Notifier {
  public:
    virtual ~Notifier() = default;
    /// `action` "create", `phase` "start" | "end" | "error".
    virtual void instance_action(const rpc::Context& context,
                                 const objects::Object& instance,
                                 const std::string& action,
                                 const std::string& phase,
                                 const Error* error = nullptr) = 0;
};

} // namespace novalet::tasks
