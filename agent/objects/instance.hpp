#pragma once
// Typed reading of Instance, Flavor and what hangs on them (reference 02 §6). A view looks at the
// fields of a document: {"uuid": …, "flavor": {primitive}, …}. It copies nothing; the document
// outlives it and must not be moved or assigned meanwhile. Absent and null text reads as empty,
// absent numbers as 0: use `is_set` where the difference matters.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"
#include "agent/objects/object.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace novalet::objects {

class FlavorView {
  public:
    /// `fields`: the fields, not the primitive (data_of).
    explicit FlavorView(const Json& fields) : fields_(&fields) {}
    explicit FlavorView(Json&&) = delete;

    [[nodiscard]] bool present() const noexcept { return fields_->is_object(); }
    [[nodiscard]] std::int64_t id() const { return (*fields_)["id"].as_int(); }
    [[nodiscard]] const std::string& name() const { return (*fields_)["name"].as_string(); }
    [[nodiscard]] const std::string& flavorid() const { return (*fields_)["flavorid"].as_string(); }
    [[nodiscard]] std::int64_t vcpus() const { return (*fields_)["vcpus"].as_int(); }
    [[nodiscard]] std::int64_t memory_mib() const { return (*fields_)["memory_mb"].as_int(); }
    [[nodiscard]] std::int64_t root_gib() const { return (*fields_)["root_gb"].as_int(); }
    [[nodiscard]] std::int64_t ephemeral_gib() const { return (*fields_)["ephemeral_gb"].as_int(); }
    [[nodiscard]] std::int64_t swap_mib() const { return (*fields_)["swap"].as_int(); }
    [[nodiscard]] double rxtx_factor() const { return (*fields_)["rxtx_factor"].as_double(1.0); }
    /// {"hw:cpu_policy": "dedicated", …}
    [[nodiscard]] const Json& extra_specs() const { return (*fields_)["extra_specs"]; }
    [[nodiscard]] const std::string& extra_spec(std::string_view key) const {
        return extra_specs()[key].as_string();
    }

  private:
    const Json* fields_;
};

/// Element of Instance.keypairs.
class KeyPairView {
  public:
    explicit KeyPairView(const Json& fields) : fields_(&fields) {}
    explicit KeyPairView(Json&&) = delete;
    [[nodiscard]] const std::string& name() const { return (*fields_)["name"].as_string(); }
    [[nodiscard]] const std::string& type() const { return (*fields_)["type"].as_string(); }
    [[nodiscard]] const std::string& public_key() const {
        return (*fields_)["public_key"].as_string();
    }

  private:
    const Json* fields_;
};

class InstanceView {
  public:
    explicit InstanceView(const Object& instance) : fields_(&instance.data()) {}
    explicit InstanceView(const Json& fields) : fields_(&fields) {}
    explicit InstanceView(Object&&) = delete;
    explicit InstanceView(Json&&) = delete;

    [[nodiscard]] bool is_set(std::string_view field) const { return fields_->contains(field); }
    [[nodiscard]] const Json& operator[](std::string_view field) const { return (*fields_)[field]; }

    [[nodiscard]] const std::string& uuid() const { return text("uuid"); }
    [[nodiscard]] std::int64_t id() const { return (*fields_)["id"].as_int(); }
    [[nodiscard]] const std::string& host() const { return text("host"); }
    [[nodiscard]] const std::string& node() const { return text("node"); }
    [[nodiscard]] const std::string& project_id() const { return text("project_id"); }
    [[nodiscard]] const std::string& user_id() const { return text("user_id"); }
    [[nodiscard]] const std::string& display_name() const { return text("display_name"); }
    [[nodiscard]] const std::string& hostname() const { return text("hostname"); }
    [[nodiscard]] const std::string& availability_zone() const { return text("availability_zone"); }
    [[nodiscard]] const std::string& reservation_id() const { return text("reservation_id"); }

    /// "active", "building", "deleted", "error", …
    [[nodiscard]] const std::string& vm_state() const { return text("vm_state"); }
    /// Empty = no task.
    [[nodiscard]] const std::string& task_state() const { return text("task_state"); }
    /// 0 no state, 1 running, 3 paused, 4 shutdown, 6 crashed, 7 suspended.
    [[nodiscard]] int power_state() const {
        return static_cast<int>((*fields_)["power_state"].as_int());
    }
    [[nodiscard]] bool deleted() const { return (*fields_)["deleted"].as_bool(); }
    [[nodiscard]] bool cleaned() const { return (*fields_)["cleaned"].as_bool(); }
    /// DateTime text; empty = never.
    [[nodiscard]] const std::string& launched_at() const { return text("launched_at"); }

    [[nodiscard]] FlavorView flavor() const { return FlavorView(data_of((*fields_)["flavor"])); }
    [[nodiscard]] FlavorView old_flavor() const {
        return FlavorView(data_of((*fields_)["old_flavor"]));
    }
    [[nodiscard]] FlavorView new_flavor() const {
        return FlavorView(data_of((*fields_)["new_flavor"]));
    }

    [[nodiscard]] const std::string& image_ref() const { return text("image_ref"); }
    [[nodiscard]] const std::string& kernel_id() const { return text("kernel_id"); }
    [[nodiscard]] const std::string& ramdisk_id() const { return text("ramdisk_id"); }
    [[nodiscard]] const std::string& os_type() const { return text("os_type"); }
    [[nodiscard]] const std::string& root_device_name() const { return text("root_device_name"); }
    [[nodiscard]] const std::string& ephemeral_key_uuid() const {
        return text("ephemeral_key_uuid");
    }
    /// The record's word: "", "True", or an id.
    [[nodiscard]] const std::string& config_drive() const { return text("config_drive"); }
    [[nodiscard]] const Json& metadata() const { return (*fields_)["metadata"]; }
    [[nodiscard]] const Json& system_metadata() const { return (*fields_)["system_metadata"]; }
    [[nodiscard]] const std::string& key_name() const { return text("key_name"); }
    [[nodiscard]] const std::string& key_data() const { return text("key_data"); }
    [[nodiscard]] std::vector<KeyPairView> keypairs() const;
    /// Base64, as the user sent it.
    [[nodiscard]] const std::string& user_data() const { return text("user_data"); }
    [[nodiscard]] std::int64_t launch_index() const { return (*fields_)["launch_index"].as_int(); }

    /// Fields of InstanceNUMATopology / InstancePCIRequests / MigrationContext; null when none.
    [[nodiscard]] const Json& numa_topology() const { return child("numa_topology"); }
    [[nodiscard]] const Json& pci_requests() const { return child("pci_requests"); }
    [[nodiscard]] const Json& migration_context() const { return child("migration_context"); }
    [[nodiscard]] const Json& trusted_cert_ids() const { return child("trusted_certs")["ids"]; }

    /// The VIF list of info_cache (reference 06 §1.7); an empty list when there is none. Parses
    /// the text at each call; InvalidArgument when it is damaged.
    [[nodiscard]] Result<Json> network_info() const;

    /// The libvirt domain's name: instance_name_template with `%08x`, `%d`, `%s`… of the id, or
    /// `%(field)s` of any loaded field. As in Nova a field that is not there gives the uuid;
    /// InvalidArgument for a conversion that is not known.
    [[nodiscard]] Result<std::string> name(const std::string& name_template) const;

  private:
    [[nodiscard]] const std::string& text(std::string_view field) const {
        return (*fields_)[field].as_string();
    }
    [[nodiscard]] const Json& child(std::string_view field) const {
        return data_of((*fields_)[field]);
    }

    const Json* fields_;
};

} // namespace novalet::objects
