#pragma once
// A clock whose hands the test turns. Set it before threads read it.
#include "agent/core/clock.hpp"

namespace novalet::tests {

class FakeClock final : public Clock {
  public:
    [[nodiscard]] MonotonicTime monotonic() const override { return monotonic_; }
    [[nodiscard]] WallTime wall() const override { return wall_; }
    void advance(Milliseconds span) {
        monotonic_ += span;
        wall_ += span;
    }
    void set_wall(WallTime time) { wall_ = time; }

  private:
    MonotonicTime monotonic_{Seconds(1000)};
    WallTime wall_{Seconds(1'800'000'000)}; // 2027-01-15T08:00:00Z
};

} // namespace novalet::tests
