#pragma once
// Methods without a journal entry: questions of the API.
#include "agent/rpc/request.hpp"
#include "agent/tasks/services.hpp"

namespace novalet::tasks {

[[nodiscard]] Result<Json> get_console_output(Services& services, const rpc::Request& request);
[[nodiscard]] Result<Json> get_vnc_console(Services& services, const rpc::Request& request);
[[nodiscard]] Result<Json> validate_console_port(Services& services, const rpc::Request& request);
[[nodiscard]] Result<Json> get_host_uptime(Services& services, const rpc::Request& request);
[[nodiscard]] Result<Json> set_host_enabled(Services& services, const rpc::Request& request);

} // namespace novalet::tasks
