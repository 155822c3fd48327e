#pragma once
// Takes one operation from its place to its end: forward, or back and concluded. It holds a thread
// only while something is done; lines, outages and pauses are waited for without one.
#include "agent/rpc/request.hpp"
#include "agent/tasks/engine/gate.hpp"
#include "agent/tasks/engine/outage.hpp"
#include "agent/tasks/engine/progress.hpp"
#include "agent/tasks/engine/saga.hpp"

#include <memory>
#include <optional>

namespace novalet::tasks {

/// What all runs of a host share. References outlive them.
struct Waits {
    Timer& timer;
    Outage& control_plane;
    Outage& hypervisor;
    Milliseconds undo_pause{5000}; ///< before a failed undo is tried again; doubled each time
};

class OperationRun {
  public:
    /// `gate` null: no limit. The responder is answered when the operation has ended.
    OperationRun(const Waits& waits,
                 std::unique_ptr<Saga> saga,
                 Progress progress,
                 Gate* gate,
                 rpc::Responder responder);
    OperationRun(const OperationRun&) = delete;
    OperationRun& operator=(const OperationRun&) = delete;

    /// An earlier process was here. Without a place nothing was begun, but the records may have
    /// changed since.
    void continue_from(std::optional<Place> place);
    /// The operation is not tried again: it is undone and fails.
    void give_up();

    /// The next turn on the instance's queue.
    [[nodiscard]] Turn turn(const std::stop_token& stop);

  private:
    /// False: the operation has ended.
    [[nodiscard]] Result<bool> advance();
    [[nodiscard]] Result<void> begin();
    [[nodiscard]] Result<void> forward();
    [[nodiscard]] Result<bool> is_wanted();
    [[nodiscard]] Result<bool> is_done_already();
    [[nodiscard]] bool is_to_be_waited_out(const Result<void>& result) const;
    [[nodiscard]] Result<void> back();
    [[nodiscard]] Result<void> conclude();
    [[nodiscard]] Result<void> end();
    [[nodiscard]] Result<void> unlock();
    [[nodiscard]] Result<void> look_again();
    void give_up(Error error);
    void go_back(Error error);
    void go_to(Stage stage);
    [[nodiscard]] Result<void> note();
    void warn_of_note();
    [[nodiscard]] std::optional<Turn> wait_in_line(const std::stop_token& stop);
    [[nodiscard]] std::optional<Turn> wait_with_others();
    /// How a failure that is nobody's fault is waited out; none when it is a failure.
    [[nodiscard]] std::optional<Turn> wait_out(const Error& error);
    void close();

    const Waits& waits_;
    const std::unique_ptr<Saga> saga_;
    const Progress progress_;
    std::optional<Gate::Ticket> ticket_;
    const rpc::Responder responder_;

    Stage stage_ = Stage::Begin;
    std::size_t step_ = 0;
    bool begun_ = false; ///< the step under way may have had its effect
    bool look_ = false;  ///< the records are to be read again
    bool ended_before_ = false;
    bool point_passed_ = false; ///< only forward from here
    bool noted_ = false;        ///< stage and step are in the journal
    bool rests_ = false;        ///< the journal says that nobody works on it
    unsigned tries_ = 0;        ///< of an undo, or of reading the records again
    bool pauses_ = false;       ///< the failure is tried again after a pause
    std::optional<Error> failure_;
    Outage* waiting_for_ = nullptr;
};

} // namespace novalet::tasks
