#pragma once
// GET /metrics (Prometheus text) and GET /health (JSON) on a loopback or Unix socket. No
// authentication: what is shown holds no secrets, and the address decides who may look.
// Boost.Beast, in endpoint.cpp only.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

#include <functional>
#include <memory>
#include <string>

namespace novalet::telemetry {

/// One thread that sleeps in the kernel until somebody asks. At most 16 connections at a time, each
/// for at most 5 s and 8 KiB of request; one answer each.
class Endpoint {
  public:
    /// Called on the endpoint's thread for each /health; must be quick and must not throw. Member
    /// "ok" decides between 200 and 503.
    using Health = std::function<Json()>;

    /// `address`: "127.0.0.1:9177", "[::1]:9177" (port 0 = any free one) or "unix:/path" (mode
    /// 0660; a socket that nobody listens on any more is replaced). Errors name the address.
    [[nodiscard]] static Result<std::unique_ptr<Endpoint>> start(const std::string& address,
                                                                 Health health);
    Endpoint(const Endpoint&) = delete;
    Endpoint& operator=(const Endpoint&) = delete;
    /// Ends the thread; connections are cut.
    ~Endpoint();

    /// As it can be reached, with the real port.
    [[nodiscard]] const std::string& address() const noexcept;

  private:
    class State;
    explicit Endpoint(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace novalet::telemetry
