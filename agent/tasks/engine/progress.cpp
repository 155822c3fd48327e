#include "agent/tasks/engine/progress.hpp"

#include "agent/core/log.hpp"

namespace novalet::tasks {

void Progress::step(const char* name) const {
    log::debug("step", {{"step", name}});
    if (journal_ == nullptr)
        return;
    *last_ = name;
    if (const auto noted = journal_->set_step(entry_, name); !noted)
        log::warning("the journal could not note a step; after a crash it would be done again",
                     {{"step", name}, {"error", noted.error().text}});
}

Progress Progress::again() const {
    if (last_->empty()) // not even the first step was begun
        return {*journal_, entry_};
    return {*journal_, entry_, *last_};
}

void Progress::finish(journal::Outcome outcome, const std::string& note) const {
    if (journal_ == nullptr)
        return;
    if (const auto closed = journal_->close(entry_, outcome, note); !closed)
        log::error(
            "a journal entry could not be closed; it will be looked at again after a restart",
            {{"error", closed.error().text}});
}

} // namespace novalet::tasks
