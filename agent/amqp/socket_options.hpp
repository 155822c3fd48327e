#pragma once
// Settings of a connected TCP socket, whatever speaks on it.
#include "agent/core/clock.hpp"

namespace novalet::amqp {

/// What was written and not acknowledged by the peer's kernel for this long ends the connection: a
/// peer that vanished without a word must not hold a write for ever.
void give_up_after(int socket, Seconds silence);

/// While one lives, what is written to the socket leaves in full packets; at its end, the rest of
/// it. Nothing that waits for an answer meanwhile: the question would still lie here. One thread,
/// the one that writes.
class Packing {
  public:
    /// The socket outlives it.
    explicit Packing(int socket);
    Packing(const Packing&) = delete;
    Packing& operator=(const Packing&) = delete;
    ~Packing();

  private:
    const int socket_;
};

} // namespace novalet::amqp
