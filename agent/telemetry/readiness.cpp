#include "agent/telemetry/readiness.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace novalet::telemetry {
namespace {

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

/// A line break would begin another assignment.
std::string one_line(std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

} // namespace

Readiness Readiness::from_environment() {
    std::optional<Milliseconds> watchdog;
    const auto pid = variable("WATCHDOG_PID");
    const auto micro = to_number<std::uint64_t>(variable("WATCHDOG_USEC"));
    const bool for_us = pid.empty() || to_number<pid_t>(pid) == getpid();
    if (for_us && micro && *micro >= 2000)
        watchdog = Milliseconds(*micro / 1000);
    return Readiness(variable("NOTIFY_SOCKET"), watchdog);
}

Readiness::Readiness(std::string socket, std::optional<Milliseconds> watchdog)
    : socket_(std::move(socket)), watchdog_(watchdog) {}

Result<void> Readiness::ready(const std::string& status) const {
    return send(cat("READY=1\nSTATUS=", one_line(status)));
}

Result<void> Readiness::stopping() const {
    return send("STOPPING=1");
}

Result<void> Readiness::status(const std::string& text) const {
    return send(cat("STATUS=", one_line(text)));
}

Result<void> Readiness::alive() const {
    return send("WATCHDOG=1");
}

std::optional<Milliseconds> Readiness::watchdog_period() const {
    if (!watchdog_)
        return std::nullopt;
    return *watchdog_ / 2;
}

Result<void> Readiness::send(const std::string& message) const {
    if (socket_.empty())
        return {};
    sockaddr_un peer{};
    peer.sun_family = AF_UNIX;
    if ((socket_.front() != '/' && socket_.front() != '@') ||
        socket_.size() >= sizeof peer.sun_path)
        return fail(Code::InvalidArgument, cat("NOTIFY_SOCKET '", socket_, "' is no socket path"));
    socket_.copy(peer.sun_path, socket_.size());
    if (socket_.front() == '@')
        peer.sun_path[0] = '\0';
    const Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
    if (!fd || sendto(fd.get(),
                      message.data(),
                      message.size(),
                      MSG_NOSIGNAL,
                      reinterpret_cast<const sockaddr*>(&peer),
                      size) < 0)
        return fail(Code::Unavailable,
                    cat("telling the service manager at ", socket_, ": ", errno_text(errno)));
    return {};
}

} // namespace novalet::telemetry
