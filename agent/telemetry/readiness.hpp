#pragma once
// What the service manager (systemd, Type=notify) is told: datagrams to $NOTIFY_SOCKET.
#include "agent/core/clock.hpp"
#include "agent/core/result.hpp"

#include <optional>
#include <string>

namespace novalet::telemetry {

/// Thread safe. Without a socket every verb is ok and does nothing. Never blocks: a manager that
/// does not read makes a verb fail with Unavailable, which the caller may ignore.
class Readiness {
  public:
    /// From NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
    [[nodiscard]] static Readiness from_environment();
    /// `socket`: a path, "@name" for the abstract namespace, or empty.
    explicit Readiness(std::string socket, std::optional<Milliseconds> watchdog = std::nullopt);

    /// The agent consumes requests.
    [[nodiscard]] Result<void> ready(const std::string& status) const;
    [[nodiscard]] Result<void> stopping() const;
    /// One line for `systemctl status`.
    [[nodiscard]] Result<void> status(const std::string& text) const;
    /// "I am alive": to be said at least every watchdog_period().
    [[nodiscard]] Result<void> alive() const;
    /// Half of what the manager allows; none when it does not watch.
    [[nodiscard]] std::optional<Milliseconds> watchdog_period() const;

  private:
    [[nodiscard]] Result<void> send(const std::string& message) const;

    std::string socket_;
    std::optional<Milliseconds> watchdog_;
};

} // namespace novalet::telemetry
