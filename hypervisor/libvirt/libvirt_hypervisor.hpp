#pragma once
// The hypervisor interface over libvirt, QEMU and the host's files and interfaces.
#include "hypervisor/domain/build_domain.hpp"
#include "hypervisor/domain/capabilities.hpp"
#include "hypervisor/hypervisor.hpp"
#include "hypervisor/libvirt/connection.hpp"
#include "hypervisor/network/plugger.hpp"
#include "hypervisor/storage/instance_files.hpp"

#include <map>
#include <mutex>
#include <optional>

namespace novalet::hypervisor::libvirt {

struct Options {
    std::string uri = "qemu:///system";
    domain::DomainOptions domain; ///< host facts in it are filled in at start
    storage::CacheOptions cache;
    storage::InstanceFilesOptions files;
    std::string shared_cpus;    ///< compute.cpu_shared_set; empty = not configured
    std::string dedicated_cpus; ///< compute.cpu_dedicated_set
    /// Pages that guests may not have: node → size KiB → pages (reserved_huge_pages).
    std::map<int, std::map<std::uint64_t, std::int64_t>> reserved_pages;
    std::string vnc_proxyclient_address = "127.0.0.1";
    Seconds soft_reboot_timeout{120};
};

class LibvirtHypervisor final : public Hypervisor {
  public:
    LibvirtHypervisor(Options options, ProcessRunner& processes);
    ~LibvirtHypervisor() override;

    [[nodiscard]] Result<void> start(std::function<void(const GuestEvent&)> sink) override;
    void stop() override;
    [[nodiscard]] Result<HostFacts> facts() override;
    [[nodiscard]] Result<std::vector<GuestInfo>> list() override;
    [[nodiscard]] Result<GuestInfo> info(const InstanceUuid& uuid) override;
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
    [[nodiscard]] Result<std::string> console_log(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<VncAddress> vnc(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<std::string> uptime() override;

  private:
    /// Facts that only change when libvirtd or QEMU is replaced; asking for them is costly.
    struct Fixed {
        std::string hostname;
        std::string type;
        std::int64_t version = 0;
        std::int64_t libvirt_version = 0;
        Json cpu_info;
        Json supported_instances;
        std::vector<std::string> cpu_features;
        domain::DomainCapabilities guest;
        std::string arch;
    };
    [[nodiscard]] Result<Fixed> read_fixed();
    [[nodiscard]] Result<scheduler_hooks::model::HostTopology> topology();
    [[nodiscard]] Result<void> define_and_start(const GuestSpec& guest, const SpawnHooks& hooks);
    [[nodiscard]] Result<void> undefine_domain(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> wait_running(const InstanceUuid& uuid);

    Options options_;
    ProcessRunner& processes_;
    Connection connection_;
    storage::ImageCache cache_;
    storage::InstanceFiles files_;
    network::Plugger plugger_;
    std::mutex mutex_;
    std::optional<Fixed> fixed_;
};

} // namespace novalet::hypervisor::libvirt
