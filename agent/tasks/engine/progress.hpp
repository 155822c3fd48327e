#pragma once
// An operation's entry in the journal.
#include "agent/core/result.hpp"
#include "agent/journal/journal.hpp"
#include "agent/tasks/engine/place.hpp"

namespace novalet::tasks {

/// The journal entry an operation works under; one that the agent began itself has none, and every
/// call is a no-op then. One thread at a time.
class Progress {
  public:
    Progress() = default;
    Progress(journal::Journal& journal, journal::EntryId entry)
        : journal_(&journal), entry_(entry) {}

    [[nodiscard]] bool journalled() const noexcept { return journal_ != nullptr; }
    /// On disk when it returns ok: what comes next may have its effect.
    [[nodiscard]] Result<void> note(const Place& place) const;
    /// Nobody works on it until the next `note` or `go_on`: a process that dies meanwhile did not
    /// die over it.
    void wait() const;
    void go_on() const;
    /// The operation came to its end. What cannot be written now the journal writes later.
    void finish(journal::Outcome outcome, const std::string& note) const;

  private:
    journal::Journal* journal_ = nullptr;
    journal::EntryId entry_ = 0;
};

} // namespace novalet::tasks
