#pragma once
// What this host has for guests and what of it is taken, for dry runs beside a running agent. The
// agent leaves its books in a file at every report, so nobody has to ask it; without that file the
// host is read from /sys, and nothing counts as taken.
#include "agent/core/json.hpp"
#include "config/schema/config.hpp"
#include "hypervisor/topology/host_check.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace novalet::app {

struct HostState {
    Json numa_topology;       ///< ComputeNode.numa_topology with usage, or null
    Json limits;              ///< overcommit ratios as the scheduler would send them, or null
    Json kernel_pages;        ///< free huge pages now: [{cell, size_kb, free}]
    std::string source;       ///< one line for the operator
    bool usage_known = false; ///< false: guests are not counted
};

/// `root` is put before /sys and /proc. Errors name the file.
[[nodiscard]] Result<HostState> host_state(const config::Config& config,
                                           const std::filesystem::path& root = "/");

/// Configuration against this host (hypervisor/topology/host_check.hpp); nothing to check for the
/// simulated hypervisor.
[[nodiscard]] Result<hypervisor::topology::HostFindings>
check_configured_host(const config::Config& config, const std::filesystem::path& root = "/");

/// A line for each finding, as `--check-config` prints them.
[[nodiscard]] std::string text_of(const hypervisor::topology::HostFindings& findings);

} // namespace novalet::app
