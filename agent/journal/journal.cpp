#include "agent/journal/journal.hpp"

#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "agent/journal/database.hpp"

#include <cerrno>
#include <condition_variable>
#include <fcntl.h>
#include <functional>
#include <mutex>
#include <sys/stat.h>

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
           CREATE INDEX closed_requests ON requests (closed_at) WHERE closed_at IS NOT NULL)"};
    return steps;
}

const char* name_of(Outcome outcome) {
    switch (outcome) {
    case Outcome::Done:
        return "done";
    case Outcome::Failed:
        return "failed";
    case Outcome::Rescheduled:
        return "rescheduled";
    case Outcome::Abandoned:
        return "abandoned";
    }
    return "";
}

std::int64_t seconds_of(WallTime time) {
    return std::chrono::floor<Seconds>(time.time_since_epoch()).count();
}

Failure system_failure(const char* verb, const std::filesystem::path& path, int number) {
    const Code code = number == ENOSPC || number == EDQUOT  ? Code::ResourceExhausted
                      : number == EACCES || number == EPERM ? Code::Unauthorized
                                                            : Code::Unavailable;
    return fail(code, cat(verb, ' ', path.string(), ": ", errno_text(number)));
}

/// Folder and file with modes that keep the tokens inside from others.
Result<void> prepare_file(const std::filesystem::path& path) {
    std::error_code error;
    const auto folder = path.parent_path();
    if (!std::filesystem::exists(folder, error)) {
        std::filesystem::create_directories(folder.parent_path(), error);
        if (error)
            return system_failure("make folder", folder.parent_path(), error.value());
        if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
            return system_failure("make folder", folder, errno);
    }
    const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file)
        return system_failure("open journal", path, errno);
    struct stat now {};
    if (fstat(file.get(), &now) != 0)
        return system_failure("stat journal", path, errno);
    if ((now.st_mode & 0777U) != 0600U && fchmod(file.get(), 0600) != 0)
        return system_failure("set mode 0600 of journal", path, errno);
    return {};
}

Result<void> migrate(Database& database) {
    NOVALET_ASSIGN(const auto text, database.value_of("PRAGMA user_version"));
    const auto version = to_number<std::size_t>(text).value_or(0);
    const auto& steps = migrations();
    if (version > steps.size())
        return fail(Code::Unsupported,
                    cat("its schema version ",
                        version,
                        " is newer than this novalet's ",
                        steps.size(),
                        "; start the newer novalet again, or let it finish its work first"));
    for (std::size_t next = version; next < steps.size(); ++next)
        NOVALET_TRY(database.execute(
            cat("BEGIN; ", steps[next], "; PRAGMA user_version = ", next + 1, "; COMMIT")));
    return {};
}

struct Statements {
    Statement insert;
    Statement find;
    Statement step;
    Statement close;
    Statement is_known;
    Statement count_open;
    Statement forget;
    Statement list;

    static Result<Statements> prepare(Database& database) {
        NOVALET_ASSIGN(auto insert,
                       database.prepare("INSERT INTO requests (unique_id, method, version, "
                                        "name_space, instance_uuid, message_id, reply_queue, args, "
                                        "context, accepted_at) VALUES (?,?,?,?,?,?,?,?,?,?) "
                                        "ON CONFLICT (unique_id) DO NOTHING RETURNING id"));
        NOVALET_ASSIGN(auto find, database.prepare("SELECT id FROM requests WHERE unique_id = ?"));
        NOVALET_ASSIGN(auto step,
                       database.prepare("UPDATE requests SET step = ?, step_data = ? "
                                        "WHERE id = ? AND closed_at IS NULL"));
        NOVALET_ASSIGN(auto close,
                       database.prepare("UPDATE requests SET closed_at = ?, outcome = ?, note = ?, "
                                        "args = NULL, context = NULL, step_data = NULL "
                                        "WHERE id = ? AND closed_at IS NULL"));
        NOVALET_ASSIGN(auto is_known, database.prepare("SELECT 1 FROM requests WHERE id = ?"));
        NOVALET_ASSIGN(
            auto count_open,
            database.prepare("SELECT EXISTS (SELECT 1 FROM requests WHERE closed_at IS NULL)"));
        NOVALET_ASSIGN(auto forget, database.prepare("DELETE FROM requests WHERE closed_at < ?"));
        NOVALET_ASSIGN(auto list,
                       database.prepare("SELECT id, unique_id, method, version, name_space, "
                                        "instance_uuid, message_id, reply_queue, args, context, "
                                        "accepted_at, step, step_data, attempts FROM requests "
                                        "WHERE closed_at IS NULL ORDER BY id"));
        return Statements{std::move(insert),
                          std::move(find),
                          std::move(step),
                          std::move(close),
                          std::move(is_known),
                          std::move(count_open),
                          std::move(forget),
                          std::move(list)};
    }
};

