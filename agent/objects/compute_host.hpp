#pragma once
// Typed reading of the host's own records: Service and ComputeNode (reference 02 §6). Views as in
// instance.hpp: the document outlives them.
#include "agent/objects/object.hpp"

#include <cstdint>
#include <string>

namespace novalet::objects {

class ServiceView {
  public:
    explicit ServiceView(const Object& service) : fields_(&service.data()) {}
    explicit ServiceView(Object&&) = delete;

    [[nodiscard]] std::int64_t id() const { return (*fields_)["id"].as_int(); }
    [[nodiscard]] const std::string& uuid() const { return (*fields_)["uuid"].as_string(); }
    [[nodiscard]] const std::string& host() const { return (*fields_)["host"].as_string(); }
    [[nodiscard]] const std::string& binary() const { return (*fields_)["binary"].as_string(); }
    [[nodiscard]] int version() const { return static_cast<int>((*fields_)["version"].as_int()); }
    [[nodiscard]] std::int64_t report_count() const { return (*fields_)["report_count"].as_int(); }
    [[nodiscard]] bool disabled() const { return (*fields_)["disabled"].as_bool(); }
    [[nodiscard]] const std::string& disabled_reason() const {
        return (*fields_)["disabled_reason"].as_string();
    }
    [[nodiscard]] bool forced_down() const { return (*fields_)["forced_down"].as_bool(); }
    /// DateTime text; empty = never.
    [[nodiscard]] const std::string& last_seen_up() const {
        return (*fields_)["last_seen_up"].as_string();
    }

  private:
    const Json* fields_;
};

class ComputeNodeView {
  public:
    explicit ComputeNodeView(const Object& node) : fields_(&node.data()) {}
    explicit ComputeNodeView(Object&&) = delete;

    [[nodiscard]] std::int64_t id() const { return (*fields_)["id"].as_int(); }
    /// = resource provider in Placement
    [[nodiscard]] const std::string& uuid() const { return (*fields_)["uuid"].as_string(); }
    [[nodiscard]] const std::string& host() const { return (*fields_)["host"].as_string(); }
    [[nodiscard]] const std::string& hypervisor_hostname() const {
        return (*fields_)["hypervisor_hostname"].as_string();
    }
    [[nodiscard]] bool deleted() const { return (*fields_)["deleted"].as_bool(); }
    [[nodiscard]] double cpu_allocation_ratio() const {
        return (*fields_)["cpu_allocation_ratio"].as_double();
    }
    [[nodiscard]] double ram_allocation_ratio() const {
        return (*fields_)["ram_allocation_ratio"].as_double();
    }
    [[nodiscard]] double disk_allocation_ratio() const {
        return (*fields_)["disk_allocation_ratio"].as_double();
    }
    /// JSON text of a NUMATopology primitive; empty = none.
    [[nodiscard]] const std::string& numa_topology() const {
        return (*fields_)["numa_topology"].as_string();
    }
    [[nodiscard]] const Json& stats() const { return (*fields_)["stats"]; }

  private:
    const Json* fields_;
};

} // namespace novalet::objects
