#include "agent/tasks/engine/place.hpp"

#include "agent/core/text.hpp"

#include <array>

namespace novalet::tasks {
namespace {

constexpr int document_version = 1;
constexpr std::array stages{
    Stage::Begin, Stage::Forward, Stage::Back, Stage::Conclude, Stage::End, Stage::Unlock};
constexpr std::array codes{Code::InvalidArgument,
                           Code::NotFound,
                           Code::AlreadyExists,
                           Code::Conflict,
                           Code::Unavailable,
                           Code::Timeout,
                           Code::Unauthorized,
                           Code::ResourceExhausted,
                           Code::Unsupported,
                           Code::Cancelled,
                           Code::DataLoss,
                           Code::Remote,
                           Code::Internal};

Json to_json(const Error& error) {
    Json out = Json::object();
    out.set("code", name_of(error.code));
    out.set("text", error.text);
    out.set("exception", error.exception);
    out.set("module", error.module);
    return out;
}

Error error_from_json(const Json& document) {
    Error error;
    for (const auto code : codes)
        if (document["code"].as_string() == name_of(code))
            error.code = code;
    error.text = document["text"].as_string();
    error.exception = document["exception"].as_string();
    error.module = document["module"].as_string();
    return error;
}

} // namespace

const char* name_of(Stage stage) noexcept {
    switch (stage) {
    case Stage::Begin:
        return "begin";
    case Stage::Forward:
        return "forward";
    case Stage::Back:
        return "back";
    case Stage::Conclude:
        return "conclude";
    case Stage::End:
        return "end";
    case Stage::Unlock:
        return "unlock";
    }
    return "unknown";
}

Json to_json(const Place& place) {
    Json out = Json::object();
    out.set("version", document_version);
    out.set("stage", name_of(place.stage));
    out.set("step", place.step);
    out.set("state", place.state);
    out.set("state_version", place.state_version);
    if (place.failure)
        out.set("error", to_json(*place.failure));
    return out;
}

Result<Place> place_from_json(const Json& document) {
    if (const auto version = document["version"].as_int(); version != document_version)
        return fail(Code::InvalidArgument,
                    cat("the place of an operation has version ",
                        version,
                        ", this novalet reads ",
                        document_version));
    Place place;
    bool known = false;
    for (const auto stage : stages)
        if (document["stage"].as_string() == name_of(stage)) {
            place.stage = stage;
            known = true;
        }
    if (!known)
        return fail(Code::InvalidArgument,
                    cat("an operation cannot be in stage '", document["stage"].as_string(), "'"));
    place.step = document["step"].as_string();
    place.state = document["state"];
    place.state_version = static_cast<int>(document["state_version"].as_int(1));
    if (document.contains("error"))
        place.failure = error_from_json(document["error"]);
    return place;
}

} // namespace novalet::tasks
