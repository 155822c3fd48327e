#include "agent/journal/requests_table.hpp"

#include "agent/core/text.hpp"

#include <algorithm>

namespace novalet::journal {
namespace {

/// What leads from schema version i to i + 1. Never changed once released: only added to.
const std::vector<std::string>& migrations() {
    static const std::vector<std::string> steps{
        R"(CREATE TABLE requests (
             id INTEGER PRIMARY KEY AUTOINCREMENT,
             unique_id TEXT UNIQUE,
             method TEXT NOT NULL,
             version TEXT NOT NULL,
             name_space TEXT NOT NULL,
             instance_uuid TEXT NOT NULL,
             message_id TEXT NOT NULL,
             reply_queue TEXT NOT NULL,
             args TEXT,
             context TEXT,
             accepted_at INTEGER NOT NULL,
             step TEXT NOT NULL DEFAULT '',
             step_data TEXT,
             attempts INTEGER NOT NULL DEFAULT 1,
             closed_at INTEGER,
             outcome TEXT,
             note TEXT);
           CREATE INDEX open_requests ON requests (id) WHERE closed_at IS NULL;
           CREATE INDEX closed_requests ON requests (closed_at) WHERE closed_at IS NOT NULL)",
        // Version 1 counted every process that had an entry open: that says nothing of deaths.
        R"(ALTER TABLE requests RENAME COLUMN step_data TO state;
           ALTER TABLE requests ADD COLUMN working INTEGER NOT NULL DEFAULT 0;
           UPDATE requests SET attempts = 1;
           CREATE TABLE format (version INTEGER NOT NULL, checksum INTEGER NOT NULL))"};
    return steps;
}

constexpr std::int64_t current_version = 2;
constexpr std::int64_t first_with_format = 2;
constexpr std::int64_t highest_sane_id = std::int64_t{1} << 53;

/// FNV-1a. A header's user_version has no checksum: one bit that fell over would look like the file
/// of a newer novalet, which has to be left alone. So each version since 2 stands a second time, in
/// the row of `format`, with this over its name. All versions to come keep that table as it is.
std::int64_t checksum_of(std::int64_t version) {
    std::uint32_t sum = 2166136261U;
    for (const char c : cat("novalet journal ", version))
        sum = (sum ^ static_cast<unsigned char>(c)) * 16777619U;
    return sum;
}

Failure damaged(const std::string& what) {
    return fail(Code::DataLoss, what);
}

Result<std::int64_t> number_of(Database& database, const std::string& sql) {
    NOVALET_ASSIGN(const auto text, database.value_of(sql));
    const auto number = to_number<std::int64_t>(text);
    if (!number)
        return damaged(cat("no number from: ", sql));
    return *number;
}

/// The second mark of the version, 0 where there is none that can be believed.
Result<std::int64_t> marked_version(Database& database) {
    NOVALET_ASSIGN(
        const auto tables,
        number_of(database,
                  "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'format'"));
    if (tables == 0)
        return std::int64_t{0};
    NOVALET_ASSIGN(const auto rows, number_of(database, "SELECT count(*) FROM format"));
    if (rows != 1)
        return std::int64_t{0};
    NOVALET_ASSIGN(const auto version, number_of(database, "SELECT version FROM format"));
    NOVALET_ASSIGN(const auto checksum, number_of(database, "SELECT checksum FROM format"));
    return checksum == checksum_of(version) ? version : 0;
}

/// The schema version of a file that is not empty.
Result<std::int64_t> version_of(Database& database) {
    NOVALET_ASSIGN(const auto version, number_of(database, "PRAGMA user_version"));
    NOVALET_ASSIGN(const auto marked, marked_version(database));
    if (marked != (version < first_with_format ? 0 : version))
        return damaged(cat("its header says schema version ", version, ", its content ", marked));
    if (version < 1)
        return damaged(cat("it has schema version ", version));
    if (version > current_version)
        return fail(Code::Unsupported,
                    cat("its schema version ",
                        version,
                        " is newer than this novalet's ",
                        current_version,
                        "; start the newer novalet again, or let it finish its work first"));
    return version;
}

