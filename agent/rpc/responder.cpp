#include "agent/rpc/request.hpp"

#include <atomic>

namespace novalet::rpc {

struct Responder::State {
    Send send;
    std::atomic<bool> answered{false};

    explicit State(Send s) : send(std::move(s)) {}
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() {
        // The caller must not wait a minute because somebody forgot to answer.
        if (send && !answered.exchange(true))
            send(fail(Code::Internal, "the agent ended the request without an answer"));
    }
};

Responder::Responder(Send send) : state_(std::make_shared<State>(std::move(send))) {}

void Responder::reply(const Result<Json>& result) const {
    if (state_ && state_->send && !state_->answered.exchange(true))
        state_->send(result);
}

} // namespace novalet::rpc
