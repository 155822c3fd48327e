#include "agent/tasks/catalogue/nova_method_tables.hpp"

#include <array>

namespace novalet::tasks {
namespace {

constexpr std::array cache_images{needed("image_ids")};
constexpr std::array check_instance_shared_storage{needed("data")};
constexpr std::array get_console_output{needed("instance"), needed("tail_length")};
constexpr std::array get_diagnostics{needed("instance")};
constexpr std::array get_instance_diagnostics{needed("instance")};
constexpr std::array get_mks_console{needed("console_type"), needed("instance")};
constexpr std::array get_rdp_console{needed("console_type"), needed("instance")};
constexpr std::array get_serial_console{needed("console_type"), needed("instance")};
constexpr std::array get_spice_console{needed("console_type"), needed("instance")};
constexpr std::array get_vnc_console{needed("console_type"), needed("instance")};
constexpr std::array host_maintenance_mode{needed("host"), needed("mode")};
constexpr std::array host_power_action{needed("action")};
constexpr std::array set_host_enabled{needed("enabled")};
constexpr std::array validate_console_port{
    needed("instance"), needed("port"), needed("console_type")};

constexpr std::array host{
    // Never fails: each image has an answer of its own ("cached", "existing", "unsupported",
    // "error").
    MethodFacts{
        "cache_images", "6.0", cache_images, call, "", Lane::Beside, silent("NotImplementedError")},
    MethodFacts{"check_instance_shared_storage",
                "6.0",
                check_instance_shared_storage,
                call,
                "",
                Lane::Question,
                silent("NotImplementedError")},
    MethodFacts{"get_console_output",
                "6.0",
                get_console_output,
                call,
                "",
                Lane::Question,
                faults("NotImplementedError")},
    MethodFacts{"get_diagnostics",
                "6.0",
                get_diagnostics,
                call,
                "",
                Lane::Question,
                faults("NotImplementedError")},
    MethodFacts{
        "get_host_uptime", "6.0", nothing, call, "", Lane::Question, silent("NotImplementedError")},
    MethodFacts{"get_instance_diagnostics",
                "6.0",
                get_instance_diagnostics,
                call,
                "",
                Lane::Question,
                faults("NotImplementedError")},
    MethodFacts{"get_mks_console",
                "6.0",
                get_mks_console,
                call,
                "",
                Lane::Question,
                faults("ConsoleTypeUnavailable")},
    // Since 2025.1 served for older control planes only.
    MethodFacts{"get_rdp_console",
                "6.0",
                get_rdp_console,
                call,
                "",
                Lane::Question,
                faults("ConsoleTypeUnavailable")},
    MethodFacts{"get_serial_console",
                "6.0",
                get_serial_console,
                call,
                "",
                Lane::Question,
                faults("ConsoleTypeUnavailable")},
    MethodFacts{"get_spice_console",
                "6.0",
                get_spice_console,
                call,
                "",
                Lane::Question,
                faults("ConsoleTypeUnavailable")},
    MethodFacts{"get_vnc_console",
                "6.0",
                get_vnc_console,
                call,
                "",
                Lane::Question,
                faults("ConsoleTypeUnavailable")},
    MethodFacts{"host_maintenance_mode",
                "6.0",
                host_maintenance_mode,
                call,
                "",
                Lane::Beside,
                silent("NotImplementedError")},
    MethodFacts{"host_power_action",
                "6.0",
                host_power_action,
                call,
                "",
                Lane::Beside,
                silent("NotImplementedError")},
    MethodFacts{"set_host_enabled",
                "6.0",
                set_host_enabled,
                call,
                "",
                Lane::Beside,
                silent("NotImplementedError")},
    MethodFacts{"validate_console_port",
                "6.0",
                validate_console_port,
                call,
                "",
                Lane::Question,
                faults("ConsoleTypeInvalid")},
};

} // namespace

std::span<const MethodFacts> host_methods() {
    return host;
}

} // namespace novalet::tasks
