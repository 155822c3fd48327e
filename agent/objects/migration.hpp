#pragma once
// Typed reading of Migration (reference 02 §6). Views as in instance.hpp.
#include "agent/objects/object.hpp"

#include <cstdint>
#include <string>

namespace novalet::objects {

class MigrationView {
  public:
    explicit MigrationView(const Object& migration) : fields_(&migration.data()) {}
    explicit MigrationView(Object&&) = delete;

    [[nodiscard]] std::int64_t id() const { return (*fields_)["id"].as_int(); }
    [[nodiscard]] const std::string& uuid() const { return text("uuid"); }
    [[nodiscard]] const std::string& instance_uuid() const { return text("instance_uuid"); }
    [[nodiscard]] const std::string& status() const { return text("status"); }
    /// "migration", "resize", "live-migration" or "evacuation"
    [[nodiscard]] const std::string& type() const { return text("migration_type"); }
    /// Database ids of the flavors of both sides.
    [[nodiscard]] std::int64_t old_flavor_id() const {
        return (*fields_)["old_instance_type_id"].as_int();
    }
    [[nodiscard]] std::int64_t new_flavor_id() const {
        return (*fields_)["new_instance_type_id"].as_int();
    }
    [[nodiscard]] const std::string& source_compute() const { return text("source_compute"); }
    [[nodiscard]] const std::string& source_node() const { return text("source_node"); }
    [[nodiscard]] const std::string& dest_compute() const { return text("dest_compute"); }
    [[nodiscard]] const std::string& dest_node() const { return text("dest_node"); }
    [[nodiscard]] const std::string& dest_host() const { return text("dest_host"); }
    [[nodiscard]] const std::string& updated_at() const { return text("updated_at"); }
    [[nodiscard]] const std::string& created_at() const { return text("created_at"); }

  private:
    [[nodiscard]] const std::string& text(std::string_view field) const {
        return (*fields_)[field].as_string();
    }
    const Json* fields_;
};

} // namespace novalet::objects