Result<void> migrate(Database& database, std::int64_t version) {
    for (auto next = version + 1; next <= current_version; ++next) {
        std::string sql = cat("BEGIN; ",
                              migrations()[static_cast<std::size_t>(next - 1)],
                              "; PRAGMA user_version = ",
                              next,
                              "; ");
        if (next >= first_with_format)
            sql += cat("DELETE FROM format; INSERT INTO format VALUES (",
                       next,
                       ", ",
                       checksum_of(next),
                       "); ");
        NOVALET_TRY(database.execute(sql + "COMMIT"));
    }
    return {};
}

Result<Database> connect(const std::filesystem::path& path) {
    NOVALET_ASSIGN(auto database, Database::open(path));
    // EXCLUSIVE before the first access: a second process is refused, and no shared memory file
    // is needed. A journal that is closed properly leaves no WAL file behind.
    for (const char* pragma : {"PRAGMA locking_mode = EXCLUSIVE",
                               "PRAGMA synchronous = FULL",
                               "PRAGMA secure_delete = ON",
                               "PRAGMA temp_store = MEMORY",
                               "PRAGMA cache_size = -512",
                               "PRAGMA journal_size_limit = 1048576"})
        NOVALET_TRY(database.execute(pragma));
    NOVALET_ASSIGN(const auto mode, database.value_of("PRAGMA journal_mode = WAL"));
    if (mode != "wal")
        return fail(Code::Unsupported,
                    cat("its file system allows journal_mode ", mode, " only, WAL is needed"));
    NOVALET_TRY(database.execute("BEGIN IMMEDIATE; COMMIT"));
    NOVALET_ASSIGN(const auto check, database.value_of("PRAGMA quick_check(1)"));
    if (check != "ok")
        return damaged(check);
    NOVALET_ASSIGN(const auto encoding, database.value_of("PRAGMA encoding"));
    if (encoding != "UTF-8")
        return damaged(cat("its text is ", encoding, ", not UTF-8"));
    return database;
}

Row row_of(const Statement& at) {
    Row row;
    row.id = at.integer(0);
    row.unique_id = at.text(1);
    row.method = at.text(2);
    row.version = at.text(3);
    row.name_space = at.text(4);
    row.instance_uuid = at.text(5);
    row.message_id = at.text(6);
    row.reply_queue = at.text(7);
    row.args = at.text(8);
    row.context = at.text(9);
    row.accepted_at = at.integer(10);
    row.step = at.text(11);
    row.state = at.text(12);
    row.attempts = at.integer(13);
    row.working = at.integer(14) != 0;
    return row;
}

} // namespace

RequestsTable::RequestsTable(Database database, Statements statements)
    : database_(std::move(database)), sql_(std::move(statements)) {}

Result<RequestsTable::Statements> RequestsTable::prepare(Database& database) {
    NOVALET_ASSIGN(
        auto insert,
        database.prepare("INSERT INTO requests (id, unique_id, method, version, name_space, "
                         "instance_uuid, message_id, reply_queue, args, context, accepted_at, "
                         "step, state, attempts, working, closed_at, outcome, note) "
                         "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) "
                         "ON CONFLICT (unique_id) DO NOTHING"));
    NOVALET_ASSIGN(auto find, database.prepare("SELECT id FROM requests WHERE unique_id = ?"));
    NOVALET_ASSIGN(auto step,
                   database.prepare("UPDATE requests SET step = ?, state = ?, working = ? "
                                    "WHERE id = ? AND closed_at IS NULL"));
    NOVALET_ASSIGN(auto working,
                   database.prepare("UPDATE requests SET working = ? "
                                    "WHERE id = ? AND closed_at IS NULL"));
    NOVALET_ASSIGN(auto close,
                   database.prepare("UPDATE requests SET closed_at = ?, outcome = ?, note = ?, "
                                    "args = NULL, context = NULL, state = NULL, working = 0 "
                                    "WHERE id = ? AND closed_at IS NULL"));
    NOVALET_ASSIGN(auto knows, database.prepare("SELECT 1 FROM requests WHERE id = ?"));
    NOVALET_ASSIGN(auto forget, database.prepare("DELETE FROM requests WHERE closed_at < ?"));
    NOVALET_ASSIGN(
        auto list,
        database.prepare("SELECT id, unique_id, method, version, name_space, instance_uuid, "
                         "message_id, reply_queue, args, context, accepted_at, step, state, "
                         "attempts, working FROM requests WHERE closed_at IS NULL ORDER BY id"));
    return Statements{std::move(insert),
                      std::move(find),
                      std::move(step),
                      std::move(working),
                      std::move(close),
                      std::move(knows),
                      std::move(forget),
                      std::move(list)};
}

