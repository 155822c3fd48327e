#pragma once
// Where an operation stands, as the journal stores it.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

#include <optional>
#include <string>

namespace novalet::tasks {

/// The stages of an operation, in order. Forward, Back and Conclude are repeated for each step.
enum class Stage {
    Begin,    ///< the action event is started
    Forward,  ///< steps are done
    Back,     ///< steps are undone
    Conclude, ///< the failure's records
    End,      ///< the action event is finished
    Unlock    ///< a failed operation gives the server free
};

/// A small versioned document:
///   {"version": 1, "stage": "forward", "step": "claim", "state": {…}, "state_version": 1,
///    "error": {"code": …, "text": …, "exception": …, "module": …}}     error only after a failure
struct Place {
    Stage stage = Stage::Begin;
    std::string step;             ///< of Forward and Back
    Json state;                   ///< Saga::state()
    int state_version = 1;        ///< Saga::state_version()
    std::optional<Error> failure; ///< what is being undone or concluded
};

[[nodiscard]] Json to_json(const Place& place);
/// InvalidArgument for another document or a newer version of it.
[[nodiscard]] Result<Place> place_from_json(const Json& document);

/// "forward", "back", …
[[nodiscard]] const char* name_of(Stage stage) noexcept;

} // namespace novalet::tasks
