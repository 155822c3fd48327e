#pragma once
// The open journal file together with what is known of it in memory, which is enough to write it
// anew when the file is lost. One thread at a time.
#include "agent/core/clock.hpp"
#include "agent/journal/journal_file.hpp"
#include "agent/journal/requests_table.hpp"

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <vector>

namespace novalet::journal {

class Store {
  public:
    /// Takes the lock, makes what is missing, replaces what is damaged. Entries on which a process
    /// that died was working have one attempt more.
    [[nodiscard]] static Result<Store>
    open(std::filesystem::path path, std::uint64_t max_bytes, const Clock& clock);

    /// `work` in one transaction; it may be run again. A file that turns out to be lost is replaced
    /// first. Errors name the journal, NotFound excepted.
    [[nodiscard]] Result<void> write(bool durable, const std::function<Result<void>()>& work);
    /// Inside `work`: what memory has to follow. Run when the transaction was committed.
    void after_commit(std::function<void()> change) { after_commit_.push_back(std::move(change)); }
    [[nodiscard]] RequestsTable& table() { return *table_; }
    [[nodiscard]] std::int64_t next_id() { return ++highest_; }
    /// No bytes of closed entries stay in the WAL.
    [[nodiscard]] Result<void> wipe();

    // What is in memory.
    [[nodiscard]] const std::map<std::int64_t, Row>& open() const { return open_; }
    /// An open entry that nobody wants closed; null when there is none.
    [[nodiscard]] Row* find(std::int64_t id);
    void add(Row row);
    void closed(std::int64_t id, const Closing& closing);
    void rest_all();
    /// The entry is over, although the file does not say so yet. The first closing counts.
    void owe(std::int64_t id, const Closing& closing);
    [[nodiscard]] const std::map<std::int64_t, Closing>& owed() const { return owed_; }
    [[nodiscard]] const std::optional<std::filesystem::path>& damaged_copy() const {
        return damaged_copy_;
    }

  private:
    Store(std::filesystem::path path, std::uint64_t max_bytes, const Clock& clock, FileLock lock)
        : path_(std::move(path)), max_bytes_(max_bytes), clock_(&clock), lock_(std::move(lock)) {}
    [[nodiscard]] Result<void> examine_companions();
    [[nodiscard]] Result<void> load();
    [[nodiscard]] Result<void> load_or_replace();
    [[nodiscard]] Result<void> transaction(bool durable, const std::function<Result<void>()>& work);
    /// Empty: the files are those that this object left.
    [[nodiscard]] std::string loss() const;
    void note_sizes();
    /// A new file from memory, by way of path.new; the one before, if any, is moved aside.
    [[nodiscard]] Result<void> replace();
    [[nodiscard]] Result<void> replace_lost(const std::string& reason);
    [[nodiscard]] Result<void> write_fresh(const std::filesystem::path& fresh) const;

    std::filesystem::path path_;
    std::uint64_t max_bytes_;
    const Clock* clock_;
    FileLock lock_;
    std::optional<RequestsTable> table_;
    Footprint footprint_;
    std::optional<std::filesystem::path> damaged_copy_;
    std::vector<std::function<void()>> after_commit_;

    std::map<std::int64_t, Row> open_;
    std::deque<Row> closed_; ///< the last ones, without documents
    std::map<std::int64_t, Closing> owed_;
    std::int64_t highest_ = 0;
};

} // namespace novalet::journal
