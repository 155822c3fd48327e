#pragma once
// What happened, in order, over all the fakes of one test. Thread safe.
#include <algorithm>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace novalet::tests {

class Diary {
  public:
    void note(std::string line) {
        const std::lock_guard lock(mutex_);
        lines_.push_back(std::move(line));
    }
    [[nodiscard]] std::vector<std::string> lines() const {
        const std::lock_guard lock(mutex_);
        return lines_;
    }
    /// The lines that begin with this, in order.
    [[nodiscard]] std::vector<std::string> of(std::string_view prefix) const {
        std::vector<std::string> out;
        for (const auto& line : lines())
            if (line.starts_with(prefix))
                out.push_back(line);
        return out;
    }
    [[nodiscard]] std::size_t count(std::string_view prefix) const { return of(prefix).size(); }
    /// Only lines that begin with one of these, in order: what a test is about.
    [[nodiscard]] std::vector<std::string> among(const std::vector<std::string>& prefixes) const {
        std::vector<std::string> out;
        for (const auto& line : lines())
            if (std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) {
                    return line.starts_with(prefix);
                }))
                out.push_back(line);
        return out;
    }
    void clear() {
        const std::lock_guard lock(mutex_);
        lines_.clear();
    }

  private:
    mutable std::mutex mutex_;
    std::vector<std::string> lines_;
};

} // namespace novalet::tests
