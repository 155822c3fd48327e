#include "config/load/print.hpp"

#include "agent/core/text.hpp"
#include "config/schema/option.hpp"

#include <algorithm>
#include <map>

namespace novalet::config {
namespace {

constexpr std::size_t line_length = 96;

/// What a section is about, for the sample.
const std::map<std::string, std::string>& section_help() {
    static const std::map<std::string, std::string> all{
        {"transport", "The broker (RabbitMQ) through which Nova speaks."},
        {"transport.tls", "Encryption towards the broker."},
        {"compat", "The release of the control plane."},
        {"keystone", "The account of this agent, and how services are found in the catalog."},
        {"placement", "Placement. Keys that are not set are as in keystone."},
        {"neutron", "Neutron. Keys that are not set are as in keystone."},
        {"glance", "Glance. Keys that are not set are as in keystone."},
        {"cinder", "Cinder, if the cloud has it. Keys that are not set are as in keystone."},
        {"service_user",
         "The account whose token goes along with a user's. Keys that are not set are as in "
         "keystone."},
        {"hypervisor", "Real guests or none."},
        {"hypervisor.simulated", "What the simulated hypervisor pretends to be."},
        {"libvirt", "Guests under libvirt and QEMU."},
        {"images", "Images and local disks."},
        {"image_cache", "Images that were fetched once are kept below instances_path."},
        {"config_drive", "The disk with metadata that a guest can read."},
        {"vnc", "Graphical console."},
        {"compute", "Resources of this host."},
        {"intervals", "What happens regularly."},
        {"running_deleted_instance", "Guests that should not exist any more."},
        {"networking", "Ports of guests."},
        {"notifications", "Messages for billing and other listeners."},
        {"shutdown", "How long things may take to end."},
        {"journal", "The durable record of accepted requests."},
        {"log", "What novalet writes about itself."},
        {"telemetry", "Metrics and health."}};
    return all;
}

std::string section_of(const std::string& path) {
    const auto dot = path.rfind('.');
    return dot == std::string::npos ? std::string() : path.substr(0, dot);
}

std::string name_of(const std::string& path) {
    return path.substr(path.rfind('.') + 1); // npos + 1 is 0
}

std::string indent(const std::string& section) {
    if (section.empty())
        return {};
    const auto dots = static_cast<std::size_t>(std::count(section.begin(), section.end(), '.'));
    return std::string(2 * (dots + 1), ' ');
}

std::string comment(const std::string& text, const std::string& margin) {
    std::string out;
    std::string line;
    for (const auto& word : split(text, ' ')) {
        if (!line.empty() && margin.size() + 2 + line.size() + 1 + word.size() > line_length) {
            out += margin + "# " + line + '\n';
            line.clear();
        }
        line += (line.empty() ? "" : " ") + word;
    }
    return out + margin + "# " + line + '\n';
}

/// Visits options and the beginnings of sections; in the table a section's own options come before
/// those of the sections inside it.
template <class OnSection, class OnOption> void walk(OnSection&& on_section, OnOption&& on_option) {
    std::string current;
    for (const auto& option : options()) {
        const auto section = section_of(option.path);
        if (section != current) {
            on_section(section);
            current = section;
        }
        on_option(option, section);
    }
}

/// Values for what has no default that could work.
std::string example_of(const Option& option) {
    if (option.path == "transport.url")
        return "rabbit://openstack:secret@controller:5672/";
    if (option.path == "keystone.auth_url")
        return "http://controller:5000/v3";
    if (option.path == "keystone.password")
        return "secret";
    return {};
}

bool is_inherited(const Option& option) {
    return option.help.ends_with("Not set: as in keystone.");
}

} // namespace

std::string print(const Config& config) {
    std::string out;
    walk(
        [&](const std::string& section) {
            const auto parent = section_of(section);
            out += cat(indent(parent), name_of(section), ":\n");
        },
        [&](const Option& option, const std::string& section) {
            out +=
                cat(indent(section), name_of(option.path), ": ", value_text(option, config), '\n');
        });
    return out;
}

std::string sample() {
    std::string out =
        "# Configuration of novalet: /etc/novalet/novalet.yaml, then /etc/novalet/novalet.yaml.d/\n"
        "# in the order of the names; a later file wins, key by key. Every option is here. A line\n"
        "# that is commented out shows the default; ~ means \"not set\". Check with\n"
        "# novalet --check-config, see what is in force with novalet --print-config.\n"
        "#\n"
        "# Durations may be written with ms, s, min, h or d, sizes with B, KiB, MiB, GiB or TiB.\n"
        "# Instead of a secret, a file with it can be named: password_file: "
        "/etc/novalet/password.\n"
        "# Any option can be given in the environment: NOVALET__VNC__ENABLED=false.\n";
    const Config defaults;
    walk(
        [&](const std::string& section) {
            const auto margin = indent(section_of(section));
            out += '\n';
            if (const auto help = section_help().find(section); help != section_help().end())
                out += comment(help->second, margin);
            out += cat(margin, name_of(section), ":\n");
        },
        [&](const Option& option, const std::string& section) {
            const auto margin = indent(section);
            if (!is_inherited(option)) {
                out += section.empty() ? "\n" : "";
                out += comment(option.help, margin);
                out += comment(cat("(",
                                   option.expectation(),
                                   option.reloadable ? "; taken over on SIGHUP)" : ")"),
                               margin);
            }
            const auto example = example_of(option);
            out += cat(margin,
                       example.empty() ? "#" : "",
                       name_of(option.path),
                       ": ",
                       example.empty() ? value_text(option, defaults) : example,
                       '\n');
        });
    return out;
}

} // namespace novalet::config
