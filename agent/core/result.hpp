#pragma once
// Result<T>: an expected failure is a value. Same surface as std::expected, so that the switch to
// C++23 is the alias below.
#include <source_location>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace novalet {

/// What kind of failure this is; decides what a caller may do about it.
enum class Code {
    InvalidArgument,   ///< the input is wrong; trying again cannot help
    NotFound,          ///< the thing named does not exist
    AlreadyExists,     ///< it exists where it must not
    Conflict,          ///< somebody changed it meanwhile; read again and retry
    Unavailable,       ///< peer or resource out of reach for now; retry later
    Timeout,           ///< no answer in time
    Unauthorized,      ///< refused by authentication or policy
    ResourceExhausted, ///< capacity, quota, disk or memory is used up
    Unsupported,       ///< not possible on this host or with this release
    Cancelled,         ///< stopped on purpose
    DataLoss,          ///< stored data is damaged
    Remote,            ///< an exception of a peer that has no better code
    Internal           ///< a broken invariant of ours
};

/// Stable lower-case name ("not_found") for logs and metrics.
[[nodiscard]] const char* name_of(Code code) noexcept;

/// One failure. `exception` and `module` carry the class that Nova's callers recognise when the
/// failure came from, or is meant for, an RPC peer (reference 01 §5); empty otherwise.
struct Error {
    Code code = Code::Internal;
    std::string text;      ///< for the operator: what was tried, on what, what came back
    std::string exception; ///< e.g. "InstanceNotFound"
    std::string module;    ///< e.g. "nova.exception"
    bool retryable = false;
    std::source_location where = std::source_location::current();

    /// The same failure with `what: ` put in front of the text.
    [[nodiscard]] Error in(const std::string& what) const& {
        Error copy = *this;
        copy.text = what + ": " + text;
        return copy;
    }
};

template <class T = void> using Result = tl::expected<T, Error>;
using Failure = tl::unexpected<Error>;

[[nodiscard]] inline Failure
fail(Code code, std::string text, std::source_location where = std::source_location::current()) {
    return Failure(Error{code, std::move(text), {}, {}, code == Code::Unavailable, where});
}

/// A failure that goes over RPC under the name of one of Nova's exceptions (module nova.exception).
[[nodiscard]] inline Failure fail_as(std::string exception,
                                     Code code,
                                     std::string text,
                                     std::source_location where = std::source_location::current()) {
    return Failure(
        Error{code, std::move(text), std::move(exception), "nova.exception", false, where});
}

/// Ignoring a Result is written down with its reason.
template <class T> void discard(const T& /*ignored*/, const char* /*reason*/) noexcept {}

} // namespace novalet

/// Return the error of a Result<void>-like expression to the caller.
#define NOVALET_TRY(expression)                                                                    \
    do {                                                                                           \
        if (auto novalet_try_result = (expression); !novalet_try_result)                           \
            return ::novalet::Failure(std::move(novalet_try_result).error());                      \
    } while (false)

#define NOVALET_CONCAT_(a, b) a##b
#define NOVALET_CONCAT(a, b) NOVALET_CONCAT_(a, b)
/// `NOVALET_ASSIGN(auto value, function());`: the value, or return the error to the caller.
#define NOVALET_ASSIGN(declaration, expression)                                                    \
    NOVALET_ASSIGN_(declaration, expression, NOVALET_CONCAT(novalet_result_, __LINE__))
#define NOVALET_ASSIGN_(declaration, expression, result)                                           \
    auto result = (expression);                                                                    \
    if (!(result))                                                                                 \
        return ::novalet::Failure(std::move(result).error());                                      \
    declaration = std::move(*(result))
