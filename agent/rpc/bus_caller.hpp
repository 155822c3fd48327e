#pragma once
// Calls, casts and notifications over one session.
#include "agent/amqp/session.hpp"
#include "agent/rpc/caller.hpp"
#include "agent/rpc/topology.hpp"

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace novalet::rpc {

/// Thread safe; the calls block, so not on the session's I/O thread. Declares one reply queue, at
/// the first call, for the life of the process. The session outlives it and all its calls.
class BusCaller final : public Caller {
  public:
    BusCaller(amqp::Session& session, TopologyOptions topology);
    ~BusCaller() override;

    [[nodiscard]] Result<Json> call(const Target& target,
                                    const std::string& method,
                                    Json args,
                                    const Context& context,
                                    const CallOptions& options) override;
    [[nodiscard]] Result<void> cast(const Target& target,
                                    const std::string& method,
                                    Json args,
                                    const Context& context) override;
    [[nodiscard]] Result<void> notify(const std::string& topic,
                                      const std::string& priority,
                                      Json message,
                                      const Context& context) override;

  private:
    struct Waiting;
    struct Replies;

    [[nodiscard]] amqp::Publication address(const Target& target, Json message) const;
    void subscribe_once();
    [[nodiscard]] Result<Json> wait_for_answer(Waiting& waiting,
                                               const Target& target,
                                               const std::string& method,
                                               const std::string& id,
                                               const CallOptions& options);
    [[nodiscard]] Result<void> publish_and_wait(amqp::Publication publication);

    amqp::Session& session_;
    const TopologyOptions topology_;
    std::shared_ptr<Replies> replies_; ///< outlives this object on the I/O thread
    std::once_flag subscribed_;
};

} // namespace novalet::rpc
