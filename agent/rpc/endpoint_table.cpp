#include "agent/rpc/endpoint_table.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "agent/rpc/envelope.hpp"

#include <algorithm>

namespace novalet::rpc {
namespace {

constexpr const char* dispatcher_module = "oslo_messaging.rpc.dispatcher";
constexpr std::size_t shown_bytes = 100; ///< of a name that a peer made up

Failure refuse(const char* exception, const char* module, Code code, std::string text) {
    Error error;
    error.code = code;
    error.text = std::move(text);
    error.exception = exception;
    error.module = module;
    return Failure(std::move(error));
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

/// As Python binds keyword arguments; callers know a TypeError.
Result<void> check_arguments(const Method& method, const Json& args) {
    if (method.any_arguments)
        return {};
    for (const auto& [name, value] : args.members())
        if (!contains(method.required, name) && !contains(method.optional, name))
            return refuse("TypeError",
                          "builtins",
                          Code::InvalidArgument,
                          cat(method.name,
                              "() got an unexpected keyword argument '",
                              cut_utf8(name, shown_bytes),
                              "'"));
    for (const auto& name : method.required)
        if (!args.contains(name))
            return refuse("TypeError",
                          "builtins",
                          Code::InvalidArgument,
                          cat(method.name, "() missing required argument: '", name, "'"));
    return {};
}

} // namespace

void EndpointTable::add(std::string name_space, std::string version, std::vector<Method> methods) {
    endpoints_.push_back({std::move(name_space), std::move(version), std::move(methods)});
}

Result<const Method*> EndpointTable::find(const Request& request) const {
    const std::string wanted = request.version.empty() ? "1.0" : request.version;
    bool found_compatible = false;
    for (const auto& endpoint : endpoints_) {
        if (endpoint.name_space != request.name_space || !compatible(wanted, endpoint.version))
            continue;
        found_compatible = true;
        for (const auto& method : endpoint.methods) {
            if (method.name != request.method)
                continue;
            NOVALET_TRY(check_arguments(method, request.args));
            return &method;
        }
    }
    const std::string method = cut_utf8(request.method, shown_bytes);
    if (found_compatible)
        return refuse("NoSuchMethod",
                      dispatcher_module,
                      Code::Unsupported,
                      "Endpoint does not support RPC method " + method);
    return refuse("UnsupportedVersion",
                  dispatcher_module,
                  Code::Unsupported,
                  cat("Endpoint does not support RPC version ",
                      cut_utf8(wanted, shown_bytes),
                      ". Attempted method: ",
                      method));
}

void EndpointTable::dispatch(Request request, Responder responder) const {
    const auto method = find(request);
    if (method) {
        (*method)->handler(std::move(request), std::move(responder));
        return;
    }
    const Error& error = method.error();
    metrics::counter("novalet_rpc_refused_total",
                     "Requests for a method, version or arguments that do not exist here",
                     {{"exception", error.exception}})
        .add();
    log::warning("a request was refused",
                 {{"req", request.context.request_id()},
                  {"namespace", cut_utf8(request.name_space, shown_bytes)},
                  {"answered", request.is_call()},
                  {"reason", error.text}});
    responder.reply(Failure(error));
}

void add_base_api(EndpointTable& table, const std::string& service) {
    Method ping;
    ping.name = "ping";
    ping.required = {"arg"};
    ping.handler = [service](const Request& request, const Responder& responder) {
        Json answer = Json::object();
        answer.set("service", service);
        answer.set("arg", request.args["arg"]);
        responder.reply(answer);
    };
    Method backdoor;
    backdoor.name = "get_backdoor_port";
    backdoor.handler = [](const Request& /*request*/, const Responder& responder) {
        responder.reply(Json());
    };
    table.add("baseapi", "1.1", {std::move(ping), std::move(backdoor)});
}

} // namespace novalet::rpc
