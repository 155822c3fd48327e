#include "agent/core/clock.hpp"

#include <array>
#include <ctime>

namespace novalet {
namespace {

class SystemClock final : public Clock {
  public:
    [[nodiscard]] MonotonicTime monotonic() const override {
        return std::chrono::steady_clock::now();
    }
    [[nodiscard]] WallTime wall() const override { return std::chrono::system_clock::now(); }
};

std::string format(WallTime time, const char* pattern) {
    const std::time_t seconds =
        std::chrono::system_clock::to_time_t(std::chrono::floor<Seconds>(time));
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    std::array<char, 64> buffer{};
    return {buffer.data(), std::strftime(buffer.data(), buffer.size(), pattern, &parts)};
}

} // namespace

const Clock& system_clock() {
    static const SystemClock clock;
    return clock;
}

Milliseconds Deadline::left() const {
    const auto now = clock_->monotonic();
    if (now >= at_)
        return Milliseconds::zero();
    return std::chrono::ceil<Milliseconds>(at_ - now);
}

std::string to_iso(WallTime time) {
    return format(time, "%Y-%m-%dT%H:%M:%SZ");
}

std::string to_iso_micro(WallTime time) {
    const auto micro = std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch()) -
                       std::chrono::floor<Seconds>(time.time_since_epoch());
    std::string digits = std::to_string(micro.count());
    digits.insert(0, 6 - digits.size(), '0');
    return format(time, "%Y-%m-%dT%H:%M:%S.") + digits;
}

std::string to_utc_text(WallTime time) {
    return format(time, "%Y-%m-%d %H:%M:%S");
}

} // namespace novalet
