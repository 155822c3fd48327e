#pragma once
// Time. `now()` of the standard clocks appears in clock.cpp only, so that tests can turn the hands.
#include <chrono>
#include <memory>
#include <string>

namespace novalet {

using Seconds = std::chrono::seconds;
using Milliseconds = std::chrono::milliseconds;
using MonotonicTime = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;

/// Both hands of the host's clock. All calls are thread safe.
class Clock {
  public:
    virtual ~Clock() = default;
    [[nodiscard]] virtual MonotonicTime monotonic() const = 0;
    [[nodiscard]] virtual WallTime wall() const = 0;
};

/// The kernel's clocks; one object for the process.
[[nodiscard]] const Clock& system_clock();

/// The moment until which a wait may last.
class Deadline {
  public:
    [[nodiscard]] static Deadline after(Milliseconds span, const Clock& clock = system_clock()) {
        return Deadline(clock.monotonic() + span, clock);
    }
    [[nodiscard]] Milliseconds left() const; ///< never negative
    [[nodiscard]] bool passed() const { return left() == Milliseconds::zero(); }
    [[nodiscard]] MonotonicTime time() const { return at_; }

  private:
    Deadline(MonotonicTime at, const Clock& clock) : at_(at), clock_(&clock) {}
    MonotonicTime at_;
    const Clock* clock_;
};

/// `2026-11-21T04:28:56Z`, the form of a DateTime field on the wire (reference 02 §1.1).
[[nodiscard]] std::string to_iso(WallTime time);
/// `2026-11-21T04:28:56.123456`, the form of a context's timestamp (reference 01 §6).
[[nodiscard]] std::string to_iso_micro(WallTime time);
/// `%Y-%m-%d %H:%M:%S` in UTC.
[[nodiscard]] std::string to_utc_text(WallTime time);

} // namespace novalet
