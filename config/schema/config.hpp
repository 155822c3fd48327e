#pragma once
// The configuration as one plain value. A member's path is the option's path in the YAML file; its
// initial value is the option's default; options.cpp describes each one (unit, range, help).
// Immutable after loading, so any thread may read it. Names are Nova's where Nova has the option
// (reference 09).
#include "agent/core/clock.hpp"
#include "agent/core/log.hpp"
#include "agent/core/secret.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace novalet::config {

using Texts = std::vector<std::string>;
using TextMap = std::map<std::string, std::string>;

/// Huge pages of one host NUMA cell that guests never get.
struct ReservedHugePages {
    unsigned node = 0;       ///< cell number as in sysfs
    std::uint64_t size = 0;  ///< KiB per page
    std::uint64_t count = 0; ///< pages
    [[nodiscard]] bool operator==(const ReservedHugePages&) const = default;
};

/// How many huge pages the kernel keeps while guests come and go; counts are pages.
struct HugePagePoolPolicy {
    unsigned node = 0;       ///< cell number as in sysfs
    std::uint64_t size = 0;  ///< KiB per page
    std::uint64_t min = 0;   ///< never fewer
    std::uint64_t max = 0;   ///< never more
    std::uint64_t spare = 0; ///< free ones in store
    [[nodiscard]] bool operator==(const HugePagePoolPolicy&) const = default;
};

enum class HypervisorKind { Libvirt, Simulated };
enum class NotificationFormat { Unversioned, Versioned, Both };

struct Tls {
    bool enabled = false;
    std::string ca_file;   ///< empty = the system's store
    std::string cert_file; ///< client certificate; both or none
    std::string key_file;
    bool verify_host_name = true;
};

struct Transport {
    Secret url; ///< transport_url of Nova; required
    std::string control_exchange = "nova";
    Seconds rpc_response_timeout{60};
    // These have to equal the control plane's: exchanges and queues are shared (reference 01 §2).
    bool amqp_durable_queues = false;
    bool amqp_auto_delete = false;
    bool rabbit_ha_queues = false;
    bool rabbit_quorum_queue = false;
    unsigned rabbit_quorum_delivery_limit = 0;
    unsigned rabbit_quorum_max_memory_length = 0;
    std::uint64_t rabbit_quorum_max_memory_bytes = 0;
    bool rabbit_transient_quorum_queue = false;
    Seconds rabbit_transient_queues_ttl{1800};
    // Private to this agent.
    Seconds heartbeat{60};
    Seconds connect_timeout{10};
    Seconds retry_interval{1};
    Seconds retry_backoff{2};
    Seconds retry_max{30};
    unsigned prefetch = 256;
    std::uint64_t max_message_bytes = 128U << 20U;
    Tls tls;
};

struct Compat {
    std::string release = "auto"; ///< "auto" or the name of a release profile
    unsigned service_version = 0; ///< 0 = the release's own
};

/// An account at Keystone and how services are reached with it. In the sections of services an
/// empty text means "as in `keystone`"; after loading these are filled in.
struct Access {
    std::string auth_url;
    std::string username;
    Secret password;
    std::string user_domain_name;
    std::string project_name;
    std::string project_domain_name;
    std::string application_credential_id; ///< instead of user, password and project
    Secret application_credential_secret;
    std::string region_name;
    Texts valid_interfaces; ///< first that the catalog has
    std::string ca_file;
    std::optional<bool> insecure;
    std::optional<Seconds> timeout;
};

struct Placement : Access {
    std::string endpoint_override;
};

struct Neutron : Access {
    std::string endpoint_override;
    std::string ovs_bridge = "br-int";
};

struct Glance : Access {
    std::string endpoint_override;
    unsigned num_retries = 3;
};

/// Found by catalog_info and os_region_name, not by region_name and valid_interfaces.
struct Cinder : Access {
    std::string catalog_info = "volumev3::publicURL"; ///< type:name:interface
    std::string endpoint_template;                    ///< instead of looking into the catalog
    std::string os_region_name;                       ///< after loading that of keystone, if empty
    unsigned http_retries = 3;
};

struct ServiceUser : Access {
    bool send_service_user_token = false;
};

struct Simulated {
    unsigned hosts = 1; ///< more than one: names are <host>-1 … <host>-n
    unsigned vcpus = 64;
    std::uint64_t memory = 262144; ///< MiB
    std::uint64_t disk = 2048;     ///< GiB
    unsigned numa_cells = 2;
    Milliseconds spawn_latency{0};
    Milliseconds destroy_latency{0};
};

struct Hypervisor {
    HypervisorKind kind = HypervisorKind::Libvirt;
    Simulated simulated;
};

struct Libvirt {
    std::string connection_uri = "qemu:///system";
    std::string virt_type = "kvm"; ///< kvm, qemu
    std::string cpu_mode;          ///< empty: host-model on x86_64, host-passthrough on aarch64
    Texts cpu_models;
    Texts cpu_model_extra_flags;
    TextMap hw_machine_type;             ///< architecture → machine type
    std::string images_type = "default"; ///< default (qcow2 overlays), qcow2, raw
    TextMap disk_cachemodes;             ///< file, block, network → cache mode
    std::string hw_disk_discard;         ///< empty, ignore, unmap
    std::string rng_dev_path = "/dev/urandom";
    Seconds mem_stats_period{10}; ///< 0 = no statistics
    unsigned num_pcie_ports = 0;
    std::string sysinfo_serial = "unique";   ///< none, os, hardware, auto, unique
    std::string pointer_model = "usbtablet"; ///< usbtablet, ps2mouse
    Seconds wait_soft_reboot{120};
    unsigned device_detach_attempts = 8;
    Seconds device_detach_timeout{20};
    unsigned realtime_scheduler_priority = 1;
};

