#pragma once
// An operation's place in the journal.
#include "agent/journal/journal.hpp"

#include <memory>
#include <optional>
#include <string>

namespace novalet::tasks {

/// The journal entry an operation works under; queries have none.
class Progress {
  public:
    Progress() = default;
    [[nodiscard]] bool journalled() const noexcept { return journal_ != nullptr; }
    /// The operation came to its end; the entry is closed.
    void finish(journal::Outcome outcome, const std::string& note) const;
    /// `resumed_at`: the step that was under way when an earlier process ended.
    Progress(journal::Journal& journal,
             std::int64_t entry,
             std::optional<std::string> resumed_at = std::nullopt)
        : journal_(&journal), entry_(entry), resumed_at_(std::move(resumed_at)),
          last_(std::make_shared<std::string>(resumed_at_.value_or(""))) {}
    /// The step that begins now; durable before it returns.
    void step(const char* name) const;
    /// Was the operation under way when an earlier process ended?
    [[nodiscard]] bool resumed() const noexcept { return resumed_at_.has_value(); }
    /// The same entry, for a second try in this process.
    [[nodiscard]] Progress again() const;
    [[nodiscard]] std::string resumed_at() const { return resumed_at_.value_or(""); }

  private:
    journal::Journal* journal_ = nullptr;
    std::int64_t entry_ = 0;
    std::optional<std::string> resumed_at_;
    std::shared_ptr<std::string> last_; ///< step; one thread at a time works under an entry
};

} // namespace novalet::tasks
