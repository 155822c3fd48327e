#pragma once
// The hypervisor interface over libvirt, QEMU and the host's files and interfaces.
#include "agent/core/process.hpp"
#include "hypervisor/domain/capabilities.hpp"
#include "hypervisor/domain/domain.hpp"
#include "hypervisor/hypervisor.hpp"
#include "hypervisor/libvirt/connection.hpp"
#include "hypervisor/libvirt/options.hpp"
#include "hypervisor/network/plugger.hpp"
#include "hypervisor/storage/image_cache.hpp"
#include "hypervisor/storage/instance_files.hpp"

#include <map>
#include <memory>
#include <mutex>
#include <optional>

namespace novalet::hypervisor::libvirt {

class LibvirtHypervisor final : public Hypervisor {
  public:
    LibvirtHypervisor(Options options, ProcessRunner& processes);
    ~LibvirtHypervisor() override;

    [[nodiscard]] Result<void> start(std::function<void(const GuestEvent&)> sink) override;
    void stop() override;
    void on_link(LinkListener listener) override;
    [[nodiscard]] bool reachable() const override { return connection_.reachable(); }
    [[nodiscard]] Result<HostFacts> facts() override;
    [[nodiscard]] Result<std::vector<GuestInfo>> list() override;
    [[nodiscard]] Result<GuestInfo> info(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<std::map<std::string, std::string>>
    hardware(const GuestSpec& guest) override;
    [[nodiscard]] Result<void> spawn(const GuestSpec& guest, const SpawnHooks& hooks) override;
    [[nodiscard]] Result<void> destroy(const InstanceUuid& uuid,
                                       const DestroyOptions& options) override;
    [[nodiscard]] Result<void> power_off(const InstanceUuid& uuid,
                                         const PowerOffOptions& options) override;
    [[nodiscard]] Result<void> power_on(const GuestSpec& guest, const SpawnHooks& hooks) override;
    [[nodiscard]] Result<bool> soft_reboot(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<void> pause(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<void> unpause(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<void> suspend(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<void> resume(const GuestSpec& guest) override;
    [[nodiscard]] Result<void> plug(const GuestSpec& guest) override;
    [[nodiscard]] Result<void> detach_interface(const InstanceUuid& uuid,
                                                const InterfaceSpec& interface,
                                                const std::stop_token& stop) override;
    [[nodiscard]] Result<std::vector<Leftover>> leftovers() override;
    [[nodiscard]] Result<void> sweep(const Leftover& leftover) override;
    [[nodiscard]] Result<std::string> console_log(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<VncAddress> vnc(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<std::string> uptime() override;

  private:
    /// What only changes when libvirtd or QEMU is replaced; asking for it is costly. Immutable.
    struct Known {
        std::uint64_t generation = 0; ///< of the connection that was asked
        std::string hostname;
        std::string type;
        std::int64_t version = 0;
        std::int64_t libvirt_version = 0;
        domain::HostCapabilities host;
        domain::DomainCapabilities guest;        ///< union over the machine types of this host
        std::vector<std::string> trait_features; ///< of the CPUs that guests get
        domain::DomainOptions domain;            ///< configured, completed by this host
    };
    [[nodiscard]] Result<std::shared_ptr<const Known>> known();
    [[nodiscard]] Result<Known> ask();
    [[nodiscard]] Result<void> ask_guest_capabilities(Known& known);
    [[nodiscard]] Result<void> ask_cpu_features(Known& known);
    void complete_domain_options(Known& known) const;

    /// What an attempt to make a guest found and made.
    struct Attempt {
        bool claimed = false;          ///< the folder is this host's to remove
        bool domain_was_there = false; ///< before this call
        bool began = false;            ///< something may be made
    };
    using Definition = std::optional<domain::LiveDomain>;

    /// As libvirt has it; none when there is no such domain.
    [[nodiscard]] Result<Definition> definition(const InstanceUuid& uuid);
    [[nodiscard]] Result<domain::Domain> describe(const GuestSpec& guest, const Definition& before);
    [[nodiscard]] Result<void>
    make(const GuestSpec& guest, const SpawnHooks& hooks, Attempt& attempt);
    void clean_up(const GuestSpec& guest, const Attempt& attempt);
    [[nodiscard]] Result<void> plug_all(const GuestSpec& guest);
    [[nodiscard]] Result<void> define(const domain::Domain& described, const SpawnHooks& hooks);
    [[nodiscard]] Result<void>
    run(const GuestSpec& guest, const std::string& name, const SpawnHooks& hooks);
    [[nodiscard]] Result<void> carry_on(const GuestSpec& guest, const SpawnHooks& hooks);
    [[nodiscard]] Result<void> let_run(const GuestSpec& guest, const SpawnHooks& hooks);
    void check_granted(const GuestSpec& guest, const std::string& name);
    [[nodiscard]] Result<void> end_domain(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> remove_domain(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> wait_running(const InstanceUuid& uuid);
    [[nodiscard]] Result<std::vector<domain::LiveDomain>> definitions();
    [[nodiscard]] Seconds seen_for(const std::string& device);

    // interface_verbs.cpp
    [[nodiscard]] Result<void> detach_from_definition(const InstanceUuid& uuid,
                                                      const std::string& mac);
    [[nodiscard]] Result<void> detach_from_running(const InstanceUuid& uuid,
                                                   const InterfaceSpec& interface,
                                                   const std::stop_token& stop);
    [[nodiscard]] Result<bool>
    has_left(const InstanceUuid& uuid, const std::string& mac, const std::stop_token& stop);

    const Options options_;
    Connection connection_;
    storage::ImageCache cache_;
    storage::InstanceFiles files_;
    network::Plugger plugger_;
    LinkListener link_;
    std::mutex mutex_; ///< guards what follows; nothing is asked under it
    std::shared_ptr<const Known> known_;
    std::map<std::string, MonotonicTime> stray_devices_; ///< by name: when leftovers() saw it first
};

} // namespace novalet::hypervisor::libvirt
