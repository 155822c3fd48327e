#pragma once
// Counters and gauges of the process. Names end in a unit (_total, _seconds, _bytes, _pages);
// labels never hold an instance uuid. All calls are thread safe.
#include <atomic>
#include <cstdint>
#include <map>
#include <string>

namespace novalet::metrics {

using Labels = std::map<std::string, std::string>;

/// One time series; lives as long as the process, so a reference may be kept.
class Series {
  public:
    void add(double amount = 1) noexcept;
    void set(double value) noexcept { value_.store(value, std::memory_order_relaxed); }
    [[nodiscard]] double value() const noexcept { return value_.load(std::memory_order_relaxed); }

  private:
    std::atomic<double> value_{0};
};

/// The series of this name and these labels, made on first use. `help` is kept from the first call.
[[nodiscard]] Series& counter(const std::string& name, const std::string& help, Labels labels = {});
[[nodiscard]] Series& gauge(const std::string& name, const std::string& help, Labels labels = {});
/// All series in the text form that Prometheus reads.
[[nodiscard]] std::string exposition();

} // namespace novalet::metrics
