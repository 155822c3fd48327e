#pragma once
// The hardware of a server that exists: what its records keep of it, and what the definition of its
// domain says where the records are silent. A default of the configuration may change; the hardware
// of a server may not change with it.
#include "hypervisor/domain/build_domain.hpp"

#include <map>
#include <string>

namespace novalet::hypervisor::domain {

/// Image properties that stand for the hardware which build_domain() gives this guest, whether its
/// image names them or not: hw_machine_type, hw_cdrom_bus, hw_disk_bus, hw_video_model,
/// hw_vif_model, and with a tablet hw_input_bus and hw_pointer_model. Nova keeps them in the
/// server's system_metadata (nova.virt.libvirt.driver _find_default_for_image_property).
[[nodiscard]] std::map<std::string, std::string> hardware_of(const GuestSpec& guest,
                                                             const DomainOptions& options);

/// What `before`, the definition of this guest's domain, says takes the place of defaults: its
/// name, machine type, video model and tablet, bus and name of disks and of a config drive of the
/// same kind. What image, flavor or block device mappings name stays as they say.
void keep_hardware(const LiveDomain& before, GuestSpec& guest, DomainOptions& options);

} // namespace novalet::hypervisor::domain
