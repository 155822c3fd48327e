#pragma once
// Which methods exist, in which namespace and version, and what the callers of others get
// (reference 01 §5, dispatch rule; oslo_messaging/rpc/dispatcher.py).
#include "agent/rpc/request.hpp"

#include <functional>
#include <string>
#include <vector>

namespace novalet::rpc {

/// One method of an endpoint. The arguments' names are checked before the handler runs; their
/// values are the handler's business.
struct Method {
    /// On the accept thread: must not block. It owns the answer.
    using Handler = std::function<void(Request request, Responder responder)>;

    std::string name;
    std::vector<std::string> required; ///< argument names
    std::vector<std::string> optional; ///< argument names
    bool has_effects = false;          ///< goes into the journal before it is acknowledged
    Handler handler;
    bool any_arguments = false; ///< names are not checked
};

/// Endpoints in the order they were added. Filled before the servers start, constant afterwards:
/// the const members may then be called from any thread.
class EndpointTable {
  public:
    /// `version` is what is implemented ("6.1"): requests of the same major and no newer minor come
    /// here. `name_space` is empty for the main endpoint.
    void add(std::string name_space, std::string version, std::vector<Method> methods);

    /// The method of a request. Otherwise the error that the caller expects, ready to be replied:
    /// UnsupportedVersion when no endpoint has this namespace and version, NoSuchMethod when one
    /// has but lacks the method (module oslo_messaging.rpc.dispatcher), TypeError (module builtins)
    /// for missing or unexpected arguments. The pointer lives as long as the table is unchanged.
    [[nodiscard]] Result<const Method*> find(const Request& request) const;

    /// Runs the handler, or replies the error of `find`. A cast's error is logged: nobody else
    /// hears of it.
    void dispatch(Request request, Responder responder) const;

  private:
    struct Endpoint {
        std::string name_space;
        std::string version;
        std::vector<Method> methods;
    };
    std::vector<Endpoint> endpoints_;
};

/// Adds namespace `baseapi` 1.1 (nova/baserpc.py): `ping(arg)` answers {"service": service, "arg":
/// arg}, `get_backdoor_port()` answers null.
void add_base_api(EndpointTable& table, const std::string& service = "compute");

} // namespace novalet::rpc
