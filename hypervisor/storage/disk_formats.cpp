#include "hypervisor/storage/disk_formats.hpp"

#include "agent/core/file.hpp"
#include "agent/core/json.hpp"
#include "agent/core/text.hpp"

#include <algorithm>

namespace novalet::hypervisor::storage {
namespace {

Failure invalid(const std::filesystem::path& file, const std::string& reason) {
    return fail_as("InvalidDiskInfo",
                   Code::DataLoss,
                   cat("Disk info file is invalid: ", file.string(), ": ", reason));
}

bool is_known(const std::string& format) {
    return format == "raw" || format == "qcow2";
}

} // namespace

bool is_disk_name(const std::string& name) {
    if (name == "disk")
        return true;
    if (!name.starts_with("disk.") || name.size() == 5 || name == "disk.info" ||
        name == "disk.config")
        return false;
    return std::all_of(name.begin() + 5, name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    });
}

Result<DiskFormats> DiskFormats::read(const std::filesystem::path& folder) {
    const auto file = folder / "disk.info";
    std::map<std::string, std::string> formats;
    const auto text = read_file(file);
    if (!text && text.error().code != Code::NotFound)
        return Failure(text.error());
    // nova-compute makes the file empty before it writes the first line.
    if (text && !trim(*text).empty()) {
        const auto document = Json::parse(*text);
        if (!document || !document->is_object())
            return invalid(file, document ? "it is no JSON object" : document.error().text);
        for (const auto& [disk, format] : document->members()) {
            if (!is_known(format.as_string()))
                return invalid(file, cat(disk, " has format ", cut_utf8(format.dump(), 64)));
            formats.emplace(disk, format.as_string());
        }
    }
    return DiskFormats(file, std::move(formats));
}

std::optional<std::string> DiskFormats::of(const std::filesystem::path& disk) const {
    const auto found = formats_.find(disk.string());
    return found == formats_.end() ? std::nullopt : std::optional(found->second);
}

Result<void> DiskFormats::note(const std::filesystem::path& disk, const std::string& format) {
    if (!is_known(format))
        return invalid(file_, cat(disk.string(), " cannot be noted as '", format, "'"));
    if (const auto known = of(disk)) {
        if (*known == format)
            return {};
        return invalid(file_, cat(disk.string(), " is ", *known, " and cannot become ", format));
    }
    auto formats = formats_;
    formats.emplace(disk.string(), format);
    Json document = Json::object();
    for (const auto& [path, one] : formats)
        document.set(path, one);
    NOVALET_TRY(write_file_atomically(file_, document.dump() + "\n"));
    formats_ = std::move(formats);
    return {};
}

} // namespace novalet::hypervisor::storage
