#include "agent/tasks/peers/nova_volumes.hpp"

#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/objects/block_device.hpp"

#include <optional>
#include <sys/utsname.h>

namespace novalet::tasks {
namespace {

using objects::BlockDeviceView;

/// Empty when the host is no iSCSI initiator.
std::string initiator_name(const std::filesystem::path& file) {
    constexpr std::string_view key = "InitiatorName=";
    const auto text = read_file(file);
    if (!text)
        return {};
    for (const auto& line : split(*text, '\n'))
        if (line.starts_with(key))
            return std::string(trim(std::string_view(line).substr(key.size())));
    return {};
}

/// A volume that exists, so that there is something to give back.
bool has_volume(const BlockDeviceView& mapping) {
    return mapping.is_volume() && !mapping.volume_id().empty();
}

bool is_nothing_to_end(const Error& error) {
    return error.exception == "VolumeNotFound" || error.exception == "VolumeAttachmentNotFound";
}

void warn_of(const char* message, const BlockDeviceView& mapping, const Error& error) {
    log::warning(message,
                 {{"volume", mapping.volume_id()},
                  {"instance", mapping.instance_uuid()},
                  {"error", error.text}});
}

void delete_volume(clients::Cinder& cinder,
                   const rpc::Context& context,
                   const BlockDeviceView& mapping) {
    if (const auto done = cinder.delete_volume(context, mapping.volume_id()); !done)
        warn_of("a server's volume could not be deleted; it stays", mapping, done.error());
}

} // namespace

Json volume_connector(const VolumeHost& host) {
    Json connector = Json::object();
    connector.set("host", host.name)
        .set("ip", host.ip)
        .set("os_type", "linux")
        .set("multipath", false)
        .set("do_local_attach", false);
    utsname system{};
    if (uname(&system) == 0)
        connector.set("platform", std::string(static_cast<const char*>(system.machine)));
    if (auto name = initiator_name(host.initiator_file); !name.empty())
        connector.set("initiator", std::move(name));
    return connector;
}

NovaVolumes::NovaVolumes(clients::Cinder& cinder, objects::Conductor& conductor, VolumeHost host)
    : cinder_(cinder), conductor_(conductor), host_(std::move(host)) {}

Json NovaVolumes::connector_of(const objects::Object& mapping) const {
    if (const auto info = Json::parse(mapping.text("connection_info"));
        info && (*info)["connector"]["host"].as_string() == host_.name)
        return (*info)["connector"];
    return volume_connector(host_);
}

Result<void> NovaVolumes::end_attachment(const rpc::Context& context,
                                         const objects::Object& mapping) {
    const BlockDeviceView view(mapping);
    if (!view.attachment_id().empty())
        return cinder_.delete_attachment(context, view.attachment_id());
    NOVALET_TRY(cinder_.terminate_connection(context, view.volume_id(), connector_of(mapping)));
    return cinder_.detach(context, view.volume_id(), view.instance_uuid());
}

void NovaVolumes::release(const rpc::Context& context,
                          const std::vector<objects::Object>& mappings) {
    for (const auto& mapping : mappings) {
        const BlockDeviceView view(mapping);
        if (!has_volume(view))
            continue;
        const auto ended = end_attachment(context, mapping);
        if (!ended && is_nothing_to_end(ended.error()))
            log::debug("a server's volume is gone already", {{"volume", view.volume_id()}});
        else if (!ended)
            warn_of("a server's volume could not be detached at Cinder", view, ended.error());
    }
}

void NovaVolumes::delete_on_termination(const rpc::Context& context,
                                        const std::vector<objects::Object>& mappings) {
    for (const auto& mapping : mappings) {
        const BlockDeviceView view(mapping);
        if (!view.volume_id().empty() && view.delete_on_termination())
            delete_volume(cinder_, context, view);
    }
}

Result<void> NovaVolumes::give_up(const rpc::Context& context,
                                  std::vector<objects::Object>& mappings) {
    Result<void> result;
    for (auto& mapping : mappings) {
        if (!has_volume(BlockDeviceView(mapping)))
            continue;
        const bool goes = BlockDeviceView(mapping).delete_on_termination();
        auto ended = end_attachment(context, mapping);
        if (ended && goes) {
            ended = conductor_.destroy_block_device(mapping, context);
            if (!ended && objects::is_unanswered(ended.error()))
                result = ended;
        }
        const BlockDeviceView view(mapping);
        if (!ended)
            warn_of("the volume of a failed build could not be detached", view, ended.error());
        if (goes)
            delete_volume(cinder_, context, view);
    }
    return result;
}

Result<void> NovaVolumes::forget_attachment(const rpc::Context& context, objects::Object& mapping) {
    const BlockDeviceView view(mapping);
    const auto given_back = view.attachment_id().empty()
                                ? cinder_.unreserve_volume(context, view.volume_id())
                                : cinder_.delete_attachment(context, view.attachment_id());
    if (!given_back)
        warn_of("a volume that is not attached could not be given back", view, given_back.error());
    NOVALET_TRY(conductor_.destroy_block_device(mapping, context));
    return given_back;
}

Result<void> NovaVolumes::roll_back_detach(const rpc::Context& context,
                                           const std::string& volume_id) {
    return cinder_.roll_detaching(context, volume_id);
}

Result<void> NovaVolumes::roll_back_swap(const rpc::Context& context, const Swap& swap) {
    NOVALET_ASSIGN(const auto mappings, conductor_.block_devices(swap.instance_uuid, context));
    std::optional<bool> has_attachment;
    for (const auto& mapping : mappings)
        if (mapping.text("volume_id") == swap.old_volume_id)
            has_attachment = !mapping.text("attachment_id").empty();
    if (!has_attachment)
        return fail_as("VolumeBDMNotFound",
                       Code::NotFound,
                       cat("No volume Block Device Mapping with id ", swap.old_volume_id, '.'));
    NOVALET_ASSIGN(const auto old_volume, cinder_.volume(context, swap.old_volume_id));
    Result<void> result;
    const auto tried = [&](Result<void> step) {
        if (step)
            return;
        log::warning("a swap of volumes could not be rolled back",
                     {{"volume", swap.old_volume_id},
                      {"new_volume", swap.new_volume_id},
                      {"instance", swap.instance_uuid},
                      {"error", step.error().text}});
        result = std::move(step);
    };
    tried(cinder_.roll_detaching(context, swap.old_volume_id));
    tried(swap.new_attachment_id.empty()
              ? cinder_.unreserve_volume(context, swap.new_volume_id)
              : cinder_.delete_attachment(context, swap.new_attachment_id));
    if (!*has_attachment || old_volume.migration_status == "migrating")
        tried(cinder_.fail_migration(context, swap.old_volume_id, swap.new_volume_id));
    return result;
}

} // namespace novalet::tasks