struct Opened {
    Database database;
    Statements statements;
};

Result<Opened> open_database(const Options& options) {
    NOVALET_TRY(prepare_file(options.path));
    NOVALET_ASSIGN(auto database, Database::open(options.path));
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
        return fail(Code::DataLoss, check);
    NOVALET_TRY(migrate(database));
    NOVALET_ASSIGN(const auto page, database.value_of("PRAGMA page_size"));
    const auto pages = options.max_bytes / to_number<std::uint64_t>(page).value_or(4096);
    NOVALET_TRY(database.execute(cat("PRAGMA max_page_count = ", pages)));
    // A table that is not ours is as good as damaged.
    auto statements = Statements::prepare(database);
    if (!statements)
        return fail(Code::DataLoss, statements.error().text);
    return Opened{std::move(database), std::move(*statements)};
}

/// The damaged file and what belongs to it, out of the way and kept for a post-mortem.
Result<std::filesystem::path> move_aside(const std::filesystem::path& path, const Clock& clock) {
    std::filesystem::path aside = cat(path.string(), ".damaged-", to_iso(clock.wall()));
    for (int i = 2; std::filesystem::exists(aside); ++i)
        aside = cat(path.string(), ".damaged-", to_iso(clock.wall()), '-', i);
    std::error_code error;
    std::filesystem::rename(path, aside, error);
    if (error)
        return system_failure("move aside damaged journal", path, error.value());
    for (const char* suffix : {"-wal", "-shm"}) {
        const std::filesystem::path companion = path.string() + suffix;
        if (!std::filesystem::exists(companion, error))
            continue;
        std::filesystem::rename(companion, aside.string() + suffix, error);
        if (error)
            return system_failure("move aside damaged journal", companion, error.value());
    }
    return aside;
}

} // namespace

/// The connection belongs to the thread that set `writing_`; mutex_ guards the queue only and is
/// not held while SQLite works.
class Journal::State {
  public:
    State(Database database, Statements statements, Options options, const Clock& clock)
        : database_(std::move(database)), sql_(std::move(statements)), options_(std::move(options)),
          clock_(clock) {}

    using Work = std::function<Result<void>(State&)>;
    /// `work` inside a transaction; durable when it returns ok.
    Result<void> submit(Work work);

    Result<Admission> insert(const Accepted& request);
    Result<void> set_step(EntryId entry, const std::string& step, const Json& data);
    Result<void> close(EntryId entry, Outcome outcome, const std::string& note);
    /// Those that cannot be read are closed.
    Result<void> list_readable(std::vector<Entry>& entries);
    Result<void> forget_old();
    /// Open entries have one more process; closed ones that are old enough are forgotten.
    Result<void> begin_process();

    std::optional<std::filesystem::path> damaged_copy;

  private:
    Result<std::vector<Entry>> list(std::vector<EntryId>& unreadable);

    struct Pending {
        Work work;
        Result<void> result;
        bool done = false;
    };
    void write_all(std::vector<Pending*>& batch);
    Result<void> transaction(const std::vector<Pending*>& batch);
    /// Tokens must not stay readable in the WAL longer than needed.
    void wipe_when_idle();

    Database database_;
    Statements sql_;
    const Options options_;
    const Clock& clock_;
    bool closed_something_ = false;
    WallTime forgot_at_{};

    std::mutex mutex_;
    std::condition_variable written_;
    std::vector<Pending*> queue_;
    bool writing_ = false;
};

Result<void> Journal::State::submit(Work work) {
    Pending mine{std::move(work), {}, false};
    std::unique_lock lock(mutex_);
    queue_.push_back(&mine);
    // Ends when the disk has answered: whoever writes takes everything that waits, so nobody waits
    // for more than the batch under way and the next one.
    written_.wait(lock, [&] { return mine.done || !writing_; });
    if (mine.done)
        return std::move(mine.result);
    writing_ = true;
    std::vector<Pending*> batch;
    batch.swap(queue_);
    lock.unlock();
    write_all(batch);
    lock.lock();
    for (auto* pending : batch)
        pending->done = true;
    writing_ = false;
    lock.unlock();
    written_.notify_all();
    return std::move(mine.result);
}

