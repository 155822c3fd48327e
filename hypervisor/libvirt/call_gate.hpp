#pragma once
// How many calls are under way at libvirtd.
//
// libvirtd reads max_client_requests (5) messages of a client ahead, counting the one that it waits
// for: with the fifth call under way on a connection it stops reading, keepalives too, and a client
// whose keepalives are not seen is dropped with everything it has under way (libvirt,
// src/rpc/virnetserverclient.c; "Client hit max requests limit" in its log). Keepalives and events
// are no calls and need no place; a reply gives its place back.
#include "agent/core/clock.hpp"
#include "agent/core/result.hpp"

#include <array>
#include <condition_variable>
#include <cstddef>
#include <list>
#include <mutex>
#include <string>
#include <utility>

namespace novalet::hypervisor::libvirt {

/// What a call may keep from others. Each kind leaves a place to the ones before it, so that a
/// question never waits for QEMU and a start never waits for the memory of another guest.
enum class CallKind {
    Question, ///< libvirtd answers by itself; four at most, which is all of them
    Change,   ///< QEMU starts, ends or obeys, which libvirt bounds; three at most with Long
    Long      ///< a guest's memory is written out, or a guest is asked; two at most
};

/// Four places, first come first served among those that may go. Thread safe.
class CallGate {
    struct Call {
        CallKind kind;
        std::string what;
        std::size_t number = 0; ///< of its place
        bool admitted = false;
    };

  public:
    static constexpr std::array<std::size_t, 3> limits{4, 3, 2}; ///< by CallKind
    static constexpr std::size_t longest_queue = 512;

    /// Given back when it ends. The gate outlives it.
    class Place {
      public:
        Place(CallGate& gate, std::list<Call>::iterator call) : gate_(&gate), call_(call) {}
        Place(Place&& other) noexcept
            : gate_(std::exchange(other.gate_, nullptr)), call_(other.call_) {}
        Place(const Place&) = delete;
        Place& operator=(const Place&) = delete;
        Place& operator=(Place&&) = delete;
        ~Place();
        /// From 0 to 3; no other call under way has it.
        [[nodiscard]] std::size_t number() const noexcept { return call_->number; }

      private:
        CallGate* gate_;
        std::list<Call>::iterator call_;
    };

    /// Waits for a place; `what` names the call to those who wait for it. When none came by then,
    /// or when `longest_queue` calls wait already: a failure that link_lost() knows, because
    /// nothing was asked and libvirtd is as good as out of reach. It names the calls under way.
    [[nodiscard]] Result<Place> enter(CallKind kind, std::string what, const Deadline& until);
    [[nodiscard]] std::size_t waiting() const;

  private:
    [[nodiscard]] bool fits(CallKind kind) const;
    [[nodiscard]] std::size_t free_number() const;
    void admit();
    void leave(std::list<Call>::iterator call);
    [[nodiscard]] std::string under_way() const;

    mutable std::mutex mutex_; ///< guards all below
    std::condition_variable changed_;
    std::list<Call> under_way_;
    std::list<Call> waiting_; ///< in the order of arrival
};

} // namespace novalet::hypervisor::libvirt
