#pragma once
// Ports, claims and allocations that have an owner: Neutron, the books and Placement of one host,
// as far as operations on servers use them.
#include "agent/tasks/services.hpp"
#include "tests/support/fake_images.hpp"
#include "tests/support/interference.hpp"

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

namespace novalet::tests {

/// What is held for servers. Claims are the process's memory, the rest is in the control plane.
class OwnedThings {
  public:
    void put_port(const std::string& port, const std::string& server) {
        const std::lock_guard lock(mutex_);
        ports_[port] = server;
    }
    void remove_ports_of(const std::string& server) {
        const std::lock_guard lock(mutex_);
        std::erase_if(ports_, [&](const auto& port) { return port.second == server; });
    }
    void put_allocation(const std::string& server) {
        const std::lock_guard lock(mutex_);
        allocations_.insert(server);
    }
    void remove_allocation(const std::string& server) {
        const std::lock_guard lock(mutex_);
        allocations_.erase(server);
    }
    void claim(const std::string& server) {
        const std::lock_guard lock(mutex_);
        claims_.insert(server);
    }
    void drop_claim(const std::string& server) {
        const std::lock_guard lock(mutex_);
        claims_.erase(server);
    }
    void forget_claims() {
        const std::lock_guard lock(mutex_);
        claims_.clear();
    }
    [[nodiscard]] std::set<std::string> claims() const {
        const std::lock_guard lock(mutex_);
        return claims_;
    }
    [[nodiscard]] std::set<std::string> allocations() const {
        const std::lock_guard lock(mutex_);
        return allocations_;
    }
    /// Servers that ports are for.
    [[nodiscard]] std::set<std::string> port_owners() const {
        const std::lock_guard lock(mutex_);
        std::set<std::string> out;
        for (const auto& [port, server] : ports_)
            out.insert(server);
        return out;
    }

  private:
    mutable std::mutex mutex_;
    std::map<std::string, std::string> ports_;
    std::set<std::string> allocations_;
    std::set<std::string> claims_;
};

inline Error peer_is_away(const char* peer) {
    return Error{Code::Unavailable, cat(peer, " did not answer"), "", ""};
}

class OwnedNetworks final : public tasks::Networks {
  public:
    OwnedNetworks(OwnedThings& things,
                  Interference& interference,
                  objects::Conductor& conductor,
                  Json info)
        : things_(things), interference_(interference), conductor_(conductor),
          info_(std::move(info)) {}
    [[nodiscard]] Result<Json> allocate(const rpc::Context& context,
                                        objects::Object& instance,
                                        const Json& /*requested_networks*/,
                                        const Json& /*security_groups*/) override {
        NOVALET_ASSIGN(auto info, port_call("networks.allocate", [&] {
                           for (const auto& vif : info_.items())
                               things_.put_port(vif["id"].as_string(), instance.text("uuid"));
                       }));
        if (auto saved = conductor_.save_network_info(instance, info, context); !saved) {
            if (!tasks::control_plane_unreachable(saved.error()) && !interference_.dead())
                things_.remove_ports_of(instance.text("uuid"));
            return Failure(saved.error());
        }
        return info;
    }
    [[nodiscard]] Result<void> deallocate(const rpc::Context& /*context*/,
                                          objects::Object& instance,
                                          const Json& /*requested_networks*/) override {
        NOVALET_TRY(port_call("networks.deallocate",
                              [&] { things_.remove_ports_of(instance.text("uuid")); }));
        return {};
    }
    [[nodiscard]] Result<Json> refresh(const rpc::Context& /*context*/,
                                       objects::Object& /*instance*/,
                                       const std::string& /*port*/) override {
        return port_call("networks.refresh", [] {});
    }
    [[nodiscard]] Result<Json> bind_to_host(const rpc::Context& /*context*/,
                                            objects::Object& /*instance*/) override {
        return port_call("networks.bind_to_host", [] {});
    }
    [[nodiscard]] Result<Json> heal(const rpc::Context& /*context*/,
                                    objects::Object& /*instance*/) override {
        return port_call("networks.heal", [] {});
    }
    [[nodiscard]] Result<Json> forget(const rpc::Context& /*context*/,
                                      objects::Object& /*instance*/,
                                      const std::string& /*port*/) override {
        return port_call("networks.forget", [] {});
    }

