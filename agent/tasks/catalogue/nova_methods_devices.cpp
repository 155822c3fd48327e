#include "agent/tasks/catalogue/nova_method_tables.hpp"

#include <array>

namespace novalet::tasks {
namespace {

constexpr std::array add_fixed_ip_to_instance{needed("network_id"), needed("instance")};
constexpr std::array allow_share{needed("instance"), needed("share_mapping")};
constexpr std::array attach_interface{needed("instance"),
                                      needed("network_id"),
                                      needed("port_id"),
                                      needed("requested_ip"),
                                      needed("tag")};
constexpr std::array attach_volume{needed("instance"), needed("bdm")};
constexpr std::array deny_share{needed("instance"), needed("share_mapping")};
constexpr std::array detach_interface{needed("instance"), needed("port_id")};
constexpr std::array detach_volume{
    needed("volume_id"), needed("instance"), needed("attachment_id")};
constexpr std::array external_instance_event{needed("instances"), needed("events")};
constexpr std::array inject_network_info{needed("instance")};
constexpr std::array quiesce_instance{needed("instance")};
constexpr std::array remove_fixed_ip_from_instance{needed("address"), needed("instance")};
constexpr std::array remove_volume_connection{
    needed("volume_id"), needed("instance"), optional("delete_attachment", "6.3")};
constexpr std::array reserve_block_device_name{needed("instance"),
                                               needed("device"),
                                               needed("volume_id"),
                                               needed("disk_bus"),
                                               needed("device_type"),
                                               needed("tag"),
                                               needed("multiattach")};
constexpr std::array swap_volume{needed("old_volume_id"),
                                 needed("new_volume_id"),
                                 needed("instance"),
                                 needed("new_attachment_id")};
constexpr std::array trigger_crash_dump{needed("instance")};
constexpr std::array unquiesce_instance{needed("instance"), optional("mapping")};
constexpr std::array volume_snapshot_create{
    needed("instance"), needed("volume_id"), needed("create_info")};
constexpr std::array volume_snapshot_delete{
    needed("instance"), needed("volume_id"), needed("snapshot_id"), needed("delete_info")};

constexpr std::array device{
    MethodFacts{"add_fixed_ip_to_instance",
                "6.0",
                add_fixed_ip_to_instance,
                cast,
                "",
                Lane::Exclusive,
                faults("NovaException")},
    MethodFacts{
        "allow_share", "6.4", allow_share, cast, "", Lane::Beside, silent("ShareAccessGrantError")},
    // Nova's lock is on server and port, so that two ports can be attached at the same time.
    MethodFacts{"attach_interface",
                "6.0",
                attach_interface,
                call,
                "compute_attach_interface",
                Lane::Exclusive,
                faults("AttachInterfaceNotSupported")},
    MethodFacts{"attach_volume",
                "6.0",
                attach_volume,
                cast,
                "compute_attach_volume",
                Lane::Exclusive,
                deletes_attachment(faults("VolumeAttachFailed"))},
    MethodFacts{
        "deny_share", "6.4", deny_share, cast, "", Lane::Beside, silent("ShareAccessRemovalError")},
    MethodFacts{"detach_interface",
                "6.0",
                detach_interface,
                cast,
                "compute_detach_interface",
                Lane::Exclusive,
                faults("InterfaceDetachFailed")},
    MethodFacts{"detach_volume",
                "6.0",
                detach_volume,
                cast,
                "compute_detach_volume",
                Lane::Exclusive,
                rolls_detaching(faults("VolumeDetachFailed"))},
    MethodFacts{"external_instance_event",
                "6.0",
                external_instance_event,
                cast,
                "",
                Lane::Beside,
                silent("NovaException")},
    // Nova's driver for libvirt does nothing and succeeds.
    MethodFacts{"inject_network_info",
                "6.0",
                inject_network_info,
                cast,
                "",
                Lane::Beside,
                faults("NotImplementedError")},
    // nova-api takes a snapshot without freezing then, unless the image demands it.
    MethodFacts{"quiesce_instance",
                "6.0",
                quiesce_instance,
                call,
                "",
                Lane::Beside,
                silent("InstanceQuiesceNotSupported")},
    MethodFacts{"remove_fixed_ip_from_instance",
                "6.0",
                remove_fixed_ip_from_instance,
                cast,
                "",
                Lane::Exclusive,
                faults("NovaException")},
    MethodFacts{"remove_volume_connection",
                "6.0",
                remove_volume_connection,
                call,
                "",
                Lane::Exclusive,
                silent("NovaException")},
    // Of what nova-api turns into a 400, the only class that has room for a reason.
    MethodFacts{"reserve_block_device_name",
                "6.0",
                reserve_block_device_name,
                call,
                "",
                Lane::Exclusive,
                reverts("InvalidVolume")},
    MethodFacts{"swap_volume",
                "6.0",
                swap_volume,
                cast,
                "compute_swap_volume",
                Lane::Exclusive,
                deletes_attachment(rolls_detaching(faults("VolumeRebaseFailed")))},
    MethodFacts{"trigger_crash_dump",
                "6.0",
                trigger_crash_dump,
                cast,
                "compute_trigger_crash_dump",
                Lane::Beside,
                faults("TriggerCrashDumpNotSupported")},
    MethodFacts{"unquiesce_instance",
                "6.0",
                unquiesce_instance,
                cast,
                "",
                Lane::Beside,
                silent("InstanceQuiesceNotSupported")},
    // Nova's driver sets the status of Cinder's snapshot to error before it raises.
    MethodFacts{"volume_snapshot_create",
                "6.0",
                volume_snapshot_create,
                cast,
                "",
                Lane::Exclusive,
                silent("NotImplementedError")},
    MethodFacts{"volume_snapshot_delete",
                "6.0",
                volume_snapshot_delete,
                cast,
                "",
                Lane::Exclusive,
                silent("NotImplementedError")},
};

} // namespace

std::span<const MethodFacts> device_methods() {
    return device;
}

} // namespace novalet::tasks
