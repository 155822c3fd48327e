#pragma once
// The request context that travels as `_context_<key>` members (reference 01 §6).
#include "agent/core/json.hpp"

#include <string>

namespace novalet::rpc {

/// Who asked. Unknown keys of a received context are kept and sent on unchanged, so that
/// instance-action events find their action (matched by request_id). Value type.
class Context {
  public:
    Context() = default;
    /// `keys`: the context keys without the `_context_` prefix.
    explicit Context(Json keys) : keys_(std::move(keys)) {}
    /// The agent's own periodic work: is_admin, no user, new request id (reference 01 §6).
    [[nodiscard]] static Context admin();

    [[nodiscard]] const Json& keys() const noexcept { return keys_; }
    [[nodiscard]] const std::string& request_id() const noexcept {
        return keys_["request_id"].as_string();
    }
    /// The user's token; empty for periodic work. Never log it.
    [[nodiscard]] const std::string& auth_token() const noexcept {
        return keys_["auth_token"].as_string();
    }
    [[nodiscard]] const std::string& project_id() const noexcept {
        return keys_["project_id"].as_string();
    }
    [[nodiscard]] const std::string& user_id() const noexcept {
        return keys_["user_id"].as_string();
    }
    /// The same request with is_admin and the admin role.
    [[nodiscard]] Context elevated() const;
    /// The same with read_deleted = "no" | "yes" | "only".
    [[nodiscard]] Context reading_deleted(const std::string& which) const;

  private:
    Json keys_ = Json::object();
};

} // namespace novalet::rpc
