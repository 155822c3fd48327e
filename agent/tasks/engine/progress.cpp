#include "agent/tasks/engine/progress.hpp"

#include "agent/core/log.hpp"

namespace novalet::tasks {

Result<void> Progress::note(const Place& place) const {
    const char* const stage = name_of(place.stage);
    log::debug("step", {{"stage", stage}, {"step", place.step}});
    if (journal_ == nullptr)
        return {};
    return journal_->set_step(entry_, place.step.empty() ? stage : place.step, to_json(place));
}

void Progress::finish(journal::Outcome outcome, const std::string& note) const {
    if (journal_ == nullptr)
        return;
    if (const auto closed = journal_->close(entry_, outcome, note); !closed)
        log::error("a journal entry could not be closed yet; its operation has ended",
                   {{"error", closed.error().text}});
}

} // namespace novalet::tasks