  private:
    template <class Effect> Result<Json> port_call(const char* name, const Effect& effect) {
        return interference_.through<Json>(name, peer_is_away("Neutron"), [&]() -> Result<Json> {
            effect();
            return info_;
        });
    }
    OwnedThings& things_;
    Interference& interference_;
    objects::Conductor& conductor_;
    const Json info_;
};

class OwnedResources final : public tasks::Resources {
  public:
    OwnedResources(OwnedThings& things,
                   Interference& interference,
                   objects::Conductor& conductor,
                   std::string host)
        : things_(things), interference_(interference), conductor_(conductor),
          host_(std::move(host)) {}
    [[nodiscard]] Result<void>
    claim(const rpc::Context& context, objects::Object& instance, const Json& /*limits*/) override {
        const std::string server = instance.text("uuid");
        NOVALET_TRY(interference_.through<void>(
            "resources.claim", peer_is_away("the book"), [&]() -> Result<void> {
                things_.claim(server);
                return {};
            }));
        for (const char* field : {"host", "node", "launched_on"})
            instance.set(field, host_);
        return conductor_.save_instance(instance, {}, context);
    }
    void
    drop(const rpc::Context& /*context*/, objects::Object& instance, bool /*unset_host*/) override {
        if (!interference_.dead())
            things_.drop_claim(instance.text("uuid"));
    }
    void update(const objects::Object& /*instance*/) override {}
    [[nodiscard]] std::vector<std::string> instances() const override {
        const auto claims = things_.claims();
        return {claims.begin(), claims.end()};
    }
    void build_finished(bool /*ok*/) override {}
    // No operation moves a server yet.
    [[nodiscard]] Result<void> move_claim(const rpc::Context& /*context*/,
                                          objects::Object& /*instance*/,
                                          objects::Object& /*migration*/,
                                          const tasks::MoveTarget& /*target*/) override {
        return fail(Code::Unsupported, "the books of the test know no moves");
    }
    void depart(const objects::Object& /*instance*/,
                const objects::Object& /*migration*/) override {}
    void arrive(const objects::Object& /*instance*/,
                const objects::Object& /*migration*/) override {}
    void settle(const objects::Object& /*instance*/,
                const objects::Object& /*migration*/) override {}
    void revert(const objects::Object& /*instance*/,
                const objects::Object& /*migration*/) override {}
    [[nodiscard]] Result<void> set_enabled(bool /*enabled*/) override { return {}; }

  private:
    OwnedThings& things_;
    Interference& interference_;
    objects::Conductor& conductor_;
    const std::string host_;
};

class OwnedAllocations final : public tasks::Allocations {
  public:
    OwnedAllocations(OwnedThings& things, Interference& interference)
        : things_(things), interference_(interference) {}
    [[nodiscard]] Result<void> remove(const std::string& consumer) override {
        return removal("allocations.remove", consumer);
    }
    [[nodiscard]] Result<void> remove_unchanged(const std::string& consumer) override {
        return removal("allocations.remove_unchanged", consumer);
    }
    [[nodiscard]] Result<void> remove_ours(const std::string& consumer,
                                           const std::string& /*node*/) override {
        return removal("allocations.remove_ours", consumer);
    }
    /// A migration holds nothing here: the server keeps what it has.
    [[nodiscard]] Result<void> move_back(const std::string& migration,
                                         const std::string& /*instance*/) override {
        return removal("allocations.move_back", migration);
    }
    [[nodiscard]] Result<std::vector<std::string>> consumers() override {
        const auto all = things_.allocations();
        return std::vector<std::string>(all.begin(), all.end());
    }

  private:
    Result<void> removal(const char* name, const std::string& consumer) {
        return interference_.through<void>(name, peer_is_away("Placement"), [&]() -> Result<void> {
            things_.remove_allocation(consumer);
            return {};
        });
    }
    OwnedThings& things_;
    Interference& interference_;
};

/// The guests of the host as one process sees them. Steps of a spawn are calls of their own.
class InterferedHypervisor final : public hypervisor::Hypervisor {
  public:
    /// `fail_step`: the step that begins is to fail with this.
    using FailStep = std::function<void(const std::string& step, const Error& error)>;
    InterferedHypervisor(hypervisor::Hypervisor& host, Interference& interference, FailStep fail)
        : host_(host), interference_(interference), fail_step_(std::move(fail)) {}

