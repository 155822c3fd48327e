// The indirection API itself; the typed verbs are in conductor_*.cpp.
#include "agent/objects/conductor.hpp"

#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

#include <condition_variable>
#include <stdexcept>

namespace novalet::objects {
namespace {

const rpc::Target conductor_target{"conductor", "", "", "3.0", false};

/// Changes that name a dict without holding it would make the conductor delete the dict's keys.
Result<void> check_whole_dicts(const Object& object) {
    if (object.name() != "Instance")
        return {};
    for (const char* field : {"metadata", "system_metadata"})
        if (object.changes().contains(field) && !object.get(field).is_object())
            return fail(Code::InvalidArgument,
                        cat("instance ",
                            object.text("uuid"),
                            ": ",
                            field,
                            " is marked as changed but not loaded; it is not saved, since the "
                            "conductor would delete its keys"));
    return {};
}

} // namespace

Conductor::Conductor(rpc::Caller& bus, Release release, Milliseconds timeout)
    : bus_(bus), timeout_(timeout), release_(std::make_shared<const Release>(std::move(release))) {}

std::shared_ptr<const Release> Conductor::profile() const {
    const std::lock_guard lock(mutex_);
    return release_;
}

Release Conductor::release() const {
    return *profile();
}

void Conductor::adopt(Release release) {
    auto next = std::make_shared<const Release>(std::move(release));
    const std::lock_guard lock(mutex_);
    release_.swap(next);
}

Object Conductor::make(const std::string& object) const {
    const auto release = profile();
    auto version = release->version_of(object);
    if (version.empty())
        throw std::logic_error(cat("release ", release->name, " knows no object ", object));
    return {object, std::move(version)};
}

Result<Json> Conductor::call(const std::string& method, Json args, const rpc::Context& context) {
    return bus_.call(conductor_target, method, std::move(args), context, {timeout_, {}});
}

Result<void> Conductor::wait_until_alive(const std::stop_token& stop, Milliseconds pause) {
    // Nova asks ten times for 10 s and then once a minute for 60 s (nova/conductor/api.py,
    // wait_until_ready). The short wait is kept here, so that a stop is heeded, and only the log
    // lines become rare.
    constexpr Milliseconds wait{10000};
    constexpr unsigned noisy_tries = 10;
    constexpr unsigned tries_per_line = 6;
    std::mutex mutex;
    std::condition_variable_any stopped;
    for (unsigned attempt = 1; !stop.stop_requested(); ++attempt) {
        Json args = Json::object();
        args.set("arg", "1.21 GigaWatts");
        const auto answer = bus_.call({"conductor", "", "baseapi", "1.0", false},
                                      "ping",
                                      std::move(args),
                                      rpc::Context::admin(),
                                      {wait, {}});
        if (answer)
            return {};
        if (attempt <= noisy_tries || attempt % tries_per_line == 0)
            log::warning("waiting for nova-conductor to answer on the message bus; is it running, "
                         "with the same transport_url?",
                         {{"attempt", attempt}, {"error", answer.error().text}});
        std::unique_lock lock(mutex);
        stopped.wait_for(lock, stop, pause, [] { return false; });
    }
    return fail(Code::Cancelled, "stopped while waiting for nova-conductor");
}

Result<Json> Conductor::class_action(const std::string& object,
                                     const std::string& method,
                                     Json args,
                                     Json kwargs,
                                     const rpc::Context& context) {
    Json versions = Json::object();
    for (auto& [name, version] : profile()->manifest(object))
        versions.set(name, std::move(version));
    Json request = Json::object();
    request.set("objname", object);
    request.set("objmethod", method);
    request.set("object_versions", std::move(versions));
    request.set("args", std::move(args));
    request.set("kwargs", std::move(kwargs));
    return call("object_class_action_versions", std::move(request), context);
}

Result<Json> Conductor::action(Object& object,
                               const std::string& method,
                               Json args,
                               Json kwargs,
                               const rpc::Context& context) {
    NOVALET_TRY(check_whole_dicts(object));
    Json request = Json::object();
    request.set("objinst", object.to_primitive());
    request.set("objmethod", method);
    request.set("args", std::move(args));
    request.set("kwargs", std::move(kwargs));
    NOVALET_ASSIGN(Json answer, call("object_action", std::move(request), context));
    if (!answer.is_array() || answer.size() != 2 || !answer.at(0).is_object())
        return fail(Code::Remote,
                    cat("the conductor answered ",
                        object.name(),
                        '.',
                        method,
                        " with something else than [updates, result]"));
    auto& parts = answer.elements();
    object.apply_updates(std::move(parts[0]));
    return std::move(parts[1]);
}

Result<Object> Conductor::backport(const Object& object, const rpc::Context& context) {
    Json versions = Json::object();
    for (auto& [name, version] : profile()->manifest(object.name()))
        versions.set(name, std::move(version));
    Json request = Json::object();
    request.set("objinst", object.to_primitive());
    request.set("object_versions", std::move(versions));
    NOVALET_ASSIGN(Json answer, call("object_backport_versions", std::move(request), context));
    return Object::parse(std::move(answer), object.name());
}

Result<std::string> Conductor::probe_version(const std::string& object,
                                             const std::string& impossible,
                                             const rpc::Context& context) {
    Json versions = Json::object();
    versions.set(object, impossible);
    Json request = Json::object();
    request.set("objname", object);
    request.set("objmethod", "obj_name");
    request.set("object_versions", std::move(versions));
    request.set("args", Json::array());
    request.set("kwargs", Json::object());
    const auto answer = call("object_class_action_versions", std::move(request), context);
    if (answer)
        return fail(Code::Remote,
                    cat("version ", impossible, " of ", object, " was accepted as a probe"));
    constexpr std::string_view marker = "supported version is ";
    const std::string_view text = answer.error().text;
    const auto at = text.find(marker);
    if (answer.error().exception != "IncompatibleObjectVersion" || at == std::string_view::npos)
        return Failure(answer.error());
    const auto rest = text.substr(at + marker.size());
    return std::string(rest.substr(0, rest.find_first_not_of("0123456789.")));
}

Result<Object> Conductor::get(const std::string& object,
                              const std::string& method,
                              Json args,
                              Json kwargs,
                              const rpc::Context& context) {
    NOVALET_ASSIGN(Json answer,
                   class_action(object, method, std::move(args), std::move(kwargs), context));
    auto found = Object::parse(std::move(answer), object);
    if (!found)
        return Failure(found.error().in(cat(object, '.', method)));
    return found;
}

Result<std::vector<Object>> Conductor::get_list(const std::string& list,
                                                const std::string& method,
                                                Json args,
                                                Json kwargs,
                                                const rpc::Context& context) {
    NOVALET_ASSIGN(Json answer,
                   class_action(list, method, std::move(args), std::move(kwargs), context));
    if (!data_of(answer)["objects"].is_array())
        return fail(Code::Remote,
                    cat("the conductor answered ", list, '.', method, " with no list of objects"));
    auto& elements = answer.member("nova_object.data").member("objects").elements();
    std::vector<Object> objects;
    objects.reserve(elements.size());
    for (auto& element : elements) {
        NOVALET_ASSIGN(auto object, Object::parse(std::move(element)));
        objects.push_back(std::move(object));
    }
    return objects;
}

Result<void>
Conductor::run(Object& object, const std::string& method, const rpc::Context& context) {
    NOVALET_TRY(action(object, method, Json::array(), Json::object(), context));
    return {};
}

} // namespace novalet::objects
