#pragma once
// The durable record of accepted requests: what is in here was acknowledged to the broker and will
// be finished, rescheduled or failed with a reason, whatever happens to this process. SQLite in WAL
// mode with synchronous=FULL, file mode 0600.
//
//   <state_path>/novalet/               0700
//     journal.sqlite                    requests: one row each, schema version in user_version
//     journal.sqlite-wal                while it is open
//     journal.sqlite.damaged-<time>     a damaged one that was moved aside
#include "agent/core/clock.hpp"
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

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
    Json step_data;
    unsigned attempts = 1; ///< processes that had it open, this one included
};

enum class Outcome { Done, Failed, Rescheduled, Abandoned };

/// Thread safe. Concurrent writers share one transaction and so one fsync: the first becomes the
/// one that writes, the others wait for it. No call waits for anything but the disk.
class Journal {
  public:
    /// Makes folder and file when missing, brings an older schema up to date. A damaged file is
    /// moved aside, logged and replaced by a new one. Errors: Conflict (another process has it
    /// open), Unsupported (written by a newer novalet), or what the file system said.
    [[nodiscard]] static Result<std::unique_ptr<Journal>> open(Options options,
                                                               const Clock& clock = system_clock());
    Journal(const Journal&) = delete;
    Journal& operator=(const Journal&) = delete;
    ~Journal();

    /// On disk when it returns ok. An error (disk full: ResourceExhausted) means that nothing was
    /// written: the request must not be acknowledged.
    [[nodiscard]] Result<Admission> record(const Accepted& request);
    /// All or none, in one transaction.
    [[nodiscard]] Result<std::vector<Admission>> record(const std::vector<Accepted>& requests);
    /// The step that begins now, with what it needs to be carried on. NotFound: no open entry.
    [[nodiscard]] Result<void> set_step(EntryId entry, const std::string& step, Json data = {});
    /// The request is finished: arguments, context and step data are wiped, the unique id stays
    /// known. `note` is for the operator, without secrets. Closing twice is ok, the first counts.
    [[nodiscard]] Result<void> close(EntryId entry, Outcome outcome, const std::string& note = {});
    /// In order of acceptance. An entry whose documents cannot be read any more is logged and
    /// closed as abandoned.
    [[nodiscard]] Result<std::vector<Entry>> open_entries();
    /// Where a damaged journal was moved to by `open`.
    [[nodiscard]] const std::optional<std::filesystem::path>& damaged_copy() const noexcept;

  private:
    class State;
    explicit Journal(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace novalet::journal
