#pragma once
// A limit on parallel work. Nobody waits in it with a thread: who finds it full is woken when it is
// his turn.
#include "agent/tasks/engine/instance_queue.hpp"

#include <deque>
#include <memory>
#include <mutex>

namespace novalet::tasks {

/// At most so many places, taken in the order of asking. All calls are thread safe.
class Gate {
  public:
    /// `places` 0 = unlimited.
    explicit Gate(unsigned places) : places_(places) {}
    Gate(const Gate&) = delete;
    Gate& operator=(const Gate&) = delete;

    /// One who asks. Its end gives the place, or the place in the line, back.
    class Ticket {
      public:
        explicit Ticket(Gate& gate) : gate_(gate) {}
        Ticket(const Ticket&) = delete;
        Ticket& operator=(const Ticket&) = delete;
        ~Ticket() { gate_.give_back(*this); }

        /// Takes a place if one is free and nobody is in the line before.
        [[nodiscard]] bool enter();
        /// Joins the line, once; `wake` is called when the place is this ticket's, at once when
        /// there is one now.
        void wait(Turn::Wake wake);

      private:
        friend class Gate;
        Gate& gate_;
        bool inside_ = false;
        Turn::Wake wake_; ///< set while it is in the line
    };

    [[nodiscard]] unsigned inside() const;

  private:
    friend class Ticket;
    [[nodiscard]] bool has_room() const { return places_ == 0 || inside_ < places_; }
    void give_back(Ticket& ticket);

    const unsigned places_;
    mutable std::mutex mutex_;
    unsigned inside_ = 0;
    std::deque<Ticket*> line_;
};

} // namespace novalet::tasks