Result<RequestsTable> RequestsTable::attach(Database database, std::uint64_t max_bytes) {
    NOVALET_ASSIGN(const auto page, number_of(database, "PRAGMA page_size"));
    const auto pages = max_bytes / static_cast<std::uint64_t>(page);
    NOVALET_TRY(database.execute(cat("PRAGMA max_page_count = ", pages)));
    NOVALET_ASSIGN(auto statements, prepare(database));
    return RequestsTable(std::move(database), std::move(statements));
}

Result<RequestsTable> RequestsTable::open(const std::filesystem::path& path,
                                          std::uint64_t max_bytes) {
    NOVALET_ASSIGN(auto database, connect(path));
    NOVALET_ASSIGN(const auto version, version_of(database));
    NOVALET_TRY(migrate(database, version));
    return attach(std::move(database), max_bytes);
}

Result<RequestsTable> RequestsTable::create(const std::filesystem::path& path,
                                            std::uint64_t max_bytes) {
    NOVALET_ASSIGN(auto database, connect(path));
    NOVALET_TRY(migrate(database, 0));
    return attach(std::move(database), max_bytes);
}

Result<void> RequestsTable::set_durable(bool durable) {
    if (durable == durable_)
        return {};
    NOVALET_TRY(
        database_.execute(durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL"));
    durable_ = durable;
    return {};
}

Result<void> RequestsTable::begin() {
    return database_.execute("BEGIN IMMEDIATE");
}

Result<void> RequestsTable::commit() {
    return database_.execute("COMMIT");
}

void RequestsTable::rollback() {
    if (database_.in_transaction())
        discard(database_.execute("ROLLBACK"), "the first error is the one to report");
}

Result<void> RequestsTable::checkpoint(bool wipe) {
    NOVALET_ASSIGN(
        const auto busy,
        number_of(database_,
                  wipe ? "PRAGMA wal_checkpoint(TRUNCATE)" : "PRAGMA wal_checkpoint(RESTART)"));
    if (busy != 0)
        return fail(Code::Conflict, "its WAL is in use");
    return {};
}

Result<bool> RequestsTable::insert(const Row& row) {
    auto& insert = sql_.insert.bind(1, row.id);
    const auto bind_text = [&](int parameter, const std::string& text) {
        if (text.empty())
            insert.bind_null(parameter);
        else
            insert.bind(parameter, text);
    };
    bind_text(2, row.unique_id);
    insert.bind(3, row.method)
        .bind(4, row.version)
        .bind(5, row.name_space)
        .bind(6, row.instance_uuid)
        .bind(7, row.message_id)
        .bind(8, row.reply_queue);
    bind_text(9, row.args);
    bind_text(10, row.context);
    insert.bind(11, row.accepted_at).bind(12, row.step);
    bind_text(13, row.state);
    insert.bind(14, row.attempts).bind(15, std::int64_t{row.working});
    if (row.closing)
        insert.bind(16, row.closing->at).bind(17, row.closing->outcome).bind(18, row.closing->note);
    else
        insert.bind_null(16).bind_null(17).bind_null(18);
    NOVALET_TRY(insert.run());
    return database_.changes() != 0;
}

Result<std::int64_t> RequestsTable::find(const std::string& unique_id) {
    NOVALET_ASSIGN(const bool known, sql_.find.bind(1, unique_id).step());
    if (!known)
        return fail(Code::NotFound, cat("journal has no request ", unique_id));
    const auto id = sql_.find.integer(0);
    sql_.find.reset();
    return id;
}

Result<bool> RequestsTable::set_step(std::int64_t id,
                                     const std::string& step,
                                     const std::string& state,
                                     bool working) {
    sql_.step.bind(1, step).bind(3, std::int64_t{working}).bind(4, id);
    if (state.empty())
        sql_.step.bind_null(2);
    else
        sql_.step.bind(2, state);
    NOVALET_TRY(sql_.step.run());
    return database_.changes() != 0;
}

Result<bool> RequestsTable::set_working(std::int64_t id, bool working) {
    NOVALET_TRY(sql_.working.bind(1, std::int64_t{working}).bind(2, id).run());
    return database_.changes() != 0;
}

Result<bool> RequestsTable::close(std::int64_t id, const Closing& closing) {
    NOVALET_TRY(sql_.close.bind(1, closing.at)
                    .bind(2, closing.outcome)
                    .bind(3, closing.note)
                    .bind(4, id)
                    .run());
    return database_.changes() != 0;
}

Result<bool> RequestsTable::knows(std::int64_t id) {
    NOVALET_ASSIGN(const bool known, sql_.knows.bind(1, id).step());
    sql_.knows.reset();
    return known;
}

Result<void> RequestsTable::forget(std::int64_t closed_before) {
    return sql_.forget.bind(1, closed_before).run();
}

Result<void> RequestsTable::count_deaths() {
    return database_.execute("UPDATE requests SET attempts = attempts + 1, working = 0 "
                             "WHERE closed_at IS NULL AND working <> 0");
}

Result<void> RequestsTable::rest_all() {
    return database_.execute(
        "UPDATE requests SET working = 0 WHERE closed_at IS NULL AND working <> 0");
}

Result<std::vector<Row>> RequestsTable::open_rows() {
    std::vector<Row> rows;
    for (;;) {
        NOVALET_ASSIGN(const bool more, sql_.list.step());
        if (!more)
            return rows;
        rows.push_back(row_of(sql_.list));
    }
}

Result<std::vector<Row>> RequestsTable::closed_rows(std::size_t most) {
    NOVALET_ASSIGN(
        auto list,
        database_.prepare(cat("SELECT id, unique_id, method, version, name_space, instance_uuid, "
                              "message_id, reply_queue, NULL, NULL, accepted_at, step, NULL, "
                              "attempts, 0, closed_at, outcome, note FROM requests "
                              "WHERE closed_at IS NOT NULL ORDER BY id DESC LIMIT ",
                              most)));
    std::vector<Row> rows;
    for (;;) {
        NOVALET_ASSIGN(const bool more, list.step());
        if (!more)
            break;
        rows.push_back(row_of(list));
        rows.back().closing = Closing{list.integer(15), list.text(16), list.text(17)};
    }
    std::reverse(rows.begin(), rows.end());
    return rows;
}

Result<std::int64_t> RequestsTable::highest_id() {
    NOVALET_ASSIGN(
        const auto highest,
        number_of(database_,
                  "SELECT max(ifnull((SELECT max(seq) FROM sqlite_sequence "
                  "WHERE name = 'requests'), 0), ifnull((SELECT max(id) FROM requests), 0))"));
    if (highest < 0 || highest > highest_sane_id)
        return damaged(cat("its last id is ", highest));
    return highest;
}

Result<void> RequestsTable::reserve_ids(std::int64_t highest) {
    return database_.execute(cat("DELETE FROM sqlite_sequence WHERE name = 'requests'; "
                                 "INSERT INTO sqlite_sequence VALUES ('requests', ",
                                 highest,
                                 ")"));
}

} // namespace novalet::journal
