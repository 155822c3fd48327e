#include "agent/tasks/peers/nova_peers.hpp"

#include "agent/core/log.hpp"
#include "agent/tasks/records/operation.hpp"

#include <set>

namespace novalet::tasks {
namespace {

class PortNotes final : public clients::PortRecords {
  public:
    PortNotes(objects::Conductor& conductor, const rpc::Context& context, std::string uuid)
        : conductor_(conductor), context_(context), uuid_(std::move(uuid)) {}
    Result<void>
    port_taken(const std::string& port_id, const std::string& mac, const Json& tag) override {
        return conductor_.create_virtual_interface(uuid_, port_id, mac, tag, context_);
    }
    Result<void> port_given_back(const std::string& port_id) override {
        NOVALET_ASSIGN(auto interfaces, conductor_.virtual_interfaces(uuid_, context_));
        for (auto& interface : interfaces)
            if (interface.text("uuid") == port_id)
                return conductor_.destroy_virtual_interface(interface, context_);
        return {};
    }

  private:
    objects::Conductor& conductor_;
    const rpc::Context& context_;
    std::string uuid_;
};

/// One request's way to Glance; asks for each image's record once.
class RequestImages final : public hypervisor::ImageSource {
  public:
    RequestImages(clients::Glance& glance, rpc::Context context)
        : glance_(glance), context_(std::move(context)) {}
    Result<void> fetch(const ImageId& image, int fd) override {
        NOVALET_ASSIGN(const auto record, glance_.image(context_, image.str()));
        return glance_.download(context_, record, fd);
    }
    Result<std::string> disk_format(const ImageId& image) override {
        NOVALET_ASSIGN(const auto record, glance_.image(context_, image.str()));
        return record.disk_format;
    }

  private:
    clients::Glance& glance_;
    const rpc::Context context_;
};

std::vector<clients::NetworkWish> wishes_of(const Json& requested_networks) {
    std::vector<clients::NetworkWish> wishes;
    for (const auto& item : objects::data_of(requested_networks)["objects"].items()) {
        const Json& data = objects::data_of(item);
        wishes.push_back({data["network_id"].as_string(),
                          data["port_id"].as_string(),
                          data["address"].as_string(),
                          data["tag"]});
    }
    return wishes;
}

} // namespace

NovaNetworks::NovaNetworks(clients::Neutron& neutron,
                           objects::Conductor& conductor,
                           std::string host)
    : neutron_(neutron), conductor_(conductor), host_(std::move(host)) {}

clients::NetworkOwner NovaNetworks::owner_of(const objects::Object& instance) const {
    return {instance.text("uuid"),
            instance.text("project_id"),
            instance.text("availability_zone"),
            instance.text("hostname"),
            host_,
            {}};
}

Result<Json> NovaNetworks::allocate(const rpc::Context& context,
                                    objects::Object& instance,
                                    const Json& requested_networks,
                                    const Json& security_groups) {
    const auto wishes = wishes_of(requested_networks);
    // "--nic none" arrives as one request whose network is the word "none".
    if (wishes.size() == 1 && wishes.front().network_id == "none")
        return Json::array();
    std::vector<std::string> groups;
    for (const auto& group : security_groups.items())
        groups.push_back(group.as_string());
    PortNotes records(conductor_, context, instance.text("uuid"));
    NOVALET_ASSIGN(auto info,
                   neutron_.allocate(context, owner_of(instance), wishes, groups, records));
    NOVALET_TRY(conductor_.save_network_info(instance, info, context));
    return info;
}

Result<void> NovaNetworks::deallocate(const rpc::Context& context,
                                      objects::Object& instance,
                                      const Json& requested_networks) {
    std::set<std::string> keep;
    for (const auto& wish : wishes_of(requested_networks))
        if (!wish.port_id.empty())
            keep.insert(wish.port_id);
    const auto cached = cached_network_info(instance);
    for (const auto& vif : cached.items())
        if (vif["preserve_on_delete"].as_bool())
            keep.insert(vif["id"].as_string());
    NOVALET_TRY(neutron_.deallocate(context, owner_of(instance), keep));
    NOVALET_TRY(conductor_.delete_virtual_interfaces(instance.text("uuid"), context));
    auto saved = conductor_.save_network_info(instance, Json::array(), context);
    if (!saved && saved.error().code == Code::NotFound)
        return {}; // the cache went with the instance
    return saved;
}

Result<Json> NovaNetworks::refresh(const rpc::Context& context,
                                   objects::Object& instance,
                                   const std::string& port) {
    // The record of an event or request may be older than the cache: the cache is read anew.
    NOVALET_ASSIGN(const auto fresh,
                   conductor_.get_instance(instance.text("uuid"), {"info_cache"}, context));
    Json cached = cached_network_info(fresh);
    if (!port.empty()) {
        bool known = false;
        for (const auto& vif : cached.items())
            known = known || vif["id"].as_string() == port;
        if (!known) {
            Json entry = Json::object();
            entry.set("id", port);
            cached.push_back(std::move(entry));
        }
    }
    NOVALET_ASSIGN(auto info, neutron_.network_info(context, owner_of(instance), cached, false));
    NOVALET_TRY(conductor_.save_network_info(instance, info, context));
    return info;
}

Result<Json> NovaNetworks::bind_to_host(const rpc::Context& context, objects::Object& instance) {
    NOVALET_TRY(neutron_.bind_to_host(context, owner_of(instance)));
    return refresh(context, instance, {});
}

std::unique_ptr<hypervisor::ImageSource> NovaImages::for_request(const rpc::Context& context) {
    return std::make_unique<RequestImages>(glance_, context);
}

void NovaImages::remove(const rpc::Context& context, const std::string& image_id) {
    const auto removed = glance_.delete_image(context, image_id);
    if (!removed && removed.error().exception != "ImageNotFound")
        log::error("the image of a failed snapshot could not be deleted",
                   {{"image", image_id}, {"error", removed.error().text}});
}

} // namespace novalet::tasks
