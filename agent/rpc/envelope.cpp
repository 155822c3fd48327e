#include "agent/rpc/envelope.hpp"

#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"

#include <array>
#include <optional>
#include <utility>

namespace novalet::rpc {
namespace {

constexpr std::string_view version_key = "oslo.version";
constexpr std::string_view message_key = "oslo.message";
constexpr std::string_view context_prefix = "_context_";
constexpr std::chrono::seconds longest_monitor{86400}; ///< a call that waits longer is no call

Failure bad(const std::string& what) {
    return fail(Code::InvalidArgument, what);
}

std::optional<std::pair<unsigned, unsigned>> parse_version(std::string_view text) {
    const auto dot = text.find('.');
    if (dot == std::string_view::npos)
        return std::nullopt;
    const auto major = to_number<unsigned>(text.substr(0, dot));
    const auto minor = to_number<unsigned>(text.substr(dot + 1));
    if (!major || !minor)
        return std::nullopt;
    return std::pair{*major, *minor};
}

/// nova.exception's `code` attribute of the class, 500 where it has none.
int http_code(const Error& error) {
    switch (error.code) {
    case Code::InvalidArgument:
        return 400;
    case Code::Unauthorized:
        return 403;
    case Code::NotFound:
        return 404;
    case Code::Conflict:
    case Code::AlreadyExists:
        return 409;
    default:
        return 500;
    }
}

/// Classes that the agent reacts to (reference 01 §5).
Code code_of(const std::string& name) {
    if (name.ends_with("NotFound") || name == "NumaTopologyNotFound")
        return Code::NotFound;
    if (name.ends_with("Conflict") || name.ends_with("StateError"))
        return Code::Conflict;
    if (name.ends_with("Exists") || name == "DuplicateRecord")
        return Code::AlreadyExists;
    if (name == "MessagingTimeout")
        return Code::Timeout;
    if (name == "UnsupportedVersion" || name == "NoSuchMethod" ||
        name == "IncompatibleObjectVersion" || name == "UnsupportedObjectError" ||
        name == "ServiceTooOld")
        return Code::Unsupported;
    if (name.starts_with("DB"))
        return Code::Unavailable;
    return Code::Remote;
}

/// A member that is a name or id: absent and null are empty. Control characters and overlong texts
/// would break a log line or an AMQP frame.
Result<std::string> read_name(const Json& message, const char* key) {
    const Json& value = message[key];
    if (value.is_null())
        return std::string();
    if (!value.is_string())
        return bad(cat("request: member '", key, "' is not a string"));
    const std::string& text = value.as_string();
    if (text.size() > longest_name)
        return bad(cat("request: member '",
                       key,
                       "' of ",
                       text.size(),
                       " bytes is over the limit of ",
                       longest_name));
    for (const char c : text)
        if (static_cast<unsigned char>(c) < 0x20U)
            return bad(cat("request: member '", key, "' holds a control character"));
    return text;
}

std::string without_remote(std::string name) {
    constexpr std::string_view suffix = "_Remote";
    if (name.ends_with(suffix))
        name.resize(name.size() - suffix.size());
    return name;
}

} // namespace

bool compatible(std::string_view requested, std::string_view implemented) noexcept {
    const auto wanted = parse_version(requested);
    const auto have = parse_version(implemented);
    return wanted && have && wanted->first == have->first && wanted->second <= have->second;
}

std::string wrap(const Json& message) {
    Json envelope = Json::object();
    envelope.set(version_key, "2.0");
    envelope.set(message_key, to_utf8(message.dump()));
    return envelope.dump();
}

Result<Json> unwrap(std::string_view body) {
    auto envelope = Json::parse(body, message_limits);
    if (!envelope)
        return Failure(envelope.error().in("envelope"));
    if (!envelope->is_object())
        return bad("envelope: expected a JSON object");
    if (!envelope->contains(version_key) && !envelope->contains(message_key))
        return std::move(*envelope);
    if (!compatible((*envelope)[version_key].as_string(), "2.0"))
        return bad(cat("envelope: oslo.version is ",
                       cut_utf8((*envelope)[version_key].dump(), 40),
                       ", expected \"2.0\""));
    if (!(*envelope)[message_key].is_string())
        return bad("envelope: oslo.message is not a string");
    auto message = Json::parse((*envelope)[message_key].as_string(), message_limits);
    if (!message)
        return Failure(message.error().in("oslo.message"));
    if (!message->is_object())
        return bad("oslo.message: expected a JSON object");
    return message;
}

std::optional<ReturnAddress> return_address(const Json& message) {
    const auto id = read_name(message, "_msg_id");
    const auto queue = read_name(message, "_reply_q");
    if (!id || !queue || id->empty() || queue->empty())
        return std::nullopt;
    return ReturnAddress{*id, *queue};
}

Result<Request> parse_request(Json message) {
    Request request;
    for (const auto& [key, target] : {std::pair{"method", &request.method},
                                      std::pair{"version", &request.version},
                                      std::pair{"namespace", &request.name_space},
                                      std::pair{"_unique_id", &request.unique_id},
                                      std::pair{"_msg_id", &request.message_id},
                                      std::pair{"_reply_q", &request.reply_queue}}) {
        NOVALET_ASSIGN(*target, read_name(message, key));
    }
    if (request.method.empty())
        return bad("request: member 'method' is missing or empty");
    if (!message["args"].is_object() && !message["args"].is_null())
        return bad(cat("request ", request.method, ": member 'args' is not an object"));
    if (request.is_call() && request.reply_queue.empty())
        return bad(cat("request ", request.method, ": a call without '_reply_q'"));
    const auto monitor = message["_timeout"].as_int();
    if (monitor > 0 && monitor <= longest_monitor.count())
        request.monitor = std::chrono::seconds(monitor);
    if (message["args"].is_object())
        request.args = std::move(message.member("args"));
    auto members = std::move(message).members();
    Json::Object keys; // the same nodes under shorter names, which keep their order
    for (auto next = members.lower_bound(context_prefix);
         next != members.end() && next->first.starts_with(context_prefix);) {
        auto node = members.extract(next++);
        node.key().erase(0, context_prefix.size());
        keys.insert(keys.end(), std::move(node));
    }
    request.context = Context(std::move(keys));
    return request;
}

Json make_request(const std::string& method,
                  Json args,
                  const std::string& version,
                  const std::string& name_space,
                  const Context& context) {
    Json message = Json::object();
    for (const auto& [key, value] : context.keys().members())
        message.set(cat(context_prefix, key), value);
    message.set("method", method);
    message.set("args", std::move(args));
    if (!version.empty())
        message.set("version", version);
    if (!name_space.empty())
        message.set("namespace", name_space);
    message.set("_unique_id", new_uuid_hex());
    return message;
}

std::string serialise_failure(const Error& error) {
    Json kwargs = Json::object();
    kwargs.set("code", http_code(error));
    Json failure = Json::object();
    failure.set("class", error.exception.empty() ? Json("NovaException") : Json(error.exception));
    failure.set("module", error.exception.empty() ? Json("nova.exception") : Json(error.module));
    failure.set("message", error.text);
    failure.set("tb", Json::Array{error.text + "\n"});
    failure.set("args", Json::Array{error.text});
    // Built-in exceptions take no keyword arguments: the receiver could not make them.
    failure.set("kwargs",
                error.module == "nova.exception" || error.exception.empty() ? std::move(kwargs)
                                                                            : Json::object());
    return failure.dump();
}

Error parse_failure(const std::string& failure) {
    const auto parsed = Json::parse(failure, message_limits);
    Error error;
    if (!parsed) {
        error.code = Code::Remote;
        error.text = cat("unreadable failure from the peer: ", cut_utf8(failure, 200));
        return error;
    }
    error.exception = without_remote((*parsed)["class"].as_string());
    error.module = without_remote((*parsed)["module"].as_string());
    error.text = (*parsed)["message"].as_string();
    if (error.text.empty())
        error.text = error.exception;
    error.code = code_of(error.exception);
    error.retryable = error.code == Code::Unavailable;
    return error;
}

Json make_reply(const std::string& message_id, const Result<Json>& result) {
    Json reply = Json::object();
    reply.set("result", result ? *result : Json());
    reply.set("failure", result ? Json() : Json(serialise_failure(result.error())));
    reply.set("ending", true);
    reply.set("_msg_id", message_id);
    reply.set("_unique_id", new_uuid_hex());
    return reply;
}

Json make_heartbeat(const std::string& message_id) {
    Json reply = make_reply(message_id, Json());
    reply.set("ending", false);
    return reply;
}

} // namespace novalet::rpc
