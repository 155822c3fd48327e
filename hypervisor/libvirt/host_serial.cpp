#include "hypervisor/libvirt/host_serial.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"

#include <algorithm>

namespace novalet::hypervisor::libvirt {
namespace {

Failure no_serial(const std::string& reason) {
    return fail_as("InternalError",
                   Code::Unavailable,
                   cat("Unable to get host UUID: ",
                       reason,
                       "; libvirt.sysinfo_serial: unique does without one"));
}

Result<std::string> of_machine_id(const std::filesystem::path& file) {
    const auto text = read_file(file, 4096);
    if (!text)
        return no_serial(text.error().code == Code::NotFound ? cat(file.string(), " does not exist")
                                                             : text.error().text);
    std::string digits = lower(trim(text->substr(0, text->find('\n'))));
    if (digits.empty())
        return no_serial(file.string() + " is empty");
    std::erase(digits, '-');
    for (const std::size_t place : {8U, 13U, 18U, 23U})
        if (digits.size() >= place)
            digits.insert(place, 1, '-');
    if (!is_uuid(digits))
        return no_serial(file.string() + " holds no uuid");
    return digits;
}

} // namespace

Result<std::string> host_serial(const std::string& source,
                                const std::string& hardware_uuid,
                                const std::filesystem::path& machine_id) {
    std::error_code error;
    const bool by_system =
        source == "os" || (source == "auto" && std::filesystem::exists(machine_id, error));
    if (by_system)
        return of_machine_id(machine_id);
    if (source != "hardware" && source != "auto")
        return std::string();
    if (hardware_uuid.empty())
        return no_serial("libvirt's capabilities name none");
    return hardware_uuid;
}

} // namespace novalet::hypervisor::libvirt
