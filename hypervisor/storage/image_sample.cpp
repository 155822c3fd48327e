#include "hypervisor/storage/image_sample.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

namespace novalet::hypervisor::storage {
namespace {

Result<std::string> read_at(int fd, std::uint64_t offset, std::size_t size) {
    std::string buffer(size, '\0');
    std::size_t done = 0;
    while (done < size) {
        const auto got =
            pread(fd, buffer.data() + done, size - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(Code::Unavailable, "read of the image: " + errno_text(errno));
        if (got == 0)
            break;
        done += static_cast<std::size_t>(got);
    }
    buffer.resize(done);
    return buffer;
}

} // namespace

std::uint64_t big_endian(std::string_view bytes) noexcept {
    std::uint64_t value = 0;
    for (const char c : bytes)
        value = (value << 8U) | static_cast<unsigned char>(c);
    return value;
}

std::uint64_t little_endian(std::string_view bytes) noexcept {
    std::uint64_t value = 0;
    for (std::size_t i = bytes.size(); i > 0; --i)
        value = (value << 8U) | static_cast<unsigned char>(bytes[i - 1]);
    return value;
}

Result<ImageSample> ImageSample::take(int fd) {
    struct stat about {};
    if (fstat(fd, &about) != 0)
        return fail(Code::Unavailable, "stat of the image: " + errno_text(errno));
    if (!S_ISREG(about.st_mode))
        return fail(Code::InvalidArgument, "the image is no regular file");
    NOVALET_ASSIGN(auto head, read_at(fd, 0, head_bytes));
    return ImageSample(fd, static_cast<std::uint64_t>(about.st_size), std::move(head));
}

bool ImageSample::has(std::size_t at, std::string_view magic) const noexcept {
    return head_.size() >= magic.size() && at <= head_.size() - magic.size() &&
           std::string_view(head_).substr(at, magic.size()) == magic;
}

std::uint64_t ImageSample::big(std::size_t at, std::size_t bytes) const noexcept {
    const std::string_view head(head_);
    return at > head.size() || head.size() - at < bytes ? 0 : big_endian(head.substr(at, bytes));
}

std::uint64_t ImageSample::little(std::size_t at, std::size_t bytes) const noexcept {
    const std::string_view head(head_);
    return at > head.size() || head.size() - at < bytes ? 0 : little_endian(head.substr(at, bytes));
}

Result<std::string> ImageSample::part(std::uint64_t offset, std::size_t bytes) const {
    if (bytes > head_bytes || !holds(offset, bytes))
        return fail(Code::DataLoss, cat("the image ends before byte ", offset, '+', bytes));
    NOVALET_ASSIGN(auto out, read_at(fd_, offset, bytes));
    if (out.size() != bytes)
        return fail(Code::DataLoss, cat("the image ends before byte ", offset, '+', bytes));
    return out;
}

} // namespace novalet::hypervisor::storage
