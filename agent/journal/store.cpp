#include "agent/journal/store.hpp"

#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"

namespace novalet::journal {
namespace {

/// Closed entries whose unique ids outlive the loss of the file: more than the broker can send
/// again, some 300 bytes each.
constexpr std::size_t remembered = 1000;

void count_damage() {
    metrics::counter("novalet_journal_damaged_total", "Damaged journals that were moved aside")
        .add();
}

/// The file is to be replaced. It is one that can be written, as `prepare_file` has shown, so that
/// read-only is what SQLite makes of a header.
bool is_damage(const Error& error) {
    return error.code == Code::DataLoss || error.code == Code::Unauthorized;
}

Row without_documents(Row row, const Closing& closing) {
    row.args = {};
    row.context = {};
    row.state = {};
    row.working = false;
    row.closing = closing;
    return row;
}

} // namespace

Result<Store> Store::open(std::filesystem::path path, std::uint64_t max_bytes, const Clock& clock) {
    NOVALET_TRY(prepare_folder(path));
    NOVALET_ASSIGN(auto lock, FileLock::take(path));
    Store store(std::move(path), max_bytes, clock, std::move(lock));
    NOVALET_TRY(store.load_or_replace());
    return store;
}

Result<void> Store::load_or_replace() {
    NOVALET_ASSIGN(const bool there, prepare_file(path_));
    NOVALET_TRY(examine_companions());
    const auto left = Footprint::of(path_);
    std::string damage;
    if (!there && left.wal.bytes == 0)
        return replace(); // the first start
    if (!there)
        damage = "the file is missing, its WAL is there";
    else if (left.file.bytes == 0)
        damage = "the file is empty";
    if (damage.empty()) {
        const auto loaded = load();
        // At the start, too, what SQLite cannot make sense of: a schema, a file format.
        if (loaded || !(is_damage(loaded.error()) || loaded.error().code == Code::Internal))
            return loaded;
        damage = loaded.error().text;
    }
    NOVALET_TRY(replace());
    count_damage();
    log::error("journal is damaged: moved aside, a new one is begun; requests that were under "
               "way are repaired from the instances' records",
               {{"path", path_.string()},
                {"moved_to", damaged_copy_ ? damaged_copy_->string() : ""},
                {"reason", damage}});
    return {};
}

Result<void> Store::examine_companions() {
    const auto content = examine_wal(path_.string() + "-wal");
    std::error_code error;
    const bool rollback_journal =
        std::filesystem::symlink_status(path_.string() + "-journal", error).type() !=
        std::filesystem::file_type::not_found;
    const bool unreadable = content && !content->readable;
    if (!unreadable && !rollback_journal && (!content || content->lost == 0))
        return {};
    const auto aside = name_aside(path_, *clock_);
    std::string reason;
    if (rollback_journal) { // SQLite would play it back into the file
        NOVALET_TRY(move_companion(path_, "-journal", aside));
        reason = "a rollback journal, which this file never has, lay beside it";
        damaged_copy_ = aside.string() + "-journal";
    }
    if (unreadable) {
        NOVALET_TRY(move_companion(path_, "-wal", aside));
        reason = "its WAL is none";
        damaged_copy_ = aside.string() + "-wal";
    } else if (content && content->lost != 0) {
        reason = cat("its WAL is damaged after frame ",
                     content->frames,
                     ": ",
                     content->lost,
                     " frames cannot be read");
        std::filesystem::copy_file(path_.string() + "-wal", aside.string() + "-wal", error);
        if (error)
            log::warning("the damaged WAL of the journal could not be copied",
                         {{"error", error.message()}});
        else
            damaged_copy_ = aside.string() + "-wal";
    }
    count_damage();
    log::error("the last changes of the journal are lost: what was written before them counts",
               {{"path", path_.string()},
                {"moved_to", damaged_copy_ ? damaged_copy_->string() : ""},
                {"reason", reason}});
    return {};
}

Result<void> Store::load() {
    NOVALET_ASSIGN(auto table, RequestsTable::open(path_, max_bytes_));
    NOVALET_TRY(table.count_deaths());
    NOVALET_ASSIGN(highest_, table.highest_id());
    NOVALET_ASSIGN(auto rows, table.open_rows());
    NOVALET_ASSIGN(auto closed, table.closed_rows(remembered));
    for (auto& row : rows)
        open_.emplace(row.id, std::move(row));
    closed_.assign(std::make_move_iterator(closed.begin()), std::make_move_iterator(closed.end()));
    table_ = std::move(table);
    footprint_ = Footprint::of(path_);
    return {};
}

std::string Store::loss() const {
    return table_ ? Footprint::of(path_).changes_since(footprint_) : "it could not be opened again";
}

void Store::note_sizes() {
    const auto now = Footprint::of(path_);
    footprint_.file.bytes = std::max(footprint_.file.bytes, now.file.bytes);
    if (!footprint_.wal.there || footprint_.wal.inode == now.wal.inode)
        footprint_.wal = now.wal;
}

Result<void> Store::write(bool durable, const std::function<Result<void>()>& work) {
    const auto result = [&]() -> Result<void> {
        if (const auto lost = loss(); !lost.empty())
            NOVALET_TRY(replace_lost(lost));
        auto written = transaction(durable, work);
        if (!written && written.error().code == Code::ResourceExhausted &&
            table_->checkpoint(false)) // the WAL's own room can be used again
            written = transaction(durable, work);
        if (!written && is_damage(written.error())) {
            NOVALET_TRY(replace_lost(written.error().text));
            written = transaction(durable, work);
        }
        if (!written)
            return written;
        note_sizes();
        // What was written into a file that was removed meanwhile is in memory by now.
        if (const auto lost = loss(); !lost.empty())
            return replace_lost(lost);
        return {};
    }();
    if (!result && result.error().code != Code::NotFound)
        return Failure(result.error().in(cat("journal ", path_.string())));
    return result;
}

Result<void> Store::transaction(bool durable, const std::function<Result<void>()>& work) {
    static auto& transactions = metrics::counter("novalet_journal_transactions_total",
                                                 "Transactions of the journal, one fsync each");
    transactions.add();
    after_commit_.clear();
    auto result = [&]() -> Result<void> {
        NOVALET_TRY(table_->set_durable(durable));
        NOVALET_TRY(table_->begin());
        NOVALET_TRY(work());
        return table_->commit();
    }();
    if (!result) {
        table_->rollback();
        after_commit_.clear();
        return result;
    }
    for (const auto& change : std::exchange(after_commit_, {}))
        change();
    return {};
}

Result<void> Store::wipe() {
    if (!table_)
        return fail(Code::Unavailable, "the journal has no file");
    NOVALET_TRY(table_->checkpoint(true));
    note_sizes();
    return {};
}

Result<void> Store::replace_lost(const std::string& reason) {
    const auto replaced = replace();
    if (!replaced) {
        log::error(
            "journal is damaged and cannot be written anew; tried again with the next change",
            {{"path", path_.string()},
             {"reason", reason},
             {"error", replaced.error().text},
             {"open_entries", open_.size()}});
        Error error = replaced.error();
        error.text = cat("damaged (", reason, "), and a new file cannot be written: ", error.text);
        return Failure(std::move(error));
    }
    count_damage();
    log::error("journal was damaged while it was open: written anew from memory, no entry is lost",
               {{"path", path_.string()},
                {"moved_to", damaged_copy_ ? damaged_copy_->string() : ""},
                {"reason", reason},
                {"open_entries", open_.size()}});
    return {};
}

Result<void> Store::replace() {
    const std::filesystem::path fresh = path_.string() + ".new";
    const auto before = Footprint::of(path_);
    if (const auto written = write_fresh(fresh); !written) {
        remove_files(fresh);
        return Failure(written.error().in("a new file"));
    }
    const auto aside = name_aside(path_, *clock_);
    NOVALET_TRY(exchange(path_, fresh, aside));
    if (before.file.there)
        damaged_copy_ = aside;
    else if (before.wal.there)
        damaged_copy_ = aside.string() + "-wal";
    // Only now: what SQLite still writes when it closes goes into the file that was moved, and the
    // WAL that it removes by its name is not the new one.
    table_.reset();
    NOVALET_ASSIGN(table_, RequestsTable::open(path_, max_bytes_));
    footprint_ = Footprint::of(path_);
    for (const auto& [id, closing] : std::exchange(owed_, {}))
        closed(id, closing); // write_fresh wrote them so
    return {};
}

Result<void> Store::write_fresh(const std::filesystem::path& fresh) const {
    NOVALET_TRY(begin_file(fresh));
    NOVALET_ASSIGN(auto table, RequestsTable::create(fresh, max_bytes_));
    NOVALET_TRY(table.begin());
    for (const auto& row : closed_)
        NOVALET_TRY(table.insert(row));
    for (const auto& [id, row] : open_) {
        const auto owed = owed_.find(id);
        NOVALET_TRY(table.insert(owed == owed_.end() ? row : without_documents(row, owed->second)));
    }
    NOVALET_TRY(table.reserve_ids(highest_));
    NOVALET_TRY(table.commit());
    return table.checkpoint(true);
}

Row* Store::find(std::int64_t id) {
    const auto found = open_.find(id);
    return found == open_.end() || owed_.contains(id) ? nullptr : &found->second;
}

void Store::add(Row row) {
    open_.insert_or_assign(row.id, std::move(row));
}

void Store::closed(std::int64_t id, const Closing& closing) {
    owed_.erase(id);
    auto row = open_.extract(id);
    if (!row)
        return;
    closed_.push_back(without_documents(std::move(row.mapped()), closing));
    if (closed_.size() > remembered)
        closed_.pop_front();
}

void Store::rest_all() {
    for (auto& [id, row] : open_)
        row.working = false;
}

void Store::owe(std::int64_t id, const Closing& closing) {
    if (open_.contains(id))
        owed_.emplace(id, closing);
}

} // namespace novalet::journal
