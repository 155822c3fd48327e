#pragma once
// Networks and Images over the real clients and the conductor.
#include "agent/clients/glance.hpp"
#include "agent/clients/neutron.hpp"
#include "agent/objects/conductor.hpp"
#include "agent/tasks/peers/images.hpp"
#include "agent/tasks/peers/networks.hpp"

namespace novalet::tasks {

class NovaNetworks final : public Networks {
  public:
    NovaNetworks(clients::Neutron& neutron, objects::Conductor& conductor, std::string host);
    [[nodiscard]] Result<Json> allocate(const rpc::Context& context,
                                        objects::Object& instance,
                                        const Json& requested_networks,
                                        const Json& security_groups) override;
    [[nodiscard]] Result<void> deallocate(const rpc::Context& context,
                                          objects::Object& instance,
                                          const Json& requested_networks) override;
    [[nodiscard]] Result<Json> refresh(const rpc::Context& context,
                                       objects::Object& instance,
                                       const std::string& port) override;
    [[nodiscard]] Result<Json> bind_to_host(const rpc::Context& context,
                                            objects::Object& instance) override;
    [[nodiscard]] Result<Json> heal(const rpc::Context& context,
                                    objects::Object& instance) override;
    [[nodiscard]] Result<Json> forget(const rpc::Context& context,
                                      objects::Object& instance,
                                      const std::string& port) override;

  private:
    /// Of the database: the record of an event or request may be older than the cache.
    [[nodiscard]] Result<Json> cache_of(const rpc::Context& context,
                                        const objects::Object& instance);
    [[nodiscard]] clients::NetworkOwner owner_of(const objects::Object& instance) const;
    clients::Neutron& neutron_;
    objects::Conductor& conductor_;
    const std::string host_;
};

class NovaImages final : public Images {
  public:
    explicit NovaImages(clients::Glance& glance) : glance_(glance) {}
    [[nodiscard]] std::unique_ptr<hypervisor::ImageSource>
    for_request(const rpc::Context& context) override;
    void remove(const rpc::Context& context, const std::string& image_id) override;

  private:
    clients::Glance& glance_;
};

} // namespace novalet::tasks
