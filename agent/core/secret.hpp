#pragma once
#include <string>

namespace novalet {

/// A password, token or key. It cannot be printed or compared; `reveal()` is for the one place that
/// hands it to a library, and is easy to find in a review. The memory is wiped at the end.
class Secret {
  public:
    Secret() = default;
    explicit Secret(std::string value) : value_(std::move(value)) {}
    Secret(const Secret&) = default;
    Secret(Secret&&) noexcept = default;
    Secret& operator=(const Secret&) = default;
    Secret& operator=(Secret&&) noexcept = default;
    ~Secret() {
        for (char& c : value_)
            *static_cast<volatile char*>(&c) = '\0';
    }
    [[nodiscard]] const std::string& reveal() const noexcept { return value_; }
    [[nodiscard]] bool empty() const noexcept { return value_.empty(); }

  private:
    std::string value_;
};

} // namespace novalet
