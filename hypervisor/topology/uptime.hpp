#pragma once
// The line that uptime(1) prints, without running it: the audit wants it every minute.
#include "agent/core/clock.hpp"
#include "agent/core/result.hpp"

#include <filesystem>
#include <string>

namespace novalet::hypervisor::topology {

/// " 08:32:10 up 1 day, 10:47,  2 users,  load average: 0.99, 1.22, 1.31\n" in local time, from
/// /proc below `root`. `users` is who is logged in.
[[nodiscard]] Result<std::string>
uptime_text(const std::filesystem::path& root, unsigned users, const Clock& clock = system_clock());
/// Sessions in the host's utmp.
[[nodiscard]] unsigned logged_in_users();

} // namespace novalet::hypervisor::topology
