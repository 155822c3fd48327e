#pragma once
// oslo.messaging's envelope and messages as bytes (reference 01 §4, §5). Pure functions.
#include "agent/core/json.hpp"
#include "agent/rpc/request.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace novalet::rpc {

/// Limits of a message from the bus, which is hostile until parsed. The envelope holds the message
/// as a JSON string, so both are parsed with them.
constexpr JsonLimits message_limits{};
/// Longest name of a method, namespace or queue and longest id, in bytes (AMQP's short string).
constexpr std::size_t longest_name = 255;

/// {"oslo.version":"2.0","oslo.message":"…"} around a message. Bytes that are no UTF-8 (a program's
/// output in an error text) are replaced, since the receiver would drop the whole message.
[[nodiscard]] std::string wrap(const Json& message);
/// The message inside; a body without envelope keys is a bare message. InvalidArgument says what is
/// wrong: not JSON, too deep, another major version, no object.
[[nodiscard]] Result<Json> unwrap(std::string_view body);

/// Who waits for the answer of a message, as far as it can be read.
struct ReturnAddress {
    std::string message_id;
    std::string reply_queue;
};
/// Empty for a cast, or when the address itself is unusable.
[[nodiscard]] std::optional<ReturnAddress> return_address(const Json& message);

/// A request message taken apart. InvalidArgument names the member that is missing or wrong; a
/// caller with a `return_address` is to be told.
[[nodiscard]] Result<Request> parse_request(Json message);
/// `_context_*` members, method, args and ids of a request that we send.
[[nodiscard]] Json make_request(const std::string& method,
                                Json args,
                                const std::string& version,
                                const std::string& name_space,
                                const Context& context);

/// `failure` of a reply: JSON text of the serialised exception (reference 01 §5).
[[nodiscard]] std::string serialise_failure(const Error& error);
/// Error of a received failure; the code follows from the class where it is known.
[[nodiscard]] Error parse_failure(const std::string& failure);

/// The final reply, or (ending false) a heartbeat of the call monitor.
[[nodiscard]] Json make_reply(const std::string& message_id, const Result<Json>& result);
[[nodiscard]] Json make_heartbeat(const std::string& message_id);

/// Same major and a minor that is not newer than the implemented one ("6.0" with "6.1").
[[nodiscard]] bool compatible(std::string_view requested, std::string_view implemented) noexcept;

} // namespace novalet::rpc