void Journal::State::write_all(std::vector<Pending*>& batch) {
    static auto& transactions = metrics::counter("novalet_journal_transactions_total",
                                                 "Transactions of the journal, one fsync each");
    static auto& errors =
        metrics::counter("novalet_journal_errors_total", "Changes the journal could not write");
    transactions.add();
    if (auto together = transaction(batch); !together) {
        // Somebody's failure must not be everybody's: each on its own.
        for (auto* pending : batch) {
            transactions.add();
            pending->result = batch.size() == 1 ? std::move(together) : transaction({pending});
            if (!pending->result)
                errors.add();
        }
    }
    wipe_when_idle();
}

Result<void> Journal::State::transaction(const std::vector<Pending*>& batch) {
    auto result = [&]() -> Result<void> {
        NOVALET_TRY(database_.execute("BEGIN IMMEDIATE"));
        for (auto* pending : batch)
            NOVALET_TRY(pending->work(*this));
        return database_.execute("COMMIT");
    }();
    if (!result && database_.in_transaction())
        discard(database_.execute("ROLLBACK"), "the first error is the one to report");
    if (!result && result.error().code != Code::NotFound)
        result = Failure(result.error().in(cat("journal ", options_.path.string())));
    return result;
}

void Journal::State::wipe_when_idle() {
    if (!closed_something_)
        return;
    auto row = sql_.count_open.step();
    const bool idle = row && *row && sql_.count_open.integer(0) == 0;
    sql_.count_open.reset();
    if (!idle)
        return;
    if (database_.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        closed_something_ = false;
}

Result<Admission> Journal::State::insert(const Accepted& request) {
    auto& insert = sql_.insert;
    if (request.unique_id.empty())
        insert.bind_null(1);
    else
        insert.bind(1, request.unique_id);
    insert.bind(2, request.method)
        .bind(3, request.version)
        .bind(4, request.name_space)
        .bind(5, request.instance_uuid)
        .bind(6, request.message_id)
        .bind(7, request.reply_queue)
        .bind(8, request.args.dump())
        .bind(9, request.context.dump())
        .bind(10, seconds_of(clock_.wall()));
    NOVALET_ASSIGN(const bool inserted, insert.step());
    if (inserted) {
        const EntryId id = insert.integer(0);
        NOVALET_TRY(insert.run());
        return Admission{id, true};
    }
    NOVALET_ASSIGN(const bool known, sql_.find.bind(1, request.unique_id).step());
    if (!known)
        return fail(Code::Internal, cat("request ", request.unique_id, " was not written"));
    const EntryId id = sql_.find.integer(0);
    sql_.find.reset();
    return Admission{id, false};
}

Result<void> Journal::State::set_step(EntryId entry, const std::string& step, const Json& data) {
    sql_.step.bind(1, step).bind(3, entry);
    if (data.is_null())
        sql_.step.bind_null(2);
    else
        sql_.step.bind(2, data.dump());
    NOVALET_TRY(sql_.step.run());
    if (database_.changes() == 0)
        return fail(Code::NotFound, cat("journal has no open entry ", entry, " for step ", step));
    return {};
}

Result<void> Journal::State::close(EntryId entry, Outcome outcome, const std::string& note) {
    NOVALET_TRY(sql_.close.bind(1, seconds_of(clock_.wall()))
                    .bind(2, name_of(outcome))
                    .bind(3, cut_utf8(note, 1000))
                    .bind(4, entry)
                    .run());
    if (database_.changes() == 0) {
        NOVALET_ASSIGN(const bool known, sql_.is_known.bind(1, entry).step());
        sql_.is_known.reset();
        if (!known)
            return fail(Code::NotFound, cat("journal has no entry ", entry));
        return {};
    }
    closed_something_ = true;
    return forget_old();
}

Result<void> Journal::State::forget_old() {
    constexpr Seconds pause{600};
    const auto now = clock_.wall();
    if (now - forgot_at_ < pause && now >= forgot_at_)
        return {};
    forgot_at_ = now;
    return sql_.forget.bind(1, seconds_of(now - options_.retention)).run();
}

Result<void> Journal::State::begin_process() {
    NOVALET_TRY(
        database_.execute("UPDATE requests SET attempts = attempts + 1 WHERE closed_at IS NULL"));
    return forget_old();
}

Result<std::vector<Entry>> Journal::State::list(std::vector<EntryId>& unreadable) {
    std::vector<Entry> entries;
    auto& row = sql_.list;
    for (;;) {
        NOVALET_ASSIGN(const bool more, row.step());
        if (!more)
            return entries;
        Entry entry;
        entry.id = row.integer(0);
        entry.request = {row.text(1),
                         row.text(2),
                         row.text(3),
                         row.text(4),
                         row.text(5),
                         row.text(6),
                         row.text(7),
                         {},
                         {}};
        entry.accepted_at = WallTime(Seconds(row.integer(10)));
        entry.step = row.text(11);
        entry.attempts = static_cast<unsigned>(row.integer(13));
        const std::string step_data = row.text(12);
        auto args = Json::parse(row.text(8));
        auto context = Json::parse(row.text(9));
        auto data = step_data.empty() ? Result<Json>(Json()) : Json::parse(step_data);
        if (!args || !context || !data) {
            log::error("journal entry cannot be read and is abandoned",
                       {{"instance", entry.request.instance_uuid},
                        {"entry", entry.id},
                        {"method", entry.request.method}});
            unreadable.push_back(entry.id);
            continue;
        }
        entry.request.args = std::move(*args);
        entry.request.context = std::move(*context);
        entry.step_data = std::move(*data);
        entries.push_back(std::move(entry));
    }
}

Result<void> Journal::State::list_readable(std::vector<Entry>& entries) {
    std::vector<EntryId> unreadable;
    NOVALET_ASSIGN(entries, list(unreadable));
    for (const auto id : unreadable)
        NOVALET_TRY(close(id, Outcome::Abandoned, "its documents could not be read"));
    return {};
}

Result<std::unique_ptr<Journal>> Journal::open(Options options, const Clock& clock) {
    const std::string what = cat("journal ", options.path.string());
    std::optional<std::filesystem::path> aside;
    auto opened = open_database(options);
    if (!opened && opened.error().code == Code::DataLoss) {
        const std::string reason = opened.error().text;
        NOVALET_ASSIGN(aside, move_aside(options.path, clock));
        log::error(
            "journal is damaged: moved aside, a new one is begun; requests that were under "
            "way are repaired from the instances' records",
            {{"path", options.path.string()}, {"moved_to", aside->string()}, {"reason", reason}});
        metrics::counter("novalet_journal_damaged_total", "Damaged journals that were moved aside")
            .add();
        opened = open_database(options);
    }
    if (!opened) {
        auto error = opened.error();
        if (error.code == Code::Conflict)
            error.text += "; another novalet runs with this state_path";
        return Failure(error.in(what));
    }
    auto state = std::make_unique<State>(
        std::move(opened->database), std::move(opened->statements), std::move(options), clock);
    state->damaged_copy = std::move(aside);
    NOVALET_TRY(state->submit([](State& s) { return s.begin_process(); }));
    return std::unique_ptr<Journal>(new Journal(std::move(state)));
}

Journal::Journal(std::unique_ptr<State> state) : state_(std::move(state)) {}
Journal::~Journal() = default;

Result<Admission> Journal::record(const Accepted& request) {
    Admission admission;
    NOVALET_TRY(state_->submit([&](State& s) -> Result<void> {
        NOVALET_ASSIGN(admission, s.insert(request));
        return {};
    }));
    return admission;
}

Result<std::vector<Admission>> Journal::record(const std::vector<Accepted>& requests) {
    std::vector<Admission> admissions;
    NOVALET_TRY(state_->submit([&](State& s) -> Result<void> {
        admissions.clear(); // the work is run again when it shared a transaction that failed
        for (const auto& request : requests) {
            NOVALET_ASSIGN(const auto one, s.insert(request));
            admissions.push_back(one);
        }
        return {};
    }));
    return admissions;
}

Result<void> Journal::set_step(EntryId entry, const std::string& step, Json data) {
    return state_->submit([&](State& s) { return s.set_step(entry, step, data); });
}

Result<void> Journal::close(EntryId entry, Outcome outcome, const std::string& note) {
    return state_->submit([&](State& s) { return s.close(entry, outcome, note); });
}

Result<std::vector<Entry>> Journal::open_entries() {
    std::vector<Entry> entries;
    NOVALET_TRY(state_->submit([&](State& s) { return s.list_readable(entries); }));
    return entries;
}

const std::optional<std::filesystem::path>& Journal::damaged_copy() const noexcept {
    return state_->damaged_copy;
}

} // namespace novalet::journal
