#include "agent/tasks/peers/nova_peers.hpp"

#include "agent/core/log.hpp"
#include "agent/tasks/records/operation.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace novalet::tasks {
namespace {

class PortNotes final : public clients::PortRecords {
  public:
    PortNotes(objects::Conductor& conductor, const rpc::Context& context, std::string uuid)
        : conductor_(conductor), context_(context), uuid_(std::move(uuid)) {}
    Result<std::map<std::string, Json>> taken() override {
        NOVALET_ASSIGN(const auto interfaces, conductor_.virtual_interfaces(uuid_, context_));
        std::map<std::string, Json> tags;
        for (const auto& interface : interfaces)
            tags.emplace(interface.text("uuid"), interface.get("tag"));
        return tags;
    }
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

/// Ids of the ports that have a VirtualInterface, oldest record first: the order of the cards.
std::vector<std::string> recorded_order(std::vector<objects::Object> interfaces) {
    std::stable_sort(interfaces.begin(), interfaces.end(), [](const auto& a, const auto& b) {
        return a.get("id").as_int() < b.get("id").as_int();
    });
    std::vector<std::string> ports;
    for (const auto& interface : interfaces)
        ports.push_back(interface.text("uuid"));
    return ports;
}

} // namespace

bool badly_bound(const Json& network_info) {
    const auto& vifs = network_info.items();
    return std::any_of(vifs.begin(), vifs.end(), [](const Json& vif) {
        const auto& type = vif["type"].as_string();
        return type == "binding_failed" || type == "unbound";
    });
}

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
    // Without the cache a port of the user would be taken for one of Nova's.
    auto loaded = conductor_.load(instance, {"info_cache"}, context);
    if (!loaded && loaded.error().code != Code::NotFound)
        return loaded;
    std::set<std::string> keep;
    for (const auto& wish : wishes_of(requested_networks))
        if (!wish.port_id.empty())
            keep.insert(wish.port_id);
    const auto cached = cached_network_info(instance);
    for (const auto& vif : cached.items())
        if (vif["preserve_on_delete"].as_bool())
            keep.insert(vif["id"].as_string());
    NOVALET_ASSIGN(const auto still_bound, neutron_.deallocate(context, owner_of(instance), keep));
    NOVALET_TRY(conductor_.delete_virtual_interfaces(instance.text("uuid"), context));
    Json left = Json::array(); // else a repeat would delete them
    for (const auto& vif : cached.items())
        if (still_bound.contains(vif["id"].as_string()))
            left.push_back(vif);
    auto saved = conductor_.save_network_info(instance, left, context);
    if (!saved && saved.error().code == Code::NotFound)
        return {}; // the cache went with the instance
    return saved;
}

Result<Json> NovaNetworks::cache_of(const rpc::Context& context, const objects::Object& instance) {
    NOVALET_ASSIGN(const auto fresh,
                   conductor_.get_instance(instance.text("uuid"), {"info_cache"}, context));
    return cached_network_info(fresh);
}

Result<Json> NovaNetworks::refresh(const rpc::Context& context,
                                   objects::Object& instance,
                                   const std::string& port) {
    NOVALET_ASSIGN(const Json cached, cache_of(context, instance));
    auto info = port.empty()
                    ? neutron_.network_info(context, owner_of(instance), cached)
                    : neutron_.network_info_with(context, owner_of(instance), cached, port);
    if (info)
        NOVALET_TRY(conductor_.save_network_info(instance, *info, context));
    return info;
}

Result<Json> NovaNetworks::heal(const rpc::Context& context, objects::Object& instance) {
    NOVALET_ASSIGN(const Json cached, cache_of(context, instance));
    NOVALET_ASSIGN(auto interfaces, conductor_.virtual_interfaces(instance.text("uuid"), context));
    NOVALET_ASSIGN(Json info,
                   neutron_.whole_network_info(
                       context, owner_of(instance), cached, recorded_order(std::move(interfaces))));
    NOVALET_TRY(conductor_.save_network_info(instance, info, context));
    return info;
}

Result<Json> NovaNetworks::bind_to_host(const rpc::Context& context, objects::Object& instance) {
    NOVALET_TRY(neutron_.bind_to_host(context, owner_of(instance)));
    return heal(context, instance);
}

Result<Json> NovaNetworks::forget(const rpc::Context& context,
                                  objects::Object& instance,
                                  const std::string& port) {
    NOVALET_ASSIGN(const Json cached, cache_of(context, instance));
    Json left = Json::array();
    Json forgotten;
    for (const auto& vif : cached.items())
        if (vif["id"].as_string() == port)
            forgotten = vif;
        else
            left.push_back(vif);
    if (!forgotten.is_null())
        NOVALET_TRY(conductor_.save_network_info(instance, left, context));
    return forgotten;
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
