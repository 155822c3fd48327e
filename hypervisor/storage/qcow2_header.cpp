#include "hypervisor/storage/qcow2_header.hpp"

#include "agent/core/file.hpp"
#include "hypervisor/storage/image_sample.hpp"
#include "hypervisor/storage/part_file.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <string_view>
#include <unistd.h>

namespace novalet::hypervisor::storage {
namespace {

constexpr std::size_t most_backing_name = 1023; // QEMU's own limit

} // namespace

Result<std::optional<Qcow2Header>> read_qcow2_header(const std::filesystem::path& disk) {
    const Fd file(open(disk.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file && (errno == ENOENT || errno == ELOOP))
        return std::optional<Qcow2Header>();
    if (!file)
        return file_failure("open " + disk.string());
    std::array<char, 32> head{};
    const auto got = pread(file.get(), head.data(), head.size(), 0);
    if (got < 0)
        return file_failure("read " + disk.string());
    const std::string_view view(head.data(), static_cast<std::size_t>(got));
    if (view.size() < head.size() || !view.starts_with("QFI\xfb"))
        return std::optional<Qcow2Header>();
    Qcow2Header out;
    out.virtual_size = big_endian(view.substr(24, 8));
    const auto offset = big_endian(view.substr(8, 8));
    const auto length = static_cast<std::size_t>(big_endian(view.substr(16, 4)));
    if (offset != 0 && length != 0 && length <= most_backing_name) {
        std::string name(length, '\0');
        if (pread(file.get(), name.data(), length, static_cast<off_t>(offset)) ==
            static_cast<ssize_t>(length))
            out.backing_file = std::move(name);
    }
    return std::optional(std::move(out));
}

} // namespace novalet::hypervisor::storage
