#include "agent/tasks/engine/operation_run.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/records/nova_exceptions.hpp"
#include "agent/tasks/records/operation.hpp"

#include <algorithm>
#include <utility>

namespace novalet::tasks {
namespace {

constexpr unsigned most_tries = 4;

} // namespace

OperationRun::OperationRun(const Waits& waits,
                           std::unique_ptr<Saga> saga,
                           Progress progress,
                           Gate* gate,
                           rpc::Responder responder)
    : waits_(waits), saga_(std::move(saga)), progress_(std::move(progress)),
      responder_(std::move(responder)) {
    if (gate != nullptr)
        ticket_.emplace(*gate);
    saga_->set_checkpoint([this] {
        noted_ = false;
        return note();
    });
}

void OperationRun::continue_from(std::optional<Place> place) {
    look_ = true;
    rests_ = true; // until its turn comes
    if (!place)
        return;
    begun_ = true;
    stage_ = place->stage;
    failure_ = std::move(place->failure);
    // A step of an older release that is not there any more: all of them are gone through again.
    step_ = stage_ == Stage::Back ? saga_->steps() - 1 : 0;
    for (std::size_t i = 0; i < saga_->steps(); ++i)
        if (place->step == saga_->name(i))
            step_ = i;
    for (std::size_t i = 0; stage_ == Stage::Forward && i <= step_ && i < saga_->steps(); ++i)
        point_passed_ = point_passed_ || saga_->after_crash(i) == AfterCrash::OnlyForward;
    if (const auto restored = saga_->restore(place->state, place->state_version); !restored)
        give_up(restored.error());
}

void OperationRun::give_up() {
    give_up(saga_->given_up());
}

void OperationRun::give_up(Error error) {
    switch (stage_) {
    case Stage::Begin:
    case Stage::Forward:
        go_back(std::move(error));
        break;
    case Stage::Back:
        go_to(Stage::Conclude);
        break;
    case Stage::Conclude:
    case Stage::End:
    case Stage::Unlock:
        break; // its end is near
    }
}

void OperationRun::go_to(Stage stage) {
    stage_ = stage;
    noted_ = false;
    begun_ = false;
}

/// From the step under way, which may have done a part of its work.
void OperationRun::go_back(Error error) {
    log::info("the operation is undone", {{"reason", error.text}});
    failure_ = std::move(error);
    if (point_passed_ || saga_->steps() == 0)
        return go_to(Stage::Conclude);
    step_ = std::min(step_, saga_->steps() - 1);
    go_to(Stage::Back);
}

Result<void> OperationRun::note() {
    if (noted_)
        return {};
    Place place;
    place.stage = stage_;
    if (stage_ == Stage::Forward || stage_ == Stage::Back)
        place.step = saga_->name(step_);
    place.state = saga_->state();
    place.state_version = saga_->state_version();
    place.failure = failure_;
    NOVALET_TRY(progress_.note(place));
    noted_ = true;
    return {};
}

std::optional<Turn> OperationRun::wait_in_line(const std::stop_token& stop) {
    // Who is to give up does not wait for a place to begin.
    const bool gives_up = stop.stop_requested() && saga_->gives_way();
    if (!ticket_ || ticket_->enter() || gives_up)
        return std::nullopt;
    return Turn::parked([this](Turn::Wake wake) { ticket_->wait(std::move(wake)); });
}

std::optional<Turn> OperationRun::wait_out(const Error& error) {
    Outage* const outage = control_plane_unreachable(error) ? &waits_.control_plane
                           : hypervisor_unreachable(error)  ? &waits_.hypervisor
                                                            : nullptr;
    if (outage != nullptr) {
        if (waiting_for_ != outage)
            log::warning("a peer cannot be reached; the operation waits for it",
                         {{"error", error.text}});
        waiting_for_ = outage;
        look_ = true;
        begun_ = true;
        return Turn::parked([outage](Turn::Wake wake) { outage->wait(std::move(wake)); });
    }
    if (!std::exchange(pauses_, false))
        return std::nullopt;
    const auto pause = waits_.undo_pause * (1U << (tries_ - 1));
    log::warning("what failed is tried again after a pause",
                 {{"stage", name_of(stage_)}, {"error", error.text}});
    return Turn::parked(
        [this, pause](Turn::Wake wake) { waits_.timer.after(pause, std::move(wake)); });
}

/// Others found that the control plane is away: one of them tries for all.
std::optional<Turn> OperationRun::wait_with_others() {
    Outage& outage = waits_.control_plane;
    if (stage_ != Stage::Begin || waiting_for_ != nullptr || !outage.present())
        return std::nullopt;
    waiting_for_ = &outage;
    return Turn::parked([&outage](Turn::Wake wake) { outage.wait(std::move(wake)); });
}

Turn OperationRun::turn(const std::stop_token& stop) {
    saga_->set_stop(stop);
    if (auto line = wait_in_line(stop))
        return *line;
    if (auto others = wait_with_others())
        return *others;
    if (std::exchange(rests_, false))
        progress_.go_on();
    for (;;) {
        const auto more = advance();
        if (!more) {
            if (auto pause = wait_out(more.error())) {
                progress_.wait();
                rests_ = true;
                return *pause;
            }
            continue; // a failure, which has been turned into a stage
        }
        if (waiting_for_ != nullptr)
            std::exchange(waiting_for_, nullptr)->over();
        if (!*more) {
            close();
            return Turn::done();
        }
    }
}

bool OperationRun::is_to_be_waited_out(const Result<void>& result) const {
    return !result && (pauses_ || waits_for_peer(result.error()));
}

/// Errors that are to be waited out are returned and change nothing; others decide the next stage.
Result<bool> OperationRun::advance() {
    const auto waits = [this](const Result<void>& result) { return is_to_be_waited_out(result); };
    switch (stage_) {
    case Stage::Begin: {
        auto begun = begin();
        if (waits(begun))
            return Failure(begun.error());
        if (!begun) {
            // What an earlier process may have begun is undone, and its failure recorded.
            if (look_) {
                go_back(begun.error());
                return true;
            }
            failure_ = begun.error();
            go_to(Stage::Unlock);
        }
        return !ended_before_;
    }
    case Stage::Forward: {
        auto done = forward();
        if (waits(done))
            return Failure(done.error());
        if (!done)
            go_back(done.error());
        return true;
    }
    case Stage::Back:
        NOVALET_TRY(back());
        return true;
    case Stage::Conclude: {
        auto concluded = conclude();
        if (waits(concluded))
            return Failure(concluded.error());
        warn("the failure could not be recorded completely", concluded);
        go_to(Stage::End);
        return true;
    }
    case Stage::End: {
        auto ended = end();
        if (waits(ended))
            return Failure(ended.error());
        warn("the action event could not be finished", ended);
        go_to(Stage::Unlock);
        return failure_.has_value();
    }
    case Stage::Unlock: {
        auto unlocked = unlock();
        if (waits(unlocked))
            return Failure(unlocked.error());
        warn("the server stays locked until its state is reset", unlocked);
        return false;
    }
    }
    return false;
}

Result<void> OperationRun::begin() {
    if (look_) {
        NOVALET_ASSIGN(const bool wanted, is_wanted());
        ended_before_ = !wanted;
        if (!wanted)
            return {};
    }
    NOVALET_TRY(saga_->begin());
    go_to(Stage::Forward);
    return {};
}

/// A record that cannot be read says nothing of the operation, which may have ended well: it is
/// read again after a pause, a few times.
Result<bool> OperationRun::is_wanted() {
    auto wanted = saga_->resume();
    if (!wanted && !waits_for_peer(wanted.error()) &&
        family_of(wanted.error()) != Family::InstanceGone && ++tries_ < most_tries) {
        pauses_ = true;
        return wanted;
    }
    if (!wanted && waits_for_peer(wanted.error()))
        return wanted;
    tries_ = 0;
    look_ = !wanted;
    return wanted;
}

/// Only asked of a step that may have had its effect.
Result<bool> OperationRun::is_done_already() {
    switch (saga_->after_crash(step_)) {
    case AfterCrash::LookFirst:
        return saga_->look(step_);
    case AfterCrash::Undo:
        return fail(Code::Cancelled,
                    cat("step ", saga_->name(step_), " was interrupted and cannot be done twice"));
    case AfterCrash::Again:
    case AfterCrash::OnlyForward:
        break;
    }
    return false;
}

Result<void> OperationRun::forward() {
    if (look_) {
        NOVALET_ASSIGN(const bool wanted, is_wanted());
        if (!wanted) {
            log::info("the operation had ended before");
            go_to(Stage::End);
            return {};
        }
    }
    if (step_ == saga_->steps()) {
        go_to(Stage::End);
        return {};
    }
    if (saga_->stop().stop_requested() && saga_->gives_way() && !point_passed_)
        return fail(Code::Cancelled, "a delete of the server overtook the operation");
    bool done = false;
    if (begun_) {
        NOVALET_ASSIGN(done, is_done_already());
    }
    if (!done) {
        if (auto noted = note(); !noted) {
            if (step_ > 0 && !begun_) // before its effect: there is nothing of it to undo
                --step_;
            return Failure(noted.error().in("the journal cannot take the next step"));
        }
        point_passed_ = point_passed_ || saga_->after_crash(step_) == AfterCrash::OnlyForward;
        NOVALET_TRY(saga_->run(step_));
    }
    ++step_;
    noted_ = false;
    begun_ = false;
    return {};
}

/// Undos, conclusion and end do not add to what is there: they are done also when the journal
/// cannot note them, and the records are read again before anything that an old note asks for.
void OperationRun::warn_of_note() {
    warn("the journal could not note how far an operation has come", note());
}

Result<void> OperationRun::look_again() {
    if (!look_)
        return {};
    auto looked = saga_->resume_undo();
    if (!looked && waits_for_peer(looked.error()))
        return looked;
    warn("the records could not be read again; what is known of them has to do", looked);
    look_ = false;
    return {};
}

Result<void> OperationRun::back() {
    NOVALET_TRY(look_again());
    warn_of_note();
    auto undone = saga_->undo(step_);
    if (!undone) {
        const auto& error = undone.error();
        if (waits_for_peer(error))
            return undone;
        pauses_ = ++tries_ < most_tries;
        if (pauses_)
            return undone;
        log::error("a step could not be undone; what it made is left to the periodic clean-up",
                   {{"step", saga_->name(step_)}, {"error", error.text}});
    }
    tries_ = 0;
    if (step_ == 0)
        go_to(Stage::Conclude);
    else
        --step_;
    noted_ = false;
    return {};
}

Result<void> OperationRun::conclude() {
    NOVALET_TRY(look_again());
    warn_of_note();
    return saga_->conclude(*failure_);
}

Result<void> OperationRun::end() {
    NOVALET_TRY(look_again());
    warn_of_note();
    return saga_->end(failure_ ? &*failure_ : nullptr);
}

Result<void> OperationRun::unlock() {
    NOVALET_TRY(look_again());
    warn_of_note();
    return saga_->unlock(*failure_);
}

void OperationRun::close() {
    if (failure_)
        log::warning("operation failed", {{"error", failure_->text}});
    progress_.finish(failure_ ? journal::Outcome::Failed : journal::Outcome::Done,
                     failure_ ? failure_->text : std::string());
    responder_.reply(failure_ ? Result<Json>(Failure(*failure_)) : Result<Json>(saga_->answer()));
}

} // namespace novalet::tasks