struct Images {
    bool force_raw_images = true;
    std::string default_ephemeral_format; ///< empty = by the guest's os_type
    unsigned max_concurrent_downloads = 4;
    std::uint64_t address_space_limit = 1024; ///< MiB of qemu-img
    Seconds cpu_time_limit{30};               ///< of qemu-img
};

struct ImageCache {
    std::string subdirectory_name = "_base";
    Seconds manager_interval{2400}; ///< 0 = off
    bool remove_unused_base_images = true;
    Seconds remove_unused_original_minimum_age{86400};
};

struct ConfigDrive {
    bool force = false;
    std::string format = "iso9660"; ///< iso9660, vfat
    std::string dhcp_domain = "novalocal";
    std::string availability_zone = "nova"; ///< when the instance names none
};

struct Vnc {
    bool enabled = true;
    std::string server_listen = "127.0.0.1";
    std::string server_proxyclient_address = "127.0.0.1";
    std::string novncproxy_base_url = "http://127.0.0.1:6080/vnc_auto.html";
    Seconds token_ttl{600};
};

struct Compute {
    std::string cpu_shared_set;    ///< "0-3,^2"; empty = not configured
    std::string cpu_dedicated_set; ///< empty = no dedicated CPUs
    unsigned reserved_host_cpus = 0;
    std::uint64_t reserved_host_memory = 512; ///< MiB
    std::uint64_t reserved_host_disk = 0;     ///< MiB
    std::vector<ReservedHugePages> reserved_huge_pages;
    std::vector<HugePagePoolPolicy> huge_page_pools; ///< empty = the kernel's pools are left alone
    std::optional<double> cpu_allocation_ratio;      ///< none = what Placement has, or initial_*
    std::optional<double> ram_allocation_ratio;
    std::optional<double> disk_allocation_ratio;
    std::optional<double> initial_cpu_allocation_ratio; ///< none = the release's
    std::optional<double> initial_ram_allocation_ratio;
    std::optional<double> initial_disk_allocation_ratio;
    bool packing_host_numa_cells_allocation_strategy = false;
    Texts image_type_exclude_list;
    unsigned consecutive_build_service_disable_threshold = 10; ///< 0 = failures do not count
    Seconds resource_provider_association_refresh{300};        ///< 0 = once
    unsigned max_concurrent_builds = 10;                       ///< 0 = unlimited
    unsigned task_threads = 16;
    bool enable_new_services = true;
    bool resume_guests_state_on_host_boot = false;
    bool track_instance_changes = true;
    bool handle_virt_lifecycle_events = true;
};

/// 0 switches a periodic task off.
struct Intervals {
    Seconds report_interval{10};
    Seconds service_down_time{60}; ///< the control plane's; only compared with report_interval
    Seconds update_resources{60};
    Seconds sync_power_state{600};
    Seconds heal_instance_info_cache{60};
    Seconds scheduler_instance_sync{120};
    Seconds running_deleted_instance_poll{1800};
    Seconds instance_delete{300};
    Seconds periodic_fuzzy_delay{60};
};

struct RunningDeleted {
    std::string action = "reap"; ///< noop, log, shutdown, reap
    Seconds timeout{0};
};

struct Networking {
    bool vif_plugging_is_fatal = true;
    Seconds vif_plugging_timeout{300}; ///< 0 = do not wait
    unsigned network_allocate_retries = 0;
};

struct Notifications {
    bool enabled = false; ///< driver messagingv2 of oslo.messaging
    NotificationFormat format = NotificationFormat::Unversioned;
    Texts topics{"notifications"};
    Texts versioned_topics{"versioned_notifications"};
    std::string default_level = "INFO";
};

struct Shutdown {
    Seconds guest_timeout{60};        ///< clean power-off of a guest
    Seconds guest_retry_interval{10}; ///< the request is sent again each time
    Seconds graceful_timeout{60};     ///< running work may reach a safe point
};

struct JournalOptions {
    std::string path;         ///< empty = <state_path>/novalet/journal.sqlite
    Seconds retention{86400}; ///< unique ids of finished requests are remembered
};

struct Log {
    log::Level level = log::Level::Info;
    std::string path; ///< empty = stderr
};

struct Telemetry {
    std::string listen; ///< "127.0.0.1:9177", "[::1]:9177" or "unix:/path"; empty = off
};

struct Config {
    std::string host;  ///< never empty after loading
    std::string my_ip; ///< never empty after loading
    std::string state_path = "/var/lib/nova";
    std::string instances_path; ///< never empty after loading
    std::string instance_name_template = "instance-%08x";
    Transport transport;
    Compat compat;
    Access keystone = keystone_defaults();
    Placement placement;
    Neutron neutron;
    Glance glance;
    Cinder cinder;
    ServiceUser service_user;
    Hypervisor hypervisor;
    Libvirt libvirt;
    Images images;
    ImageCache image_cache;
    ConfigDrive config_drive;
    Vnc vnc;
    Compute compute;
    Intervals intervals;
    RunningDeleted running_deleted_instance;
    Networking networking;
    Notifications notifications;
    Shutdown shutdown;
    JournalOptions journal;
    Log log;
    Telemetry telemetry;

    [[nodiscard]] static Access keystone_defaults();
};

} // namespace novalet::config
