#pragma once
// What operations need of configuration and release, as plain values.
#include "agent/core/clock.hpp"
#include "agent/tasks/guest/guest_request.hpp"

#include <filesystem>
#include <string>

namespace novalet::tasks {

/// Values that operations need of configuration and release.
struct TaskOptions {
    std::string host; ///< CONF.host
    GuestDefaults guest;
    bool vif_plugging_is_fatal = true;
    Seconds vif_plugging_timeout{300};   ///< 0 = do not wait
    unsigned max_concurrent_builds = 10; ///< 0 = unlimited
    Seconds shutdown_timeout{60};        ///< clean power-off
    Seconds shutdown_retry_interval{10};
    bool track_instance_changes = true; ///< tell the scheduler
    bool vnc_enabled = true;
    std::string novncproxy_base_url;
    Seconds console_token_ttl{600};
    bool config_drive_vfat = false;
    /// Last folder below openstack/ of a config drive that the release knows.
    std::string newest_metadata = "2020-10-14";
    std::string dhcp_domain = "novalocal";
    std::string virt_type = "kvm";
    bool resume_guests_state_on_host_boot = false;
    std::filesystem::path instances_path; ///< empty: the host has no files of guests
    Milliseconds retry_pause{5000};       ///< before an operation starts over, see Router
};

} // namespace novalet::tasks
