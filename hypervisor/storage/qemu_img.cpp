#include "hypervisor/storage/qemu_img.hpp"

#include "agent/core/json.hpp"
#include "agent/core/text.hpp"

#include <algorithm>

namespace novalet::hypervisor::storage {
namespace {

constexpr Milliseconds quick{60000};
// Signals of the kernel when RLIMIT_CPU is used up, as the shell numbers them.
constexpr int exit_cpu_limit = 128 + 24;
constexpr int exit_killed = 128 + 9;

/// A path that does not begin with '/' could be an option or a protocol ("nbd:…") to qemu-img.
Result<std::string> checked(const std::filesystem::path& path) {
    if (!path.is_absolute())
        return fail(Code::InvalidArgument,
                    cat("'", path.string(), "' is no absolute path; qemu-img is not run"));
    return path.string();
}

std::optional<std::string> text_of(const Json& value) {
    return value.is_string() ? std::optional(value.as_string()) : std::nullopt;
}

} // namespace

Result<std::string> QemuImg::run(ProcessRequest request) {
    request.argv.insert(request.argv.begin(), "qemu-img");
    request.max_address_space = limits_.address_space;
    const std::string verb = request.argv[1];
    NOVALET_ASSIGN(auto outcome, processes_.run(request));
    if (outcome.exit_status == 0)
        return std::move(outcome.out);
    if (outcome.exit_status == exit_cpu_limit || outcome.exit_status == exit_killed)
        return fail(Code::InvalidArgument,
                    cat("qemu-img ", verb, " was ended by its limits on CPU time or memory"));
    const std::string reason = cut_utf8(trim(to_utf8(outcome.err)), 500);
    return fail(reason.find("No space left on device") != std::string::npos
                    ? Code::ResourceExhausted
                    : Code::Internal,
                cat("qemu-img ", verb, " failed with ", outcome.exit_status, ": ", reason));
}

Result<std::string> QemuImg::header_work(std::vector<std::string> argv) {
    ProcessRequest request;
    request.argv = std::move(argv);
    request.timeout = quick;
    request.max_cpu_seconds = limits_.cpu_seconds;
    return run(std::move(request));
}

Result<DiskInfo> QemuImg::info(const std::filesystem::path& disk, const std::string& format) {
    NOVALET_ASSIGN(const auto path, checked(disk));
    const auto invalid = [&](Code code, const std::string& reason) {
        return fail_as("InvalidDiskInfo",
                       code,
                       cat("Disk info file is invalid: ", path, " as ", format, ": ", reason));
    };
    const auto text =
        header_work({"info", "--force-share", "--output=json", "-f", format, "--", path});
    if (!text)
        return invalid(text.error().code, text.error().text);
    const auto document = Json::parse(*text);
    if (!document)
        return invalid(Code::Internal, "qemu-img's answer is " + document.error().text);
    const auto& data = *document;
    if (!data["virtual-size"].is_integer() || data["virtual-size"].as_int() < 0)
        return invalid(Code::Internal, "qemu-img's answer has no virtual-size");
    DiskInfo out;
    out.format = data["format"].as_string();
    out.virtual_size = static_cast<std::uint64_t>(data["virtual-size"].as_int());
    out.actual_size =
        static_cast<std::uint64_t>(std::max<std::int64_t>(data["actual-size"].as_int(), 0));
    out.backing_file = text_of(data["full-backing-filename"]);
    if (!out.backing_file)
        out.backing_file = text_of(data["backing-filename"]);
    out.data_file = text_of(data["format-specific"]["data"]["data-file"]);
    return out;
}

Result<void> QemuImg::convert(const std::filesystem::path& from,
                              const std::string& from_format,
                              const std::filesystem::path& to,
                              const std::string& to_format,
                              bool direct,
                              const std::stop_token& stop) {
    NOVALET_ASSIGN(const auto source, checked(from));
    NOVALET_ASSIGN(const auto target, checked(to));
    ProcessRequest request;
    request.argv = {"convert",
                    "-t",
                    direct ? "none" : "writeback",
                    "-T",
                    direct ? "none" : "writeback",
                    "-f",
                    from_format,
                    "-O",
                    to_format,
                    "--",
                    source,
                    target};
    request.timeout = limits_.copy_timeout;
    request.max_cpu_seconds = static_cast<std::uint64_t>(limits_.copy_timeout.count());
    request.stop = stop;
    NOVALET_TRY(run(std::move(request)));
    return {};
}

Result<void> QemuImg::create_overlay(const std::filesystem::path& disk,
                                     const std::filesystem::path& backing,
                                     const std::string& backing_format,
                                     std::uint64_t bytes) {
    NOVALET_ASSIGN(const auto path, checked(disk));
    NOVALET_ASSIGN(const auto base, checked(backing));
    std::vector<std::string> argv{
        "create", "-q", "-f", "qcow2", "-F", backing_format, "-b", base, "--", path};
    if (bytes > 0)
        argv.push_back(std::to_string(bytes));
    NOVALET_TRY(header_work(std::move(argv)));
    return {};
}

Result<void>
QemuImg::create(const std::filesystem::path& disk, const std::string& format, std::uint64_t bytes) {
    NOVALET_ASSIGN(const auto path, checked(disk));
    NOVALET_TRY(header_work({"create", "-q", "-f", format, "--", path, std::to_string(bytes)}));
    return {};
}

Result<void>
QemuImg::resize(const std::filesystem::path& disk, const std::string& format, std::uint64_t bytes) {
    NOVALET_ASSIGN(const auto path, checked(disk));
    NOVALET_TRY(header_work({"resize", "-q", "-f", format, "--", path, std::to_string(bytes)}));
    return {};
}

} // namespace novalet::hypervisor::storage
