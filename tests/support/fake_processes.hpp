#pragma once
// Programs that do nothing but what a test says; requests are kept.
#include "agent/core/process.hpp"

#include <functional>
#include <mutex>
#include <vector>

namespace novalet::tests {

/// Thread safe once `answer` is set.
class FakeProcesses : public ProcessRunner {
  public:
    std::function<Result<ProcessOutcome>(const ProcessRequest&)> answer =
        [](const ProcessRequest&) { return ProcessOutcome(); };

    [[nodiscard]] Result<ProcessOutcome> run(const ProcessRequest& request) override {
        {
            const std::lock_guard lock(mutex_);
            requests_.push_back(request);
        }
        return answer(request);
    }
    [[nodiscard]] std::vector<ProcessRequest> requests() const {
        const std::lock_guard lock(mutex_);
        return requests_;
    }
    /// The argument vectors of all runs so far.
    [[nodiscard]] std::vector<std::vector<std::string>> commands() const {
        std::vector<std::vector<std::string>> out;
        for (const auto& request : requests())
            out.push_back(request.argv);
        return out;
    }

  private:
    mutable std::mutex mutex_;
    std::vector<ProcessRequest> requests_;
};

} // namespace novalet::tests
