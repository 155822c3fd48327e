#include "agent/rpc/context.hpp"

#include "agent/core/clock.hpp"
#include "agent/core/uuid.hpp"

namespace novalet::rpc {

Context Context::admin() {
    Json keys = Json::object();
    for (const char* key : {"user",
                            "user_id",
                            "project_id",
                            "project",
                            "system_scope",
                            "domain",
                            "user_domain",
                            "project_domain",
                            "auth_token",
                            "global_request_id",
                            "resource_uuid",
                            "remote_address",
                            "quota_class",
                            "user_name",
                            "project_name"})
        keys.set(key, nullptr);
    keys.set("is_admin", true);
    keys.set("read_only", false);
    keys.set("show_deleted", false);
    keys.set("request_id", "req-" + new_uuid());
    keys.set("roles", Json::array());
    keys.set("user_identity", "- - - - -");
    keys.set("is_admin_project", true);
    keys.set("read_deleted", "no");
    keys.set("timestamp", to_iso_micro(system_clock().wall()));
    keys.set("service_catalog", Json::array());
    return Context(std::move(keys));
}

Context Context::elevated() const {
    Context copy = *this;
    copy.keys_.set("is_admin", true);
    bool has_admin = false;
    for (const auto& role : copy.keys_["roles"].items())
        has_admin = has_admin || role.as_string() == "admin";
    if (!has_admin)
        copy.keys_.member("roles").push_back("admin");
    return copy;
}

Context Context::reading_deleted(const std::string& which) const {
    Context copy = *this;
    copy.keys_.set("read_deleted", which);
    return copy;
}

} // namespace novalet::rpc
