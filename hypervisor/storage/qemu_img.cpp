#include "hypervisor/storage/qemu_img.hpp"

namespace novalet::hypervisor::storage {
namespace {

constexpr std::uint64_t address_space = std::uint64_t{1} << 30U; // Nova's limit against bombs
constexpr std::uint64_t cpu_seconds = 30;
constexpr Milliseconds quick{60000};
constexpr Milliseconds copying{3600000};

Result<void> run(ProcessRunner& processes, std::vector<std::string> argv, bool copies = false) {
    ProcessRequest request;
    argv.insert(argv.begin(), "qemu-img");
    request.argv = std::move(argv);
    request.timeout = copies ? copying : quick;
    // A copy takes as long as the disk is large; what reads only headers is limited hard.
    if (!copies) {
        request.max_address_space = address_space;
        request.max_cpu_seconds = cpu_seconds;
    }
    NOVALET_TRY(processes.check(request));
    return {};
}

} // namespace

Result<void> QemuImg::convert(const std::filesystem::path& from,
                              const std::string& from_format,
                              const std::filesystem::path& to,
                              const std::string& to_format) {
    return run(processes_,
               {"convert",
                "-t",
                "none",
                "-T",
                "none",
                "-f",
                from_format,
                "-O",
                to_format,
                from.string(),
                to.string()},
               true);
}

Result<void> QemuImg::create_overlay(const std::filesystem::path& disk,
                                     const std::filesystem::path& backing,
                                     const std::string& backing_format,
                                     std::uint64_t bytes) {
    std::vector<std::string> argv{
        "create", "-q", "-f", "qcow2", "-F", backing_format, "-b", backing.string(), disk.string()};
    if (bytes > 0)
        argv.push_back(std::to_string(bytes));
    return run(processes_, std::move(argv));
}

Result<void>
QemuImg::create(const std::filesystem::path& disk, const std::string& format, std::uint64_t bytes) {
    return run(processes_, {"create", "-q", "-f", format, disk.string(), std::to_string(bytes)});
}

Result<void>
QemuImg::resize(const std::filesystem::path& disk, const std::string& format, std::uint64_t bytes) {
    return run(processes_, {"resize", "-q", "-f", format, disk.string(), std::to_string(bytes)});
}

} // namespace novalet::hypervisor::storage
