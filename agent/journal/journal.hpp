#pragma once
// The durable record of accepted requests: what is in here was acknowledged to the broker and will
// be finished, rescheduled or failed with a reason, whatever happens to this process. SQLite in WAL
// mode with synchronous=FULL, file mode 0600.
//
//   <state_path>/novalet/               0700
//     journal.sqlite                    requests: one row each; the schema version in user_version
//                                       and, with a checksum, in the table `format`
//     journal.sqlite-wal                while it is open
//     journal.sqlite.lock               flock of the process that has it
//     journal.sqlite.new                a new file while it is written
//     journal.sqlite.damaged-<time>     a damaged one that was moved aside, -wal likewise
#include "agent/core/clock.hpp"
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace novalet::journal {

struct Options {
    std::filesystem::path path;
    Seconds retention{86400};            ///< unique ids of closed requests are known for so long
    std::uint64_t max_bytes = 1U << 30U; ///< of the file; beyond it: ResourceExhausted
};

/// Of each document that is stored. Whatever `Json::parse` accepted fits, also inside a state.
constexpr JsonLimits document_limits = JsonLimits{}.around();

/// A request as it came from the bus.
struct Accepted {
    std::string unique_id; ///< empty = never a duplicate
    std::string method;
    std::string version;
    std::string name_space;
    std::string instance_uuid; ///< empty when the request is about no instance
    std::string message_id;    ///< calls: what the answer has to echo
    std::string reply_queue;   ///< calls: where the answer goes
    Json args;
    Json context; ///< with the user's token: needed to carry on, wiped when the entry is closed
};

using EntryId = std::int64_t; ///< ascending in the order of acceptance

struct Admission {
    EntryId entry = 0;
    bool fresh = true; ///< false: the unique id was seen before; `entry` is that of the first time
};

/// An entry that is not closed.
struct Entry {
    EntryId id = 0;
    Accepted request;
    WallTime accepted_at;
    std::string step; ///< the last one that was begun; empty = none yet
    Json step_data;   ///< the state that came with that step; it carries its own version
    /// 1 + the processes that died while they worked on it: between `begin` or `set_step` and
    /// `suspend`, `close` or `stop`. Who waits, or ends in order, is not counted.
    unsigned attempts = 1;
};

enum class Outcome { Done, Failed, Rescheduled, Abandoned };

/// What a change outlives when the call returns ok.
enum class Durability {
    Disk,    ///< a loss of power, too: one fsync, shared with others who write at that time
    Process, ///< this process only; for what has no effect outside of it
};

/// Thread safe. Concurrent writers share one transaction and so one fsync: the first becomes the
/// one that writes, the others wait for it. No call waits for anything but the disk.
///
/// Open entries are in memory as well. When the file is found damaged, unreadable, removed,
/// replaced or cut, it is moved aside and a new one is written from memory before the call that
/// found it goes on: open entries, the last thousand closed ones and the numbering stay.
///
/// Codes of all errors: ResourceExhausted (disk full, quota, a limit of file size), Unavailable
/// (the disk did not take it), DataLoss (damaged, and no new file could be written), NotFound (no
/// such entry), InvalidArgument (a document over `document_limits`). After an error the change is
/// not there, `close` excepted.
class Journal {
  public:
    /// Makes folder and file when missing, brings an older schema up to date. A damaged file is
    /// moved aside, logged and replaced by a new one. Errors: Conflict (another process has it
    /// open), Unsupported (written by a newer novalet), or what the file system said.
    [[nodiscard]] static Result<std::unique_ptr<Journal>> open(Options options,
                                                               const Clock& clock = system_clock());
    Journal(const Journal&) = delete;
    Journal& operator=(const Journal&) = delete;
    /// Changes nothing: as far as the file can tell, the process died. See `stop`.
    ~Journal();

    /// On disk when it returns ok. An error means that the request must not be acknowledged.
    [[nodiscard]] Result<Admission> record(const Accepted& request);
    /// All or none, in one transaction.
    [[nodiscard]] Result<std::vector<Admission>> record(const std::vector<Accepted>& requests);

    /// The entry is worked on from now on, without a step yet (Durability::Process).
    [[nodiscard]] Result<void> begin(EntryId entry);
    /// The step that begins now, with what it needs to be carried on, in place of the one before.
    /// The entry is worked on. Its effect must not begin after an error.
    [[nodiscard]] Result<void> set_step(EntryId entry,
                                        const std::string& step,
                                        const Json& data = {},
                                        Durability durability = Durability::Disk);
    /// Nobody works on the entry until the next `begin` or `set_step`: it waits for a gate, a
    /// timer, the control plane (Durability::Process).
    [[nodiscard]] Result<void> suspend(EntryId entry);
    /// The request is finished: arguments, context and step data are wiped, the unique id stays
    /// known. `note` is for the operator, without secrets. Closing twice is ok, the first counts.
    /// After an error other than NotFound the journal keeps the close and writes it after the next
    /// change that succeeds, or in `retry_closes`; to this process the entry is closed.
    [[nodiscard]] Result<void> close(EntryId entry, Outcome outcome, const std::string& note = {});
    /// Writes the closes that failed; ok when none is left. For a timer.
    [[nodiscard]] Result<void> retry_closes();
    /// Closes that are not on disk; one atomic read.
    [[nodiscard]] std::size_t owed_closes() const noexcept;
    /// The process ends in order: no entry counts it as a death, whatever steps still come. Closes
    /// that failed are tried once more. An error says what did not reach the disk.
    [[nodiscard]] Result<void> stop();

    /// In order of acceptance. An entry whose documents cannot be read any more is logged and
    /// closed as abandoned.
    [[nodiscard]] Result<std::vector<Entry>> open_entries();
    /// Where the last damaged file, or its WAL, was moved to by this object.
    [[nodiscard]] std::optional<std::filesystem::path> damaged_copy() const;

  private:
    class State;
    explicit Journal(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace novalet::journal
