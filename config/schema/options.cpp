// The table. OPTION(vnc.enabled, …) names the member and the YAML path at once, so they cannot
// differ; the default is what a new Config holds.
#include "config/schema/option.hpp"

#include <algorithm>

namespace novalet::config {
namespace {

constexpr double day = 86400;
constexpr double no_limit = 0;

struct Extra {
    Unit unit = Unit::None;
    double min = 0;
    double max = no_limit;
    std::vector<std::string> words{};
    std::vector<std::string> keys{};
    Form form = Form::Any;
    bool required = false;
    bool reloadable = false;
};

Option make(std::string path, Target target, std::string help, Extra extra = {}) {
    return {std::move(path),
            target,
            std::move(help),
            extra.unit,
            extra.min,
            extra.max,
            std::move(extra.words),
            std::move(extra.keys),
            extra.form,
            extra.required,
            extra.reloadable};
}

template <class E> bool set_word(E& into, std::string_view word) {
    const auto& words = words_of(E{});
    const auto found = std::find(words.begin(), words.end(), word);
    if (found == words.end())
        return false;
    into = static_cast<E>(found - words.begin());
    return true;
}

template <class E> std::string word_of(E value) {
    return words_of(value)[static_cast<std::size_t>(value)];
}

#define AT(member) +[](Config& c) -> decltype((c.member)) { return c.member; }
#define OPTION(member, ...) all.push_back(make(#member, AT(member), __VA_ARGS__))
#define WORD_OPTION(member, ...)                                                                   \
    all.push_back(make(                                                                            \
        #member,                                                                                   \
        WordMember{[](const Config& c) { return word_of(c.member); },                              \
                   [](Config& c, std::string_view word) { return set_word(c.member, word); }},     \
        __VA_ARGS__));                                                                             \
    all.back().words = words_of(decltype(Config{}.member){})

Extra seconds(double min = 0, double max = 365 * day) {
    return {.unit = Unit::Seconds, .min = min, .max = max};
}

void add_identity(std::vector<Option>& all) {
    OPTION(host,
           "Name of this compute host: service record, RPC server and Neutron binding host. Empty: "
           "the system's host name. It must not change while the host has servers.",
           {.form = Form::HostName});
    OPTION(my_ip,
           "Address other hosts reach this one at. Empty: source address of the default route.",
           {.form = Form::IpAddress});
    OPTION(state_path,
           "Folder of what outlives a restart: compute_id file, instances, journal.",
           {.form = Form::AbsolutePath});
    OPTION(instances_path,
           "Folder of the guests' disks and of the image cache. Empty: <state_path>/instances.",
           {.form = Form::AbsolutePath});
    OPTION(instance_name_template,
           "Name of the libvirt domain: one of %x, %d, %s (number of the instance, with the usual "
           "width) or %(field)s of the instance. Servers made with another template keep theirs.",
           {.form = Form::NameTemplate});
}

void add_transport(std::vector<Option>& all) {
    OPTION(transport.url,
           "Where the broker is: rabbit://user:password@host:5672,user:password@host2/vhost. "
           "Several hosts are tried in turn; user and password are percent-encoded.",
           {.form = Form::TransportUrl, .required = true});
    OPTION(transport.control_exchange, "Topic exchange of Nova.");
    OPTION(transport.rpc_response_timeout, "How long a call waits for its answer.", seconds(1));
    OPTION(transport.amqp_durable_queues,
           "Durable queues and exchanges. Must equal the control plane's.");
    OPTION(transport.amqp_auto_delete,
           "Queues and exchanges vanish with their last user. Must equal the control plane's.");
    OPTION(transport.rabbit_ha_queues,
           "Mirrored queues of brokers before RabbitMQ 3. Must equal the control plane's.");
    OPTION(transport.rabbit_quorum_queue,
           "Quorum queues for topics. Must equal the control plane's.");
    OPTION(transport.rabbit_quorum_delivery_limit,
           "Deliveries after which a quorum queue drops a message; 0 = never. Must equal the "
           "control plane's.");
    OPTION(
        transport.rabbit_quorum_max_memory_length,
        "Messages a quorum queue keeps in memory; 0 = no limit. Must equal the control plane's.");
    OPTION(transport.rabbit_quorum_max_memory_bytes,
           "Bytes a quorum queue keeps in memory; 0 = no limit. Must equal the control plane's.",
           {.unit = Unit::Bytes});
    OPTION(transport.rabbit_transient_quorum_queue,
           "Quorum queues also for replies and fan-out (2025.1 and later). Must equal the control "
           "plane's.");
    OPTION(transport.rabbit_transient_queues_ttl,
           "How long unused reply and fan-out queues live; 0 = for ever. Must equal the control "
           "plane's.",
           seconds());
    OPTION(transport.heartbeat,
           "A connection that is silent for so long is given up; 0 = never. The broker may ask for "
           "less.",
           seconds(0, 3600));
    OPTION(transport.connect_timeout, "For TCP, TLS and login together.", seconds(1, 600));
    OPTION(transport.retry_interval, "First pause after a lost connection.", seconds(1, 3600));
    OPTION(transport.retry_backoff,
           "Added to the pause after each failed round over all hosts.",
           seconds(0, 3600));
    OPTION(transport.retry_max, "Longest pause between two rounds.", seconds(1, 3600));
    OPTION(transport.prefetch,
           "Requests that may be delivered before the first of them is acknowledged.",
           {.min = 1, .max = 65535});
    OPTION(transport.max_message_bytes,
           "Larger messages are rejected unread.",
           {.unit = Unit::Bytes, .min = 1024 * 1024, .max = 1024.0 * 1024 * 1024});
    OPTION(transport.tls.enabled, "Speak TLS with the broker.");
    OPTION(transport.tls.ca_file,
           "Authorities that may sign the broker's certificate. Empty: the system's.",
           {.form = Form::AbsolutePath});
    OPTION(transport.tls.cert_file,
           "Client certificate (PEM); needs key_file.",
           {.form = Form::AbsolutePath});
    OPTION(transport.tls.key_file, "Key of cert_file (PEM).", {.form = Form::AbsolutePath});
    OPTION(transport.tls.verify_host_name,
           "The broker's certificate must be for the host that was asked for.");
}

void add_compat(std::vector<Option>& all) {
    OPTION(compat.release,
           "Which Nova to speak with; auto = find out from the control plane.",
           {.words = {"auto", "zed", "epoxy", "gazpacho", "hibiscus"}});
    OPTION(compat.service_version,
           "Version in the service record; 0 = that of the release. A number above the control "
           "plane's breaks it, a lower one keeps its features off.",
           {.max = 9999});
}

#define ACCOUNT_OPTIONS(section, otherwise)                                                        \
    OPTION(section.auth_url,                                                                       \
           "Keystone, with or without /v3." otherwise,                                             \
           {.form = Form::Url, .required = std::string_view(otherwise).empty()});                  \
    OPTION(section.username, "User that speaks for this agent." otherwise);                        \
    OPTION(section.password, "Password of the user." otherwise);                                   \
    OPTION(section.user_domain_name, "Domain of the user." otherwise);                             \
    OPTION(section.project_name, "Project of the user." otherwise);                                \
    OPTION(section.project_domain_name, "Domain of the project." otherwise);                       \
    OPTION(section.application_credential_id,                                                      \
           "Application credential, instead of user and password." otherwise);                     \
    OPTION(section.application_credential_secret, "Secret of the application credential." otherwise)

#define CATALOG_OPTIONS(section, otherwise)                                                        \
    OPTION(section.region_name, "Region of the services; empty = any." otherwise);                 \
    OPTION(section.valid_interfaces,                                                               \
           "Kinds of endpoints to use, the best first." otherwise,                                 \
           {.words = {"internal", "public", "admin"}})

#define SESSION_OPTIONS(section, otherwise)                                                        \
    OPTION(                                                                                        \
        section.ca_file,                                                                           \
        "Authorities that may sign the services' certificates; empty = the system's." otherwise,   \
        {.form = Form::AbsolutePath});                                                             \
    OPTION(section.insecure, "Do not verify certificates; for trials only." otherwise);            \
    OPTION(section.timeout, "How long one HTTP request may take." otherwise, seconds(1, 3600))

#define ACCESS_OPTIONS(section, otherwise)                                                         \
    ACCOUNT_OPTIONS(section, otherwise);                                                           \
    CATALOG_OPTIONS(section, otherwise);                                                           \
    SESSION_OPTIONS(section, otherwise)

#define AS_KEYSTONE " Not set: as in keystone."
#define ENDPOINT_OVERRIDE(section)                                                                 \
    OPTION(section.endpoint_override,                                                              \
           "URL of the service, instead of looking into the catalog.",                             \
           {.form = Form::Url})

void add_services(std::vector<Option>& all) {
    ACCESS_OPTIONS(keystone, "");
    ACCESS_OPTIONS(placement, AS_KEYSTONE);
    ENDPOINT_OVERRIDE(placement);
    ACCESS_OPTIONS(neutron, AS_KEYSTONE);
    ENDPOINT_OVERRIDE(neutron);
    OPTION(neutron.ovs_bridge, "Integration bridge, when Neutron names none.");
    ACCESS_OPTIONS(glance, AS_KEYSTONE);
    ENDPOINT_OVERRIDE(glance);
    OPTION(glance.num_retries, "How often a failed image download is tried again.", {.max = 100});
    ACCOUNT_OPTIONS(cinder, AS_KEYSTONE);
    SESSION_OPTIONS(cinder, AS_KEYSTONE);
    OPTION(cinder.catalog_info,
           "Which service of the catalog is Cinder; the name may be left out.",
           {.form = Form::CatalogInfo});
    OPTION(cinder.endpoint_template,
           "URL of Cinder's API v3, instead of looking into the catalog; %(project_id)s stands for "
           "the project of the request.",
           {.form = Form::Url});
    OPTION(cinder.os_region_name, "Region of Cinder; empty = region_name of keystone.");
    OPTION(cinder.http_retries,
           "How often a request that did not reach Cinder is sent again.",
           {.max = 100});
    ACCESS_OPTIONS(service_user, AS_KEYSTONE);
    OPTION(service_user.send_service_user_token,
           "Send a token of this account along with the user's token, so that long operations "
           "outlive the user's token.");
}

void add_hypervisor(std::vector<Option>& all) {
    WORD_OPTION(hypervisor.kind,
                "libvirt: guests on this host. simulated: no guests at all, only their records.");
    OPTION(hypervisor.simulated.hosts,
           "How many hosts this process plays. With more than one, they are called <host>-1, "
           "<host>-2 and so on.",
           {.min = 1, .max = 10000});
    OPTION(hypervisor.simulated.vcpus, "CPUs of one host.", {.min = 1, .max = 8192});
    OPTION(hypervisor.simulated.memory,
           "Memory of one host.",
           {.unit = Unit::MiB, .min = 512, .max = 1024.0 * 1024 * 1024});
    OPTION(hypervisor.simulated.disk,
           "Disk of one host.",
           {.unit = Unit::GiB, .min = 1, .max = 1024.0 * 1024});
    OPTION(hypervisor.simulated.numa_cells, "NUMA cells of one host.", {.min = 1, .max = 64});
    const Extra latency{.unit = Unit::Milliseconds, .max = 600000};
    OPTION(hypervisor.simulated.spawn_latency, "How long making a guest takes.", latency);
    OPTION(hypervisor.simulated.destroy_latency, "How long removing a guest takes.", latency);
}

void add_libvirt(std::vector<Option>& all) {
    OPTION(libvirt.connection_uri, "The hypervisor as libvirt names it.");
    OPTION(libvirt.virt_type,
           "kvm: hardware virtualization. qemu: emulation, slow, for machines without it.",
           {.words = {"kvm", "qemu"}});
    OPTION(libvirt.cpu_mode,
           "CPU that guests see. Empty: host-model, on aarch64 host-passthrough.",
           {.words = {"", "host-model", "host-passthrough", "custom", "none"}});
    OPTION(libvirt.cpu_models, "Models for cpu_mode custom, the first is the preferred one.");
    OPTION(libvirt.cpu_model_extra_flags,
           "CPU flags to add (+flag or flag) or to take away (-flag).");
    OPTION(libvirt.hw_machine_type,
           "Machine type by architecture, for example {x86_64: q35}, when the image names none.",
           {.keys = {"x86_64", "aarch64", "i686", "ppc64le", "s390x"}});
    OPTION(libvirt.images_type,
           "Format of the guests' local disks: qcow2 overlays (default, qcow2) or raw copies.",
           {.words = {"default", "qcow2", "raw"}});
    OPTION(libvirt.disk_cachemodes,
           "Cache mode of local disks, for example {file: writeback}. Not set: none, or writeback "
           "where the file system lacks O_DIRECT.",
           {.words = {"default", "none", "writethrough", "writeback", "directsync", "unsafe"},
            .keys = {"file", "block", "network", "mount"}});
    OPTION(libvirt.hw_disk_discard,
           "What happens to blocks that a guest discards.",
           {.words = {"", "ignore", "unmap"}});
    OPTION(libvirt.rng_dev_path,
           "Source of the guests' random numbers.",
           {.form = Form::AbsolutePath});
    OPTION(libvirt.mem_stats_period,
           "How often the balloon reports the guest's memory; 0 = never.",
           seconds(0, 3600));
    OPTION(libvirt.num_pcie_ports,
           "PCIe ports for hot-plug of q35 guests; 0 = as libvirt decides.",
           {.max = 28});
    OPTION(libvirt.sysinfo_serial,
           "Serial number that a guest's firmware shows.",
           {.words = {"none", "os", "hardware", "auto", "unique"}});
    OPTION(libvirt.pointer_model,
           "Pointer device of guests with a graphical console.",
           {.words = {"usbtablet", "ps2mouse"}});
    OPTION(libvirt.wait_soft_reboot,
           "A guest that ignores a soft reboot for so long is reset.",
           seconds(0, 3600));
    OPTION(libvirt.device_detach_attempts,
           "A running guest is asked so often to let go of a device.",
           {.min = 1, .max = 100});
    OPTION(libvirt.device_detach_timeout, "How long a guest is given each time.", seconds(1, 3600));
    OPTION(libvirt.realtime_scheduler_priority,
           "Priority of the vCPU threads of realtime guests.",
           {.min = 1, .max = 99});
}

void add_disks(std::vector<Option>& all) {
    OPTION(images.force_raw_images, "Images are kept as raw files in the cache.");
    OPTION(images.default_ephemeral_format,
           "File system of ephemeral disks; empty = by the guest's operating system.",
           {.words = {"", "ext2", "ext3", "ext4", "xfs", "vfat", "ntfs"}});
    OPTION(images.max_concurrent_downloads,
           "Different images that are fetched at the same time.",
           {.min = 1, .max = 100});
    OPTION(images.address_space_limit,
           "Memory that qemu-img may use while it looks at an image.",
           {.unit = Unit::MiB, .min = 256, .max = 1024.0 * 1024});
    OPTION(images.cpu_time_limit,
           "CPU time that qemu-img may use while it looks at an image.",
           seconds(1, 3600));
    OPTION(image_cache.subdirectory_name, "Folder of the cache below instances_path.");
    OPTION(image_cache.manager_interval,
           "How often unused images are looked for; 0 = never.",
           seconds());
    OPTION(image_cache.remove_unused_base_images, "Unused images are removed.");
    OPTION(image_cache.remove_unused_original_minimum_age,
           "Images that were used within this time stay.",
           seconds());
    OPTION(config_drive.force, "Every guest gets a config drive.");
    OPTION(config_drive.format, "File system of the config drive.", {.words = {"iso9660", "vfat"}});
    OPTION(config_drive.dhcp_domain, "Domain added to host names in the metadata; empty = none.");
    OPTION(config_drive.availability_zone, "Zone in the metadata when the server names none.");
}

void add_console(std::vector<Option>& all) {
    OPTION(vnc.enabled, "Guests get a graphical console over VNC.");
    OPTION(vnc.server_listen, "Address that QEMU listens on.", {.form = Form::IpAddress});
    OPTION(vnc.server_proxyclient_address, "Address at which the console proxy reaches this host.");
    OPTION(
        vnc.novncproxy_base_url, "URL of the console proxy that users get.", {.form = Form::Url});
    OPTION(vnc.token_ttl, "How long a console URL is good for.", seconds(1));
}

void add_compute(std::vector<Option>& all) {
    OPTION(compute.cpu_shared_set,
           "CPUs for floating vCPUs and emulator threads, as in \"0-3,^2\". Empty: all of the "
           "host, or "
           "none when cpu_dedicated_set is given.",
           {.form = Form::CpuList});
    OPTION(compute.cpu_dedicated_set,
           "CPUs for pinned vCPUs. Must not overlap with cpu_shared_set.",
           {.form = Form::CpuList});
    OPTION(compute.reserved_host_cpus, "CPUs that Placement does not give to guests.");
    OPTION(compute.reserved_host_memory,
           "Memory that Placement does not give to guests.",
           {.unit = Unit::MiB});
    OPTION(compute.reserved_host_disk,
           "Disk that Placement does not give to guests.",
           {.unit = Unit::MiB});
    OPTION(compute.reserved_huge_pages,
           "Huge pages that guests never get, by NUMA cell: [{node: 0, size: 2 MiB, count: 64}].");
    OPTION(compute.huge_page_pools,
           "Pools of huge pages that the agent makes larger and smaller as guests come and go, "
           "never below what is used: [{node: 0, size: 2 MiB, min: 0, max: 4096, spare: 512}]. "
           "Empty: the kernel's pools are left alone.");
    const Extra ratio{.min = 0, .max = 10000};
    OPTION(compute.cpu_allocation_ratio,
           "vCPUs per CPU. Not set: what Placement has, so that it can be set through the API.",
           ratio);
    OPTION(compute.ram_allocation_ratio, "The same for memory.", ratio);
    OPTION(compute.disk_allocation_ratio, "The same for disk.", ratio);
    OPTION(compute.initial_cpu_allocation_ratio,
           "vCPUs per CPU when the host is new. Not set: the release's (zed 16, later 4).",
           ratio);
    OPTION(compute.initial_ram_allocation_ratio, "The same for memory (zed 1.5, later 1).", ratio);
    OPTION(compute.initial_disk_allocation_ratio, "The same for disk (1).", ratio);
    OPTION(compute.packing_host_numa_cells_allocation_strategy,
           "Guests with NUMA topology go to the fullest cells first instead of the emptiest.");
    OPTION(
        compute.image_type_exclude_list,
        "Image formats that this host does not offer.",
        {.words = {
             "raw", "qcow2", "ami", "ari", "aki", "iso", "vhd", "vhdx", "vmdk", "vdi", "ploop"}});
    OPTION(compute.consecutive_build_service_disable_threshold,
           "Failed builds in a row after which the scheduler avoids this host; 0 = never.");
    OPTION(compute.resource_provider_association_refresh,
           "How often what Placement knows is read anew; 0 = once.",
           seconds());
    OPTION(compute.max_concurrent_builds,
           "Guests made at the same time; 0 = no limit.",
           {.max = 10000});
    OPTION(compute.task_threads, "Operations under way at the same time.", {.min = 2, .max = 1024});
    OPTION(compute.enable_new_services, "A new host may get guests at once.");
    OPTION(compute.resume_guests_state_on_host_boot,
           "Guests that ran before the host went down are started again.");
    OPTION(compute.track_instance_changes,
           "Tell the schedulers which guests are here (affinity). As in the scheduler's "
           "configuration.");
    OPTION(compute.handle_virt_lifecycle_events,
           "A guest that stops or starts by itself changes its server's state at once.");
}

void add_intervals(std::vector<Option>& all) {
    OPTION(intervals.report_interval, "Heartbeat of the service record.", seconds(1, 3600));
    OPTION(intervals.service_down_time,
           "The control plane's service_down_time; must be longer than report_interval.",
           seconds(1));
    OPTION(intervals.update_resources,
           "Audit of the host's resources; sent only when something changed.",
           seconds(1));
    OPTION(intervals.sync_power_state, "Comparison of all power states; 0 = off.", seconds());
    OPTION(intervals.heal_instance_info_cache,
           "One guest's network information is compared with Neutron; 0 = off.",
           seconds());
    OPTION(intervals.scheduler_instance_sync,
           "The schedulers get the list of guests; 0 = off.",
           seconds());
    OPTION(intervals.running_deleted_instance_poll,
           "Guests of deleted servers are looked for; 0 = off.",
           seconds());
    OPTION(intervals.instance_delete,
           "Files that a deletion left behind are looked for; 0 = off.",
           seconds());
    OPTION(intervals.periodic_fuzzy_delay,
           "Periodic tasks begin at a random moment within this time.",
           seconds(0, 3600));
    OPTION(running_deleted_instance.action,
           "What happens to a guest whose server is deleted in the database.",
           {.words = {"noop", "log", "shutdown", "reap"}});
    OPTION(running_deleted_instance.timeout,
           "The server must have been deleted for at least this long.",
           seconds());
}

void add_work(std::vector<Option>& all) {
    OPTION(networking.vif_plugging_is_fatal,
           "A guest whose ports Neutron does not report as plugged in time is not made.");
    OPTION(networking.vif_plugging_timeout,
           "How long Neutron's report is waited for; 0 = not at all.",
           seconds(0, 3600));
    OPTION(networking.network_allocate_retries,
           "How often a failed allocation of ports is tried again.",
           {.max = 100});
    OPTION(notifications.enabled,
           "Send notifications (driver messagingv2 of the control plane's configuration).");
    WORD_OPTION(notifications.format, "Which of Nova's two formats.");
    OPTION(notifications.topics, "Topics of unversioned notifications.");
    OPTION(notifications.versioned_topics, "Topics of versioned notifications.");
    OPTION(notifications.default_level,
           "Priority of notifications that are no errors.",
           {.words = {"DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"}});
    OPTION(shutdown.guest_timeout,
           "A guest that does not power off for so long is stopped hard (image property "
           "os_shutdown_timeout wins).",
           seconds(0, 3600));
    OPTION(shutdown.guest_retry_interval,
           "The guest is asked again after this time.",
           seconds(1, 3600));
    OPTION(shutdown.graceful_timeout,
           "When novalet stops, running work has this long to reach a safe point.",
           seconds(0, 3600));
    OPTION(journal.path,
           "Record of accepted requests. Empty: <state_path>/novalet/journal.sqlite.",
           {.form = Form::AbsolutePath});
    OPTION(journal.retention,
           "How long finished requests are remembered, so that a repeated one is not done twice.",
           seconds(600));
    Extra reloadable;
    reloadable.reloadable = true;
    WORD_OPTION(log.level, "Least important lines that are written.", reloadable);
    OPTION(log.path,
           "File for the log, opened again on SIGHUP; empty = standard error.",
           {.form = Form::AbsolutePath});
    OPTION(telemetry.listen,
           "Where GET /metrics and GET /health are answered: 127.0.0.1:9177, [::1]:9177 or "
           "unix:/run/novalet/telemetry.sock; empty = nowhere.",
           {.form = Form::Listen});
}

std::vector<Option> table() {
    std::vector<Option> all;
    add_identity(all);
    add_transport(all);
    add_compat(all);
    add_services(all);
    add_hypervisor(all);
    add_libvirt(all);
    add_disks(all);
    add_console(all);
    add_compute(all);
    add_intervals(all);
    add_work(all);
    return all;
}

} // namespace

const std::vector<Option>& options() {
    static const std::vector<Option> all = table();
    return all;
}

const Option* find_option(std::string_view path) noexcept {
    const auto& all = options();
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const Option& o) { return o.path == path; });
    return found == all.end() ? nullptr : &*found;
}

const std::vector<std::string>& words_of(HypervisorKind /*kind*/) {
    static const std::vector<std::string> words{"libvirt", "simulated"};
    return words;
}

const std::vector<std::string>& words_of(NotificationFormat /*format*/) {
    static const std::vector<std::string> words{"unversioned", "versioned", "both"};
    return words;
}

const std::vector<std::string>& words_of(log::Level /*level*/) {
    static const std::vector<std::string> words{"debug", "info", "warning", "error"};
    return words;
}

} // namespace novalet::config
