#pragma once
// Typed reading of InstanceGroup (reference 02 §6). Views as in instance.hpp.
#include "agent/objects/object.hpp"

#include <cstdint>
#include <string>

namespace novalet::objects {

class ServerGroupView {
  public:
    explicit ServerGroupView(const Object& group) : fields_(&group.data()) {}
    explicit ServerGroupView(Object&&) = delete;

    [[nodiscard]] const std::string& uuid() const { return (*fields_)["uuid"].as_string(); }
    [[nodiscard]] const std::string& name() const { return (*fields_)["name"].as_string(); }
    /// "affinity", "anti-affinity", "soft-affinity" or "soft-anti-affinity"
    [[nodiscard]] const std::string& policy() const { return (*fields_)["policy"].as_string(); }
    /// Of anti-affinity: most members on one host; 1 when the group has no such rule.
    [[nodiscard]] std::int64_t max_server_per_host() const;
    /// Instance uuids.
    [[nodiscard]] const Json& members() const { return (*fields_)["members"]; }

  private:
    const Json* fields_;
};

} // namespace novalet::objects
