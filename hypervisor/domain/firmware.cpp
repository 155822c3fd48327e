#include "hypervisor/domain/firmware.hpp"

#include "agent/core/file.hpp"
#include "agent/core/json.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

#include <algorithm>
#include <fnmatch.h>
#include <map>

namespace novalet::hypervisor::domain {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_descriptor = 64U << 10U;

bool is_uefi(const Json& document) {
    const auto& types = document["interface-types"].items();
    return std::any_of(
        types.begin(), types.end(), [](const Json& type) { return type.as_string() == "uefi"; });
}

FirmwareDescriptor describe(const Json& document) {
    FirmwareDescriptor out;
    const Json& mapping = document["mapping"];
    out.loader = mapping["executable"]["filename"].as_string();
    out.nvram_template = mapping["nvram-template"]["filename"].as_string();
    for (const auto& target : document["targets"].items()) {
        FirmwareDescriptor::Target one{target["architecture"].as_string(), {}};
        for (const auto& machine : target["machines"].items())
            one.machines.push_back(machine.as_string());
        out.targets.push_back(std::move(one));
    }
    for (const auto& feature : document["features"].items())
        out.features.push_back(feature.as_string());
    return out;
}

bool serves(const FirmwareDescriptor& firmware,
            const std::string& architecture,
            const std::string& machine) {
    for (const auto& target : firmware.targets) {
        if (target.architecture != architecture)
            continue;
        for (const auto& pattern : target.machines)
            if (fnmatch(pattern.c_str(), machine.c_str(), 0) == 0)
                return true;
    }
    return false;
}

} // namespace

bool FirmwareDescriptor::has(std::string_view feature) const noexcept {
    return std::find(features.begin(), features.end(), feature) != features.end();
}

std::vector<FirmwareDescriptor> read_firmware(const std::vector<fs::path>& folders) {
    std::map<std::string, fs::path> files;
    for (const auto& folder : folders) {
        std::error_code error;
        for (const auto& entry : fs::directory_iterator(folder, error))
            if (entry.path().extension() == ".json")
                files.try_emplace(entry.path().filename().string(), entry.path());
    }
    std::vector<FirmwareDescriptor> out;
    for (const auto& [name, path] : files) {
        const auto text = read_file(path, max_descriptor);
        if (text && trim(*text).empty())
            continue;
        const auto document = text ? Json::parse(*text) : Result<Json>(Failure(text.error()));
        if (!document) {
            log::warning("a firmware descriptor is left out",
                         {{"file", path.string()}, {"error", document.error().text}});
            continue;
        }
        if (!is_uefi(*document) || (*document)["mapping"]["device"].as_string() != "flash")
            continue;
        out.push_back(describe(*document));
        out.back().file = name;
    }
    return out;
}

const FirmwareDescriptor* choose_firmware(const std::vector<FirmwareDescriptor>& known,
                                          const std::string& architecture,
                                          const std::string& machine,
                                          bool secure_boot) {
    for (const auto& firmware : known)
        if (serves(firmware, architecture, machine) && firmware.has("secure-boot") == secure_boot &&
            !firmware.loader.empty() && !firmware.nvram_template.empty())
            return &firmware;
    return nullptr;
}

} // namespace novalet::hypervisor::domain
