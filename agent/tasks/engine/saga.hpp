#pragma once
// An operation as a row of steps. Each step is journalled with the operation's state before its
// effect, so that another process does the remaining ones; a failure walks the undos backwards.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>

namespace novalet::tasks {

/// What happens to a step that was begun and whose end is not known: the process died, or the peer
/// that was asked did not answer.
enum class AfterCrash {
    Again,     ///< done once more: the step makes sure of an end, it does not add to what is there
    LookFirst, ///< `look` says whether it took place; done once more when not
    OnlyForward, ///< done once more; others count on it, so nothing is undone from here on
    Undo         ///< cannot be done twice: the operation is undone
};

/// What the engine asks of an operation. One thread at a time; an object serves one request.
class Saga {
  public:
    virtual ~Saga() = default;

    [[nodiscard]] virtual std::size_t steps() const = 0;
    [[nodiscard]] virtual const char* name(std::size_t step) const = 0;
    [[nodiscard]] virtual AfterCrash after_crash(std::size_t step) const = 0;
    [[nodiscard]] virtual Result<void> run(std::size_t step) = 0;
    /// Takes back what the step made or may have made; ok when there is nothing. Called for the
    /// step that failed, too, and again when its own answer was lost.
    [[nodiscard]] virtual Result<void> undo(std::size_t step) = 0;
    /// Did the step take place? Asked for LookFirst only.
    [[nodiscard]] virtual Result<bool> look(std::size_t step) = 0;

    /// What later steps need of earlier ones and no record holds: small, without secrets.
    [[nodiscard]] virtual Json state() const { return Json::object(); }
    /// Version of state(); `restore` gets a document of this version or an older one.
    [[nodiscard]] virtual int state_version() const { return 1; }
    [[nodiscard]] virtual Result<void> restore(const Json& state, int version) = 0;

    /// Reads the records again after a crash or an outage. False: nothing is left to do, for the
    /// operation had ended or the server is somebody else's by now. An error is the operation's.
    [[nodiscard]] virtual Result<bool> resume() = 0;
    /// The same before undos, which are done in any case: what cannot be read stays as it was.
    [[nodiscard]] virtual Result<void> resume_undo() = 0;

    /// The records of the operation's begin and of its end (action event).
    [[nodiscard]] virtual Result<void> begin() = 0;
    [[nodiscard]] virtual Result<void> end(const Error* failure) = 0;
    /// After the undos: what the failure leaves in the control plane. May be called again.
    [[nodiscard]] virtual Result<void> conclude(const Error& failure) = 0;
    /// After `end` of a failure: the server is given free for other operations.
    [[nodiscard]] virtual Result<void> unlock(const Error& failure) = 0;

    /// Why it fails when processes died over it several times.
    [[nodiscard]] virtual Error given_up() const = 0;
    /// Does a delete of the server overtake it? Then it is undone at the next step.
    [[nodiscard]] virtual bool gives_way() const { return false; }
    /// What the caller gets when all is well.
    [[nodiscard]] virtual Json answer() const { return Json(); }

    /// A delete overtakes the operation, or the agent stops: long steps give up soon. Of the turn
    /// under way.
    [[nodiscard]] const std::stop_token& stop() const noexcept { return stop_; }
    void set_stop(std::stop_token stop) { stop_ = std::move(stop); }
    /// For a step or conclusion of several effects: what state() says now is on disk when it
    /// returns ok. Set by the engine.
    using Checkpoint = std::function<Result<void>()>;
    void set_checkpoint(Checkpoint checkpoint) { checkpoint_ = std::move(checkpoint); }

  protected:
    [[nodiscard]] Result<void> checkpoint() const {
        return checkpoint_ ? checkpoint_() : Result<void>();
    }

  private:
    std::stop_token stop_;
    Checkpoint checkpoint_;
};

/// One row of an operation's table of steps.
template <class Operation> struct Step {
    const char* name;
    AfterCrash after_crash;
    Result<void> (Operation::*run)();
    Result<void> (Operation::*undo)() = nullptr;
    Result<bool> (Operation::*look)() = nullptr; ///< with LookFirst
};

/// Turns an operation's table into what the engine asks. `Operation` has
/// `static std::span<const Step<Operation>> table()`; `Base` is a Saga.
template <class Operation, class Base> class Steps : public Base {
  public:
    using Base::Base;
    [[nodiscard]] std::size_t steps() const final { return Operation::table().size(); }
    [[nodiscard]] const char* name(std::size_t step) const final { return row(step).name; }
    [[nodiscard]] AfterCrash after_crash(std::size_t step) const final {
        return row(step).after_crash;
    }
    [[nodiscard]] Result<void> run(std::size_t step) final { return (self().*row(step).run)(); }
    [[nodiscard]] Result<void> undo(std::size_t step) final {
        return row(step).undo != nullptr ? (self().*row(step).undo)() : Result<void>();
    }
    [[nodiscard]] Result<bool> look(std::size_t step) final {
        return row(step).look != nullptr ? (self().*row(step).look)() : Result<bool>(false);
    }

  private:
    [[nodiscard]] static const Step<Operation>& row(std::size_t step) {
        return Operation::table()[step];
    }
    [[nodiscard]] Operation& self() { return static_cast<Operation&>(*this); }
};

} // namespace novalet::tasks
