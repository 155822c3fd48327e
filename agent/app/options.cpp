#include "agent/app/options.hpp"

#include "agent/clients/cinder.hpp"
#include "agent/core/text.hpp"

namespace novalet::app {

Result<amqp::Options> amqp_options(const config::Config& config) {
    const auto& transport = config.transport;
    amqp::Options out;
    NOVALET_ASSIGN(out.url, amqp::TransportUrl::parse(transport.url.reveal()));
    out.tls.enabled = out.url.tls.value_or(transport.tls.enabled);
    out.tls.ca_file = transport.tls.ca_file;
    out.tls.cert_file = transport.tls.cert_file;
    out.tls.key_file = transport.tls.key_file;
    out.tls.verify_host_name = transport.tls.verify_host_name;
    out.heartbeat = transport.heartbeat;
    out.connect_timeout = transport.connect_timeout;
    out.retry_interval = transport.retry_interval;
    out.retry_backoff = transport.retry_backoff;
    out.retry_max = transport.retry_max;
    out.prefetch = transport.prefetch;
    out.max_body = transport.max_message_bytes;
    out.connection_name = "novalet " + config.host;
    NOVALET_TRY(amqp::apply_overrides(out));
    return out;
}

Result<rpc::TopologyOptions> topology_options(const config::Config& config) {
    const auto& transport = config.transport;
    rpc::TopologyOptions out;
    out.control_exchange = transport.control_exchange;
    out.durable = transport.amqp_durable_queues;
    out.auto_delete = transport.amqp_auto_delete;
    out.ha_queues = transport.rabbit_ha_queues;
    out.quorum = transport.rabbit_quorum_queue;
    out.quorum_delivery_limit = transport.rabbit_quorum_delivery_limit;
    out.quorum_max_memory_length = transport.rabbit_quorum_max_memory_length;
    out.quorum_max_memory_bytes =
        static_cast<std::int64_t>(transport.rabbit_quorum_max_memory_bytes);
    out.transient_quorum = transport.rabbit_transient_quorum_queue;
    out.transient_ttl = transport.rabbit_transient_queues_ttl;
    NOVALET_ASSIGN(const auto url, amqp::TransportUrl::parse(transport.url.reveal()));
    NOVALET_TRY(rpc::apply_overrides(url.overrides, out));
    return out;
}

clients::AuthOptions auth_options(const config::Access& access) {
    clients::AuthOptions out;
    out.auth_url = access.auth_url;
    out.username = access.username;
    out.password = access.password;
    out.user_domain_name = access.user_domain_name;
    out.project_name = access.project_name;
    out.project_domain_name = access.project_domain_name;
    out.application_credential_id = access.application_credential_id;
    out.application_credential_secret = access.application_credential_secret;
    out.ca_file = access.ca_file;
    out.insecure = access.insecure.value_or(false);
    if (access.timeout)
        out.timeout = *access.timeout;
    return out;
}

clients::ServiceOptions cinder_options(const config::Cinder& cinder) {
    auto out = clients::cinder_service(cinder.catalog_info);
    out.region_name = cinder.os_region_name;
    out.endpoint_override = cinder.endpoint_template;
    out.connect_retries = cinder.http_retries;
    return out;
}

clients::ServiceOptions service_options(const config::Access& access,
                                        const std::string& endpoint_override,
                                        std::vector<std::string> types) {
    clients::ServiceOptions out;
    out.types = std::move(types);
    if (!access.valid_interfaces.empty())
        out.interfaces = access.valid_interfaces;
    out.region_name = access.region_name;
    out.endpoint_override = endpoint_override;
    return out;
}

hypervisor::libvirt::Options libvirt_options(const config::Config& config,
                                             const std::string& release) {
    const auto& libvirt = config.libvirt;
    hypervisor::libvirt::Options out;
    out.uri = libvirt.connection_uri;
    auto& domain = out.domain;
    domain.style = hypervisor::domain::style_of(release);
    domain.virt_type = libvirt.virt_type;
    domain.cpu_mode = libvirt.cpu_mode;
    domain.cpu_models = libvirt.cpu_models;
    domain.cpu_extra_flags = libvirt.cpu_model_extra_flags;
    domain.machine_types = libvirt.hw_machine_type;
    if (const auto mode = libvirt.disk_cachemodes.find("file");
        mode != libvirt.disk_cachemodes.end())
        domain.disk_cache = mode->second;
    domain.disk_discard = libvirt.hw_disk_discard;
    domain.instances_path = config.instances_path;
    domain.sysinfo_serial = libvirt.sysinfo_serial;
    domain.rng_device = libvirt.rng_dev_path;
    domain.balloon_period = static_cast<unsigned>(libvirt.mem_stats_period.count());
    domain.vnc = config.vnc.enabled;
    domain.vnc_listen = config.vnc.server_listen;
    domain.pointer_tablet = libvirt.pointer_model == "usbtablet";
    domain.realtime_priority = libvirt.realtime_scheduler_priority;
    domain.pcie_ports = libvirt.num_pcie_ports;
    domain.shared_cpus = config.compute.cpu_shared_set;
    out.cache.instances_path = config.instances_path;
    out.cache.subdirectory = config.image_cache.subdirectory_name;
    out.cache.force_raw_images = config.images.force_raw_images;
    out.cache.default_ephemeral_format = config.images.default_ephemeral_format;
    out.cache.max_concurrent_downloads = config.images.max_concurrent_downloads;
    out.cache.qemu_img.address_space = config.images.address_space_limit << 20U;
    out.cache.qemu_img.cpu_seconds =
        static_cast<std::uint64_t>(config.images.cpu_time_limit.count());
    out.files.qemu_img = out.cache.qemu_img;
    out.files.instances_path = config.instances_path;
    out.files.host = config.host;
    out.files.copy_on_write = libvirt.images_type != "raw";
    out.topology.shared_cpus = config.compute.cpu_shared_set;
    out.topology.dedicated_cpus = config.compute.cpu_dedicated_set;
    for (const auto& pages : config.compute.reserved_huge_pages)
        out.topology.reserved_pages[static_cast<int>(pages.node)][pages.size] =
            static_cast<std::int64_t>(pages.count);
    out.vnc_proxyclient_address = config.vnc.server_proxyclient_address;
    out.soft_reboot_timeout = libvirt.wait_soft_reboot;
    out.device_detach_attempts = libvirt.device_detach_attempts;
    out.device_detach_timeout = libvirt.device_detach_timeout;
    return out;
}

hypervisor::simulated::Options simulated_options(const config::Config& config) {
    const auto& wished = config.hypervisor.simulated;
    hypervisor::simulated::Options out;
    out.hostname = config.host;
    out.vcpus = wished.vcpus;
    out.memory_mib = wished.memory;
    out.disk_gib = wished.disk;
    out.numa_cells = wished.numa_cells;
    out.spawn_latency = wished.spawn_latency;
    out.destroy_latency = wished.destroy_latency;
    out.state_folder = std::filesystem::path(config.state_path) / "simulated";
    return out;
}

tasks::TaskOptions task_options(const config::Config& config, const objects::Release& release) {
    tasks::TaskOptions out;
    out.host = config.host;
    out.guest.name_template = config.instance_name_template;
    out.guest.package_version = release.package_version;
    out.guest.force_config_drive = config.config_drive.force;
    out.guest.ephemeral_format = config.images.default_ephemeral_format;
    out.vif_plugging_is_fatal = config.networking.vif_plugging_is_fatal;
    out.vif_plugging_timeout = config.networking.vif_plugging_timeout;
    out.max_concurrent_builds = config.compute.max_concurrent_builds;
    out.shutdown_timeout = config.shutdown.guest_timeout;
    out.shutdown_retry_interval = config.shutdown.guest_retry_interval;
    out.resume_guests_state_on_host_boot = config.compute.resume_guests_state_on_host_boot;
    out.track_instance_changes = config.compute.track_instance_changes;
    if (config.hypervisor.kind == config::HypervisorKind::Libvirt)
        out.instances_path = config.instances_path;
    out.vnc_enabled = config.vnc.enabled;
    out.novncproxy_base_url = config.vnc.novncproxy_base_url;
    out.console_token_ttl = config.vnc.token_ttl;
    out.config_drive_vfat = config.config_drive.format == "vfat";
    if (release.shares) // the metadata of shares came as a version of its own
        out.newest_metadata = "2025-04-04";
    out.dhcp_domain = config.config_drive.dhcp_domain;
    out.virt_type = config.libvirt.virt_type;
    return out;
}

tasks::TrackerOptions tracker_options(const config::Config& config) {
    const auto& compute = config.compute;
    tasks::TrackerOptions out;
    out.host = config.host;
    out.my_ip = config.my_ip;
    out.state_path = config.state_path;
    out.virt_type = config.libvirt.virt_type;
    out.cpu_sets_configured = !compute.cpu_shared_set.empty() || !compute.cpu_dedicated_set.empty();
    out.count_failed_builds = compute.consecutive_build_service_disable_threshold > 0;
    out.packing = compute.packing_host_numa_cells_allocation_strategy;
    out.inventory.cpu_allocation_ratio = compute.cpu_allocation_ratio;
    out.inventory.ram_allocation_ratio = compute.ram_allocation_ratio;
    out.inventory.disk_allocation_ratio = compute.disk_allocation_ratio;
    out.inventory.initial_cpu_allocation_ratio = compute.initial_cpu_allocation_ratio;
    out.inventory.initial_ram_allocation_ratio = compute.initial_ram_allocation_ratio;
    out.inventory.initial_disk_allocation_ratio = compute.initial_disk_allocation_ratio;
    out.inventory.reserved_host_cpus = compute.reserved_host_cpus;
    out.inventory.reserved_host_memory_mib =
        static_cast<std::int64_t>(compute.reserved_host_memory);
    out.inventory.reserved_host_disk_mib = static_cast<std::int64_t>(compute.reserved_host_disk);
    for (const auto& type : compute.image_type_exclude_list)
        out.excluded_image_types.insert(lower(type));
    out.association_refresh = compute.resource_provider_association_refresh;
    return out;
}

} // namespace novalet::app
