#pragma once
// The hypervisor in the words of the domain. Two implementations: `libvirt` and `simulated`.
#include "agent/core/clock.hpp"
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"
#include "hypervisor/guest_spec.hpp"
#include "scheduler_hooks/model/host_topology.hpp"

#include <functional>
#include <map>
#include <source_location>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace novalet::hypervisor {

/// A failure of the way to the hypervisor, as Nova names it (nova.exception.HypervisorUnavailable).
[[nodiscard]] inline Failure
link_failure(std::string text, std::source_location where = std::source_location::current()) {
    return Failure(Error{Code::Unavailable,
                         std::move(text),
                         "HypervisorUnavailable",
                         "nova.exception",
                         true,
                         where});
}

/// The link to the hypervisor broke or could not be had (code Unavailable, retryable): the
/// operation did not fail. Whether its effect took place is unknown: look, and do it again once the
/// hypervisor is reachable().
[[nodiscard]] inline bool link_lost(const Error& error) {
    return error.exception == "HypervisorUnavailable";
}

/// Nova's numbers (reference 03 §1.1).
enum class PowerState {
    NoState = 0,
    Running = 1,
    Paused = 3,
    Shutdown = 4,
    Crashed = 6,
    Suspended = 7
};

/// What never changes without a restart plus what the audit asks every minute (reference 04 §7.4).
struct HostFacts {
    std::string hostname;     ///< libvirt's host name = hypervisor_hostname
    std::string type;         ///< "QEMU"
    std::int64_t version = 0; ///< 7002000
    Json cpu_info;            ///< document of ComputeNode.cpu_info
    Json supported_instances; ///< [[arch, hv_type, vm_mode], …]
    unsigned online_cpus = 0;
    std::uint64_t memory_mib = 0;
    std::uint64_t disk_total_gib = 0;          ///< of the file system below instances_path
    std::int64_t disk_available_least_gib = 0; ///< may be negative
    scheduler_hooks::model::HostTopology topology;
    /// Input of the trait computation (reference 05 §4).
    std::vector<std::string> cpu_features; ///< libvirt spelling
    bool hyperthreading = false;
    std::vector<std::string> disk_buses; ///< union over the domain capabilities
    std::vector<std::string> video_models;
    std::vector<std::string> tpm_models;
    std::vector<std::string> tpm_versions;
    bool secure_boot = false;
    bool amd_sev = false;
    std::string arch = "x86_64";
    std::int64_t libvirt_version = 0; ///< 9000000
    std::string uptime;               ///< output of uptime(1)
};

struct GuestInfo {
    InstanceUuid uuid;
    std::string name;
    PowerState state = PowerState::NoState;
    std::uint64_t memory_mib = 0;
    unsigned vcpus = 0;
};

/// Something that happened to a guest; delivered on the hypervisor's event thread.
struct GuestEvent {
    enum class Kind { Stopped, Started, Paused, Resumed, Suspended };
    InstanceUuid uuid;
    Kind kind = Kind::Stopped;
};

struct VncAddress {
    std::string host; ///< server_proxyclient_address
    unsigned port = 0;
};

/// Where the bytes of images come from. Implemented by agent/tasks over Glance with the user's
/// context; the hypervisor decides whether it needs them at all.
class ImageSource {
  public:
    virtual ~ImageSource() = default;
    /// Writes the verified image to the descriptor (positioned at 0). Checksum and size are checked
    /// while writing; an error leaves rubbish behind that the caller removes.
    [[nodiscard]] virtual Result<void> fetch(const ImageId& image, int fd) = 0;
    /// disk_format of that image as Glance claims it.
    [[nodiscard]] virtual Result<std::string> disk_format(const ImageId& image) = 0;
};

/// What the agent wants to hear and steer while a guest is being made.
struct SpawnHooks {
    ImageSource* images = nullptr;
    /// Empty: nothing to wait for. Otherwise the domain is started paused, this is called once, and
    /// the domain is resumed when it returns ok: Neutron reported every awaited port (the caller
    /// registered its waiters before spawn), else VirtualInterfaceCreateException.
    std::function<Result<void>()> wait_for_plugged;
    /// Name of the step that begins now (journal, log).
    std::function<void(const char* step)> step;
    std::stop_token stop; ///< the instance is being deleted or the agent stops: give up soon
};

/// Whose disks they are, said by who ends a guest: Remove, when the server is this host's and is to
/// be no more; Keep, when it lives on elsewhere, perhaps on the very same files.
enum class Disks { Keep, Remove };

struct DestroyOptions {
    explicit DestroyOptions(Disks whose) : disks(whose) {}
    DestroyOptions(Disks whose, std::vector<InterfaceSpec> plugged)
        : disks(whose), interfaces(std::move(plugged)) {}
    Disks disks;
    std::vector<InterfaceSpec> interfaces; ///< to unplug
};

/// Something of a server's kind on this host, for which nobody may be responsible any more.
struct Leftover {
    enum class Kind {
        Folder, ///< an instance's files without a domain
        Domain, ///< made by Nova or novalet; each of them, as records are not known here
        Device  ///< a tap, veth end or bridge named after a port that no domain has
    };
    Kind kind = Kind::Folder;
    InstanceUuid uuid; ///< empty for a device: its name holds a part of the port's id alone
    std::string name;  ///< path of the folder, name of the domain or of the device
    /// At least so long it has been as it is. Folder: since a file was made or written last;
    /// domain: since it was defined; device: since this process saw it first.
    Seconds age{0};
    bool running = false; ///< domain
    bool claimed = false; ///< folder: of a build that this host began and did not end
};

