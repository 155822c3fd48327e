#pragma once
// Images from memory, as an ImageSource.
#include "agent/core/text.hpp"
#include "hypervisor/hypervisor.hpp"

#include <atomic>
#include <functional>
#include <string>
#include <unistd.h>

namespace novalet::tests {

/// Every image has the same content. Thread safe once it is set up.
class FakeImages : public hypervisor::ImageSource {
  public:
    std::string content = std::string(4096, 'x');
    std::string format = "raw";
    /// Called in fetch() before anything is written.
    std::function<Result<void>(const ImageId&)> before;
    std::atomic<unsigned> fetches{0};

    [[nodiscard]] Result<void> fetch(const ImageId& image, int fd) override {
        ++fetches;
        if (before)
            NOVALET_TRY(before(image));
        if (write(fd, content.data(), content.size()) != static_cast<ssize_t>(content.size()))
            return fail(Code::Unavailable, "the fake image cannot be written");
        return after ? after(image) : Result<void>();
    }
    [[nodiscard]] Result<std::string> disk_format(const ImageId& /*image*/) override {
        return format;
    }
    /// Called in fetch() when everything is written: a checksum that does not match.
    std::function<Result<void>(const ImageId&)> after;
};

} // namespace novalet::tests
