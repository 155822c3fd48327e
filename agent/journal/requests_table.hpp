#pragma once
// The journal's table in one database file: schema, migrations, statements. No policy, no threads:
// the journal says what is written when.
#include "agent/journal/database.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace novalet::journal {

/// The last state of an entry that is not open any more.
struct Closing {
    std::int64_t at = 0; ///< seconds since 1970
    std::string outcome;
    std::string note;
};

/// An entry as it is on disk; documents are JSON text, empty where there is none.
struct Row {
    std::int64_t id = 0;
    std::string unique_id; ///< empty = none
    std::string method;
    std::string version;
    std::string name_space;
    std::string instance_uuid;
    std::string message_id;
    std::string reply_queue;
    std::string args;
    std::string context;
    std::int64_t accepted_at = 0; ///< seconds since 1970
    std::string step;
    std::string state;
    std::int64_t attempts = 1;
    bool working = false;
    std::optional<Closing> closing{};
};

/// One thread at a time. Codes of errors: those of Database.
class RequestsTable {
  public:
    /// An existing file; an older schema is brought up to date. Besides Database's codes: DataLoss
    /// when a header, schema or version is none that a novalet can have written; Unsupported when
    /// a newer one did. `max_bytes`: of the file; beyond it: ResourceExhausted.
    [[nodiscard]] static Result<RequestsTable> open(const std::filesystem::path& path,
                                                    std::uint64_t max_bytes);
    /// The same for an empty file, which gets the schema.
    [[nodiscard]] static Result<RequestsTable> create(const std::filesystem::path& path,
                                                      std::uint64_t max_bytes);

    /// Whether the next transactions are on the disk when `commit` returns, or only safe from the
    /// end of this process until the next one that is.
    [[nodiscard]] Result<void> set_durable(bool durable);
    [[nodiscard]] Result<void> begin();
    [[nodiscard]] Result<void> commit();
    void rollback();
    /// What the WAL holds is brought into the file. `wipe`: the WAL's bytes are given back, too.
    [[nodiscard]] Result<void> checkpoint(bool wipe);

    /// False: the unique id is there already.
    [[nodiscard]] Result<bool> insert(const Row& row);
    /// NotFound: no entry has this unique id.
    [[nodiscard]] Result<std::int64_t> find(const std::string& unique_id);
    // False: there is no open entry of this id.
    [[nodiscard]] Result<bool>
    set_step(std::int64_t id, const std::string& step, const std::string& state, bool working);
    [[nodiscard]] Result<bool> set_working(std::int64_t id, bool working);
    [[nodiscard]] Result<bool> close(std::int64_t id, const Closing& closing);
    [[nodiscard]] Result<bool> knows(std::int64_t id);
    /// Closed entries that are older are removed.
    [[nodiscard]] Result<void> forget(std::int64_t closed_before);
    /// Entries that were being worked on: one more attempt, and nobody works on them.
    [[nodiscard]] Result<void> count_deaths();
    [[nodiscard]] Result<void> rest_all();
    /// In order of ids.
    [[nodiscard]] Result<std::vector<Row>> open_rows();
    /// The last `most` closed ones, without documents; in order of ids.
    [[nodiscard]] Result<std::vector<Row>> closed_rows(std::size_t most);
    /// The highest id that was ever given; DataLoss when it cannot be one.
    [[nodiscard]] Result<std::int64_t> highest_id();
    /// Ids up to this one are not given again.
    [[nodiscard]] Result<void> reserve_ids(std::int64_t highest);

  private:
    struct Statements {
        Statement insert;
        Statement find;
        Statement step;
        Statement working;
        Statement close;
        Statement knows;
        Statement forget;
        Statement list;
    };
    RequestsTable(Database database, Statements statements);
    [[nodiscard]] static Result<Statements> prepare(Database& database);
    [[nodiscard]] static Result<RequestsTable> attach(Database database, std::uint64_t max_bytes);

    Database database_;
    Statements sql_;
    bool durable_ = true;
};

} // namespace novalet::journal
