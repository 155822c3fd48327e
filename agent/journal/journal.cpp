#include "agent/journal/journal.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "agent/journal/store.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>

namespace novalet::journal {
namespace {

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

Result<Row> row_of(const Accepted& request, WallTime now) {
    Row row;
    row.unique_id = request.unique_id;
    row.method = request.method;
    row.version = request.version;
    row.name_space = request.name_space;
    row.instance_uuid = request.instance_uuid;
    row.message_id = request.message_id;
    row.reply_queue = request.reply_queue;
    row.accepted_at = seconds_of(now);
    auto args = request.args.dump(document_limits);
    if (!args)
        return Failure(args.error().in(cat("arguments of ", request.method)));
    auto context = request.context.dump(document_limits);
    if (!context)
        return Failure(context.error().in(cat("context of ", request.method)));
    row.args = std::move(*args);
    row.context = std::move(*context);
    return row;
}

Result<Entry> entry_of(const Row& row) {
    Entry entry;
    entry.id = row.id;
    entry.request = {row.unique_id,
                     row.method,
                     row.version,
                     row.name_space,
                     row.instance_uuid,
                     row.message_id,
                     row.reply_queue,
                     {},
                     {}};
    entry.accepted_at = WallTime(Seconds(row.accepted_at));
    entry.step = row.step;
    entry.attempts = static_cast<unsigned>(row.attempts);
    NOVALET_ASSIGN(entry.request.args, Json::parse(row.args, document_limits));
    NOVALET_ASSIGN(entry.request.context, Json::parse(row.context, document_limits));
    if (!row.state.empty()) {
        NOVALET_ASSIGN(entry.step_data, Json::parse(row.state, document_limits));
    }
    return entry;
}

Failure not_open(EntryId entry) {
    return fail(Code::NotFound, cat("journal has no open entry ", entry));
}

} // namespace

/// The store belongs to the thread that set `writing_`; mutex_ guards the queue only and is not
/// held while the disk works.
class Journal::State {
  public:
    State(Store store, Options options, const Clock& clock)
        : store_(std::move(store)), options_(std::move(options)), clock_(clock) {
        publish();
    }

    using Work = std::function<Result<void>(State&)>;
    struct Pending {
        Work work;
        Durability durability = Durability::Disk;
        std::optional<EntryId> entry{}; ///< to be closed …
        Closing closing{};              ///< … like this, now or later
        Result<void> result{};
        bool done = false;
    };
    /// `work` inside a transaction; durable when it returns ok.
    Result<void> submit(Work work, Durability durability = Durability::Disk) {
        Pending mine{std::move(work), durability};
        return submit(mine);
    }
    Result<void> close(EntryId entry, Closing closing);

    // Work; on the thread that writes.
    Result<void> insert(Row& row, Admission& admission);
    Result<void> set_step(EntryId entry, const std::string& step, const std::string& state);
    Result<void> set_working(EntryId entry, bool working);
    Result<void> close_row(EntryId entry, const Closing& closing);
    /// Those that cannot be read are closed.
    Result<void> list_readable(std::vector<Entry>& entries);
    Result<void> forget_old();
    Result<void> rest_all();

    [[nodiscard]] Closing closing_of(Outcome outcome, const std::string& note) const {
        return {seconds_of(clock_.wall()), name_of(outcome), cut_utf8(note, 1000)};
    }
    [[nodiscard]] WallTime now() const { return clock_.wall(); }
    [[nodiscard]] std::size_t owed() const noexcept { return owed_.load(); }
    [[nodiscard]] std::optional<std::filesystem::path> damaged_copy() {
        const std::lock_guard lock(mutex_);
        return damaged_copy_;
    }

  private:
    Result<void> submit(Pending& mine);
    void write_all(std::vector<Pending*>& batch);
    Result<void> write(const std::vector<Pending*>& batch);
    void write_owed();
    /// Tokens must not stay readable in the WAL longer than needed.
    void wipe_when_idle();
    void publish();

    Store store_;
    const Options options_;
    const Clock& clock_;
    bool closed_something_ = false;
    bool stopping_ = false;
    WallTime forgot_at_{};
    std::atomic<std::size_t> owed_{0};