struct PowerOffOptions {
    Seconds timeout{0};         ///< 0 = pull the plug at once
    Seconds retry_interval{10}; ///< the request is sent again each time
};

/// Thread safe. Calls for one guest are serialised by the caller (instance queue). Every verb is
/// idempotent: it looks at what is there and does what is missing. Unknown guest: exception
/// InstanceNotFound, code NotFound.
class Hypervisor {
  public:
    virtual ~Hypervisor() = default;
    /// Connects, checks minimum versions, starts events. Errors are fatal for the start.
    [[nodiscard]] virtual Result<void> start(std::function<void(const GuestEvent&)> sink) = 0;
    virtual void stop() = 0;
    /// Who hears when the hypervisor is out of reach (false, why) and back (true): the service is
    /// disabled and enabled by it (reference 07 §1). Told one at a time and in order, on a thread
    /// of the hypervisor that must not be made to wait, and that asks the hypervisor nothing. Set
    /// before start().
    using LinkListener = std::function<void(bool reachable, const std::string& reason)>;
    virtual void on_link(LinkListener /*listener*/) {} // one that is never out of reach
    /// What the listener was told, or is about to be told: can the hypervisor be asked now?
    [[nodiscard]] virtual bool reachable() const { return true; }

    [[nodiscard]] virtual Result<HostFacts> facts() = 0;
    [[nodiscard]] virtual Result<std::vector<GuestInfo>> list() = 0;
    [[nodiscard]] virtual Result<GuestInfo> info(const InstanceUuid& uuid) = 0;

    /// Image properties hw_* of the hardware that this guest has or will get here, also where its
    /// image names none: for system_metadata, so that they outlive the configuration.
    [[nodiscard]] virtual Result<std::map<std::string, std::string>>
    hardware(const GuestSpec& guest) = 0;

    /// Disks, interfaces, domain, start (paused until the plug events are there), RUNNING.
    /// On failure what this call made is removed again, and what an attempt of this host that was
    /// cut off had made; files and a domain that were there before and are nobody's claim stay.
    /// When the link was lost nothing is removed: the next spawn finds what there is and goes on, or
    /// the caller destroys it.
    [[nodiscard]] virtual Result<void> spawn(const GuestSpec& guest, const SpawnHooks& hooks) = 0;
    /// Guest, interfaces, files. Ok when nothing is left, also when nothing was there. It can be
    /// repeated: each part is looked for by itself, so that files and interfaces go also when the
    /// domain went before. Nothing is removed while the domain's end is not known (Unavailable). An
    /// interface that cannot be unplugged is logged and found by leftovers(), as nova-compute goes
    /// on then.
    [[nodiscard]] virtual Result<void> destroy(const InstanceUuid& uuid,
                                               const DestroyOptions& options) = 0;

    [[nodiscard]] virtual Result<void> power_off(const InstanceUuid& uuid,
                                                 const PowerOffOptions& options) = 0;
    /// Domain defined anew from the spec and started (reference 07 §9); also hard reboot. All that
    /// can fail for the spec or the host is tried before the guest is touched: a guest that runs
    /// goes on running, and one that is defined stays defined. UEFI variables are kept. A guest
    /// that has vanished is made from the files that are there.
    [[nodiscard]] virtual Result<void> power_on(const GuestSpec& guest,
                                                const SpawnHooks& hooks) = 0;
    /// False when the guest did not obey in time: the caller falls back to the hard way.
    [[nodiscard]] virtual Result<bool> soft_reboot(const InstanceUuid& uuid) = 0;
    [[nodiscard]] virtual Result<void> pause(const InstanceUuid& uuid) = 0;
    [[nodiscard]] virtual Result<void> unpause(const InstanceUuid& uuid) = 0;
    [[nodiscard]] virtual Result<void> suspend(const InstanceUuid& uuid) = 0;
    [[nodiscard]] virtual Result<void> resume(const GuestSpec& guest) = 0;
    /// Interfaces of a guest that should run are plugged (start-up repair).
    [[nodiscard]] virtual Result<void> plug(const GuestSpec& guest) = 0;
    /// The interface leaves the running guest and its definition, then its host side is unplugged.
    /// Ok when the guest has none with this MAC. DeviceDetachFailed when the guest does not let go
    /// of it in time: it is out of the definition then, and gone with the next power cycle.
    /// `stop`: the instance is being deleted or the agent stops: give up soon (Cancelled).
    [[nodiscard]] virtual Result<void> detach_interface(const InstanceUuid& uuid,
                                                        const InterfaceSpec& interface,
                                                        const std::stop_token& stop) = 0;

    /// What of a server's kind is on this host (see Leftover): folders of uuids without a domain,
    /// all domains of Nova's kind, devices of ports without a domain. Which of them have an owner
    /// is decided by who knows the records, the builds under way, and whose the storage is.
    [[nodiscard]] virtual Result<std::vector<Leftover>> leftovers() = 0;
    /// Removes one that has no owner, after another look: Conflict when a folder or a device has a
    /// domain by now. Of a domain the folder stays; without it, it is a leftover of its own.
    [[nodiscard]] virtual Result<void> sweep(const Leftover& leftover) = 0;

    /// Last bytes of the console log over the rotated files, at most 100 KiB.
    [[nodiscard]] virtual Result<std::string> console_log(const InstanceUuid& uuid) = 0;
    [[nodiscard]] virtual Result<VncAddress> vnc(const InstanceUuid& uuid) = 0;
    [[nodiscard]] virtual Result<std::string> uptime() = 0;
};

} // namespace novalet::hypervisor
