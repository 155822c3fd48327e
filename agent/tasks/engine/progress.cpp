#include "agent/tasks/engine/progress.hpp"

#include "agent/core/log.hpp"

namespace novalet::tasks {

Result<void> Progress::note(const Place& place) const {
    const char* const stage = name_of(place.stage);
    log::debug("step", {{"stage", stage}, {"step", place.step}});
    if (journal_ == nullptr)
        return {};
    // Doing the last two stages again adds nothing, so a loss of power may take back their note.
    const auto durability = place.stage == Stage::End || place.stage == Stage::Unlock
                                ? journal::Durability::Process
                                : journal::Durability::Disk;
    return journal_->set_step(
        entry_, place.step.empty() ? stage : place.step, to_json(place), durability);
}

void Progress::wait() const {
    if (journal_ == nullptr)
        return;
    if (const auto noted = journal_->suspend(entry_); !noted)
        log::warning("the journal could not note that an operation waits",
                     {{"error", noted.error().text}});
}

void Progress::go_on() const {
    if (journal_ == nullptr)
        return;
    if (const auto noted = journal_->begin(entry_); !noted)
        log::warning("the journal could not note that an operation is worked on",
                     {{"error", noted.error().text}});
}

void Progress::finish(journal::Outcome outcome, const std::string& note) const {
    if (journal_ == nullptr)
        return;
    if (const auto closed = journal_->close(entry_, outcome, note); !closed)
        log::error("a journal entry could not be closed yet; its operation has ended",
                   {{"error", closed.error().text}});
}

} // namespace novalet::tasks
