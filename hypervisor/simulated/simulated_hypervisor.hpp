#pragma once
// A host without guests: the hypervisor interface in memory. For tests of the agent, for trying
// novalet without KVM, and for many hosts in one process (one object each).
#include "agent/core/clock.hpp"
#include "hypervisor/hypervisor.hpp"
#include "hypervisor/simulated/event_queue.hpp"
#include "hypervisor/simulated/guest_record.hpp"
#include "scheduler_hooks/model/cpu_set.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace novalet::hypervisor::simulated {

/// Huge pages of one size that every cell of the host has.
struct SimulatedPages {
    std::uint64_t size_kib = 2048;
    std::int64_t pages_per_cell = 0;
};

struct Options {
    std::string hostname = "simulated"; ///< hypervisor_hostname
    unsigned vcpus = 64;                ///< CPUs of the host; numbers 0 … vcpus-1
    std::uint64_t memory_mib = 262144;
    std::uint64_t disk_gib = 2048;
    unsigned numa_cells = 2; ///< at most vcpus; CPUs and memory are dealt out evenly
    unsigned threads_per_core = 1;
    std::vector<SimulatedPages> huge_pages;
    /// cpu_shared_set and cpu_dedicated_set; both empty = every CPU is for shared vCPUs.
    scheduler_hooks::model::CpuSet shared_cpus;
    scheduler_hooks::model::CpuSet dedicated_cpus;
    Milliseconds spawn_latency{0};   ///< of spawn, power_on and resume
    Milliseconds destroy_latency{0}; ///< of destroy and power_off
    /// One file per guest, so that a restarted process finds its guests. Empty = they end with the
    /// process. Each host needs a folder of its own.
    std::filesystem::path state_folder;
    /// How a latency passes; false when it was cut short by the token. Empty = really waiting.
    std::function<bool(Milliseconds, const std::stop_token&)> pass_time;
};

/// Thread safe; calls for one guest are serialised by the caller, as for every Hypervisor.
class SimulatedHypervisor final : public Hypervisor {
  public:
    explicit SimulatedHypervisor(Options options, const Clock& clock = system_clock());
    SimulatedHypervisor(const SimulatedHypervisor&) = delete;
    SimulatedHypervisor& operator=(const SimulatedHypervisor&) = delete;
    ~SimulatedHypervisor() override;

    /// Reads the guests of an earlier process. Damaged files are moved aside and logged.
    [[nodiscard]] Result<void> start(std::function<void(const GuestEvent&)> sink) override;
    void stop() override;
    void on_link(LinkListener listener) override;
    [[nodiscard]] bool reachable() const override { return within_reach().has_value(); }
    [[nodiscard]] Result<HostFacts> facts() override;
    [[nodiscard]] Result<std::vector<GuestInfo>> list() override;
    [[nodiscard]] Result<GuestInfo> info(const InstanceUuid& uuid) override;
    /// That of an x86 guest with Nova's defaults.
    [[nodiscard]] Result<std::map<std::string, std::string>>
    hardware(const GuestSpec& guest) override;
    /// Steps: disks, plug, define, start, wait_for_plugged. Images are not fetched.
    [[nodiscard]] Result<void> spawn(const GuestSpec& guest, const SpawnHooks& hooks) override;
    /// Step: destroy.
    [[nodiscard]] Result<void> destroy(const InstanceUuid& uuid,
                                       const DestroyOptions& options) override;
    /// Step: power_off.
    [[nodiscard]] Result<void> power_off(const InstanceUuid& uuid,
                                         const PowerOffOptions& options) override;
    /// Steps: plug, define, remove, start. The guest is as it was until "remove" is done.
    [[nodiscard]] Result<void> power_on(const GuestSpec& guest, const SpawnHooks& hooks) override;
    /// Steps of the others: their own names.
    [[nodiscard]] Result<bool> soft_reboot(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<void> pause(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<void> unpause(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<void> suspend(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<void> resume(const GuestSpec& guest) override;
    [[nodiscard]] Result<void> plug(const GuestSpec& guest) override;
    [[nodiscard]] Result<void> detach_interface(const InstanceUuid& uuid,
                                                const InterfaceSpec& interface,
                                                const std::stop_token& stop) override;
    /// Every guest as a domain, and what leave_behind() was told.
    [[nodiscard]] Result<std::vector<Leftover>> leftovers() override;
    /// Step: sweep.
    [[nodiscard]] Result<void> sweep(const Leftover& leftover) override;
    [[nodiscard]] Result<std::string> console_log(const InstanceUuid& uuid) override;
    /// ConsoleTypeUnavailable: there is no screen.
    [[nodiscard]] Result<VncAddress> vnc(const InstanceUuid& uuid) override;
    [[nodiscard]] Result<std::string> uptime() override;

    // What a test does to the host.
    /// The next `times` steps of this name fail with `error` before they do anything.
    void fail_step(const std::string& step, Error error, unsigned times = 1);
    /// As if the guest did it by itself (shut down inside, crashed); the event is delivered.
    [[nodiscard]] Result<void> guest_becomes(const InstanceUuid& uuid, PowerState state);
    /// As if the connection to the host was lost or came back: told to the link listener; verbs
    /// and queries fail as link_lost() knows it while it is lost.
    void set_reachable(bool reachable, const std::string& reason);
    /// A folder or device without a guest: leftovers() tells it until it is swept or, a folder,
    /// its guest is destroyed with its disks.
    void leave_behind(Leftover leftover);
    /// Ports that are plugged for this guest.
    [[nodiscard]] std::vector<std::string> plugged(const InstanceUuid& uuid) const;

  private:
    [[nodiscard]] Result<void> within_reach() const;
    [[nodiscard]] Result<void> step(const SpawnHooks& hooks, const char* name);
    [[nodiscard]] Result<void> begin(const char* step_name);
    [[nodiscard]] Result<void> pass(Milliseconds span, const std::stop_token& stop) const;
    [[nodiscard]] Result<GuestRecord> find(const InstanceUuid& uuid) const;
    /// Memory first, then the file: calls for one guest are serial, so files keep the order.
    [[nodiscard]] Result<void> put(const GuestRecord& guest);
    [[nodiscard]] Result<void> forget(const InstanceUuid& uuid);
    [[nodiscard]] Result<void> read_state();
    [[nodiscard]] Result<void> make(const GuestSpec& guest, const SpawnHooks& hooks);
    [[nodiscard]] Result<void> start_guest(GuestRecord record, const SpawnHooks& hooks);
    [[nodiscard]] Result<void> boot(GuestRecord record, const SpawnHooks& hooks);
    [[nodiscard]] Result<void> let_run(GuestRecord record, const SpawnHooks& hooks);
    [[nodiscard]] Result<void> change(GuestRecord record, PowerState state, const char* console);
    [[nodiscard]] std::filesystem::path file_of(const InstanceUuid& uuid) const;

    const Options options_;
    const Clock& clock_;
    const WallTime booted_;
    EventQueue events_;
    mutable std::mutex mutex_; ///< guards what follows; no I/O and no callback under it
    std::map<InstanceUuid, GuestRecord> guests_;
    std::multimap<std::string, Error> failures_;
    std::vector<Leftover> left_behind_;
    LinkListener link_;
    std::optional<std::string> lost_; ///< why the host is out of reach
};

} // namespace novalet::hypervisor::simulated