    [[nodiscard]] Result<void>
    start(std::function<void(const hypervisor::GuestEvent&)> sink) override {
        return host_.start(std::move(sink));
    }
    void stop() override { host_.stop(); }
    [[nodiscard]] Result<hypervisor::HostFacts> facts() override { return host_.facts(); }
    [[nodiscard]] Result<std::vector<hypervisor::GuestInfo>> list() override {
        return host_.list();
    }
    [[nodiscard]] Result<hypervisor::GuestInfo> info(const InstanceUuid& uuid) override {
        return through<hypervisor::GuestInfo>("info", [&] { return host_.info(uuid); });
    }
    [[nodiscard]] Result<void> spawn(const hypervisor::GuestSpec& guest,
                                     const hypervisor::SpawnHooks& hooks) override {
        return through<void>("spawn", [&] { return host_.spawn(guest, watched(hooks)); });
    }
    [[nodiscard]] Result<void> destroy(const InstanceUuid& uuid,
                                       const hypervisor::DestroyOptions& options) override {
        return through<void>("destroy", [&] { return host_.destroy(uuid, options); });
    }
    [[nodiscard]] Result<void> power_off(const InstanceUuid& uuid,
                                         const hypervisor::PowerOffOptions& options) override {
        return through<void>("power_off", [&] { return host_.power_off(uuid, options); });
    }
    [[nodiscard]] Result<void> power_on(const hypervisor::GuestSpec& guest,
                                        const hypervisor::SpawnHooks& hooks) override {
        return through<void>("power_on", [&] { return host_.power_on(guest, watched(hooks)); });
    }
    [[nodiscard]] Result<bool> soft_reboot(const InstanceUuid& uuid) override {
        return through<bool>("soft_reboot", [&] { return host_.soft_reboot(uuid); });
    }
    [[nodiscard]] Result<void> pause(const InstanceUuid& uuid) override {
        return through<void>("pause", [&] { return host_.pause(uuid); });
    }
    [[nodiscard]] Result<void> unpause(const InstanceUuid& uuid) override {
        return through<void>("unpause", [&] { return host_.unpause(uuid); });
    }
    [[nodiscard]] Result<void> suspend(const InstanceUuid& uuid) override {
        return through<void>("suspend", [&] { return host_.suspend(uuid); });
    }
    [[nodiscard]] Result<void> resume(const hypervisor::GuestSpec& guest) override {
        return through<void>("resume", [&] { return host_.resume(guest); });
    }
    [[nodiscard]] Result<void> plug(const hypervisor::GuestSpec& guest) override {
        return through<void>("plug", [&] { return host_.plug(guest); });
    }
    [[nodiscard]] Result<std::map<std::string, std::string>>
    hardware(const hypervisor::GuestSpec& guest) override {
        return host_.hardware(guest);
    }
    [[nodiscard]] Result<void> detach_interface(const InstanceUuid& uuid,
                                                const hypervisor::InterfaceSpec& interface,
                                                const std::stop_token& stop) override {
        return through<void>("detach_interface",
                             [&] { return host_.detach_interface(uuid, interface, stop); });
    }
    [[nodiscard]] Result<std::vector<hypervisor::Leftover>> leftovers() override {
        return host_.leftovers();
    }
    [[nodiscard]] Result<void> sweep(const hypervisor::Leftover& leftover) override {
        return host_.sweep(leftover);
    }
    [[nodiscard]] Result<std::string> console_log(const InstanceUuid& uuid) override {
        return host_.console_log(uuid);
    }
    [[nodiscard]] Result<hypervisor::VncAddress> vnc(const InstanceUuid& uuid) override {
        return host_.vnc(uuid);
    }
    [[nodiscard]] Result<std::string> uptime() override { return host_.uptime(); }

  private:
    static Error link_lost() {
        return Error{Code::Unavailable,
                     "the link to libvirt is lost",
                     "HypervisorUnavailable",
                     "nova.exception"};
    }
    template <class Value, class Effect>
    Result<Value> through(const char* verb, const Effect& effect) {
        return interference_.through<Value>(cat("hypervisor.", verb), link_lost(), effect);
    }
    hypervisor::SpawnHooks watched(hypervisor::SpawnHooks hooks) {
        hooks.step = [this](const char* step) {
            const auto went = interference_.through<void>(
                cat("step ", step), link_lost(), [] { return Result<void>(); });
            if (!went)
                fail_step_(step, went.error());
        };
        return hooks;
    }
    hypervisor::Hypervisor& host_;
    Interference& interference_;
    const FailStep fail_step_;
};

} // namespace novalet::tests
