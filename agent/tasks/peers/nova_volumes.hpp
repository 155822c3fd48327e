#pragma once
// Volumes over the real Cinder and the conductor.
#include "agent/clients/cinder.hpp"
#include "agent/objects/conductor.hpp"
#include "agent/tasks/peers/volumes.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace novalet::tasks {

/// What Cinder knows this host by, where an attachment has no id.
struct VolumeHost {
    std::string name; ///< CONF.host
    std::string ip;
    std::filesystem::path initiator_file = "/etc/iscsi/initiatorname.iscsi";
};

/// os-brick's description of a host for Cinder: name, address, platform and, when the file can be
/// read, the name as an iSCSI initiator.
[[nodiscard]] Json volume_connector(const VolumeHost& host);

/// A connection without an attachment id ends with the connector that Nova kept in the mapping
/// when it is one of this host, else with volume_connector(): such mappings were made before Nova
/// kept it. References outlive this.
class NovaVolumes final : public Volumes {
  public:
    NovaVolumes(clients::Cinder& cinder, objects::Conductor& conductor, VolumeHost host);
    void release(const rpc::Context& context,
                 const std::vector<objects::Object>& mappings) override;
    void delete_on_termination(const rpc::Context& context,
                               const std::vector<objects::Object>& mappings) override;
    [[nodiscard]] Result<void> give_up(const rpc::Context& context,
                                       std::vector<objects::Object>& mappings) override;
    [[nodiscard]] Result<void> forget_attachment(const rpc::Context& context,
                                                 objects::Object& mapping) override;
    [[nodiscard]] Result<void> roll_back_detach(const rpc::Context& context,
                                                const std::string& volume_id) override;
    [[nodiscard]] Result<void> roll_back_swap(const rpc::Context& context,
                                              const Swap& swap) override;

  private:
    [[nodiscard]] Result<void> end_attachment(const rpc::Context& context,
                                              const objects::Object& mapping);
    [[nodiscard]] Json connector_of(const objects::Object& mapping) const;

    clients::Cinder& cinder_;
    objects::Conductor& conductor_;
    const VolumeHost host_;
};

} // namespace novalet::tasks