    std::mutex mutex_;
    std::condition_variable written_;
    std::vector<Pending*> queue_;
    bool writing_ = false;
    std::optional<std::filesystem::path> damaged_copy_;
};

Result<void> Journal::State::submit(Pending& mine) {
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
    static auto& errors =
        metrics::counter("novalet_journal_errors_total", "Changes the journal could not write");
    if (auto together = write(batch); !together) {
        // Somebody's failure must not be everybody's: each on its own.
        for (auto* pending : batch) {
            pending->result = batch.size() == 1 ? std::move(together) : write({pending});
            if (pending->result)
                continue;
            errors.add();
            if (pending->entry && pending->result.error().code != Code::NotFound)
                store_.owe(*pending->entry, pending->closing);
        }
    }
    if (std::any_of(batch.begin(), batch.end(), [](auto* one) { return one->result.has_value(); }))
        write_owed();
    wipe_when_idle();
    publish();
}

Result<void> Journal::State::write(const std::vector<Pending*>& batch) {
    const bool durable = std::any_of(batch.begin(), batch.end(), [](const auto* pending) {
        return pending->durability == Durability::Disk;
    });
    return store_.write(durable, [&]() -> Result<void> {
        for (auto* pending : batch)
            NOVALET_TRY(pending->work(*this));
        return {};
    });
}

void Journal::State::write_owed() {
    if (store_.owed().empty())
        return;
    const auto owed = store_.owed();
    const auto written = store_.write(true, [&]() -> Result<void> {
        for (const auto& [entry, closing] : owed)
            NOVALET_TRY(close_row(entry, closing));
        return {};
    });
    if (written)
        log::info("closes that the journal could not write before are on disk",
                  {{"entries", owed.size()}});
    else
        log::warning("the journal still cannot write closes; they are tried again",
                     {{"entries", owed.size()}, {"error", written.error().text}});
}

void Journal::State::wipe_when_idle() {
    if (closed_something_ && store_.open().empty() && store_.wipe())
        closed_something_ = false;
}

void Journal::State::publish() {
    owed_ = store_.owed().size();
    const std::lock_guard lock(mutex_);
    damaged_copy_ = store_.damaged_copy();
}

Result<void> Journal::State::insert(Row& row, Admission& admission) {
    row.id = store_.next_id();
    NOVALET_ASSIGN(const bool fresh, store_.table().insert(row));
    if (fresh) {
        admission = {row.id, true};
        store_.after_commit([this, &row] { store_.add(std::move(row)); });
        return {};
    }
    NOVALET_ASSIGN(const auto first, store_.table().find(row.unique_id));
    admission = {first, false};
    return {};
}

Result<void>
Journal::State::set_step(EntryId entry, const std::string& step, const std::string& state) {
    const bool working = !stopping_;
    auto* row = store_.find(entry);
    if (row == nullptr)
        return not_open(entry);
    NOVALET_ASSIGN(const bool open, store_.table().set_step(entry, step, state, working));
    if (!open)
        return not_open(entry);
    store_.after_commit([row, &step, &state, working] {
        row->step = step;
        row->state = state;
        row->working = working;
    });
    return {};
}

Result<void> Journal::State::set_working(EntryId entry, bool working) {
    auto* row = store_.find(entry);
    if (row == nullptr)
        return not_open(entry);
    if (row->working == working || (working && stopping_))
        return {};
    NOVALET_ASSIGN(const bool open, store_.table().set_working(entry, working));
    if (!open)
        return not_open(entry);
    store_.after_commit([row, working] { row->working = working; });
    return {};
}

Result<void> Journal::State::close_row(EntryId entry, const Closing& closing) {
    const auto owed = store_.owed().find(entry);
    const Closing first = owed != store_.owed().end() ? owed->second : closing;
    NOVALET_ASSIGN(const bool was_open, store_.table().close(entry, first));
    if (!was_open) {
        NOVALET_ASSIGN(const bool known, store_.table().knows(entry));
        if (!known)
            return fail(Code::NotFound, cat("journal has no entry ", entry));
        return {};
    }
    store_.after_commit([this, entry, first] {
        store_.closed(entry, first);
        closed_something_ = true;
    });
    return forget_old();
}

Result<void> Journal::State::close(EntryId entry, Closing closing) {
    Pending mine{[&](State& s) { return s.close_row(entry, closing); }};
    mine.entry = entry;
    mine.closing = closing;
    return submit(mine);
}

Result<void> Journal::State::forget_old() {
    constexpr Seconds pause{600};
    const auto now = clock_.wall();
    if (now - forgot_at_ < pause && now >= forgot_at_)
        return {};
    NOVALET_TRY(store_.table().forget(seconds_of(now - options_.retention)));
    store_.after_commit([this, now] { forgot_at_ = now; });
    return {};
}

Result<void> Journal::State::rest_all() {
    stopping_ = true;
    NOVALET_TRY(store_.table().rest_all());
    store_.after_commit([this] { store_.rest_all(); });
    return {};
}

Result<void> Journal::State::list_readable(std::vector<Entry>& entries) {
    entries.clear(); // the work is run again when it shared a transaction that failed
    for (const auto& [id, row] : store_.open()) {
        if (store_.owed().contains(id))
            continue;
        auto entry = entry_of(row);
        if (entry) {
            entries.push_back(std::move(*entry));
            continue;
        }
        log::error("journal entry cannot be read and is abandoned",
                   {{"instance", row.instance_uuid},
                    {"entry", id},
                    {"method", row.method},
                    {"error", entry.error().text}});
        NOVALET_TRY(
            close_row(id, closing_of(Outcome::Abandoned, "its documents could not be read")));
    }
    return {};
}

Result<std::unique_ptr<Journal>> Journal::open(Options options, const Clock& clock) {
    const std::string what = cat("journal ", options.path.string());
    auto store = Store::open(options.path, options.max_bytes, clock);
    if (!store) {
        auto error = store.error();
        if (error.code == Code::Conflict)
            error.text += "; another novalet runs with this state_path";
        return Failure(error.in(what));
    }
    auto state = std::make_unique<State>(std::move(*store), std::move(options), clock);
    if (const auto forgot = state->submit([](State& s) { return s.forget_old(); }); !forgot)
        log::warning("old entries of the journal cannot be removed now; tried again later",
                     {{"error", forgot.error().text}});
    return std::unique_ptr<Journal>(new Journal(std::move(state)));
}

Journal::Journal(std::unique_ptr<State> state) : state_(std::move(state)) {}
Journal::~Journal() = default;

Result<Admission> Journal::record(const Accepted& request) {
    NOVALET_ASSIGN(auto row, row_of(request, state_->now()));
    Admission admission;
    NOVALET_TRY(state_->submit([&](State& s) { return s.insert(row, admission); }));
    return admission;
}

Result<std::vector<Admission>> Journal::record(const std::vector<Accepted>& requests) {
    std::vector<Row> rows;
    rows.reserve(requests.size());
    for (const auto& request : requests) {
        NOVALET_ASSIGN(auto row, row_of(request, state_->now()));
        rows.push_back(std::move(row));
    }
    std::vector<Admission> admissions(requests.size());
    auto written = state_->submit([&](State& s) -> Result<void> {
        for (std::size_t i = 0; i < rows.size(); ++i)
            NOVALET_TRY(s.insert(rows[i], admissions[i]));
        return {};
    });
    if (!written)
        return Failure(std::move(written).error());
    return admissions;
}

Result<void> Journal::begin(EntryId entry) {
    return state_->submit([entry](State& s) { return s.set_working(entry, true); },
                          Durability::Process);
}

Result<void>
Journal::set_step(EntryId entry, const std::string& step, const Json& data, Durability durability) {
    std::string text;
    if (!data.is_null()) {
        auto dumped = data.dump(document_limits);
        if (!dumped)
            return Failure(
                dumped.error().in(cat("step data of journal entry ", entry, " for step ", step)));
        text = std::move(*dumped);
    }
    auto written =
        state_->submit([&](State& s) { return s.set_step(entry, step, text); }, durability);
    if (!written)
        return Failure(written.error().in(cat("step ", step)));
    return written;
}

Result<void> Journal::suspend(EntryId entry) {
    return state_->submit([entry](State& s) { return s.set_working(entry, false); },
                          Durability::Process);
}

Result<void> Journal::close(EntryId entry, Outcome outcome, const std::string& note) {
    auto closed = state_->close(entry, state_->closing_of(outcome, note));
    if (closed || closed.error().code == Code::NotFound)
        return closed;
    Error error = closed.error();
    error.text += cat("; the close of entry ", entry, " is kept and tried again");
    return Failure(std::move(error));
}

Result<void> Journal::retry_closes() {
    if (state_->owed() == 0)
        return {};
    // A change that changes nothing: the closes are written after it.
    NOVALET_TRY(state_->submit([](State&) { return Result<void>(); }));
    if (const auto left = state_->owed(); left != 0)
        return fail(Code::Unavailable, cat(left, " closes of journal entries are not on disk"));
    return {};
}

std::size_t Journal::owed_closes() const noexcept {
    return state_->owed();
}

Result<void> Journal::stop() {
    NOVALET_TRY(state_->submit([](State& s) { return s.rest_all(); }));
    return retry_closes();
}

Result<std::vector<Entry>> Journal::open_entries() {
    std::vector<Entry> entries;
    NOVALET_TRY(state_->submit([&](State& s) { return s.list_readable(entries); }));
    return entries;
}

std::optional<std::filesystem::path> Journal::damaged_copy() const {
    return state_->damaged_copy();
}

} // namespace novalet::journal
