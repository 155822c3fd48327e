#pragma once
// The journal's files as files: modes, the lock, what became of them behind our back, the move of
// damaged ones. SQLite is not asked here.
//
// What belongs to `path`: path, path-wal, path.lock; path.new while a new file is prepared; and
// path-journal and path-shm, which this journal never has and which are moved aside when found.
#include "agent/core/clock.hpp"
#include "agent/core/file.hpp"
#include "agent/core/result.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace novalet::journal {

/// Held by one process for a journal, whatever becomes of the database file. Given back when the
/// object ends.
class FileLock {
  public:
    /// Conflict: another process, or another Journal of this one, has it.
    [[nodiscard]] static Result<FileLock> take(const std::filesystem::path& path);

  private:
    explicit FileLock(Fd file) : file_(std::move(file)) {}
    Fd file_;
};

/// The folder of `path`, 0700 when it has to be made.
[[nodiscard]] Result<void> prepare_folder(const std::filesystem::path& path);
/// True: there is a file, ours to read and write, mode 0600. False: there is none. An error says
/// what else is in its place (a folder, a symbolic link) or what the system said.
[[nodiscard]] Result<bool> prepare_file(const std::filesystem::path& path);
/// An empty file with mode 0600, in place of whatever a process left when it ended early.
[[nodiscard]] Result<void> begin_file(const std::filesystem::path& path);
/// `path` and what SQLite keeps beside it.
void remove_files(const std::filesystem::path& path);

/// Which files there are, to see that somebody else removed, replaced or cut them.
struct Footprint {
    struct Part {
        bool there = false;
        std::uint64_t device = 0;
        std::uint64_t inode = 0;
        std::uint64_t bytes = 0;
    };
    Part file;
    Part wal;
    [[nodiscard]] static Footprint of(const std::filesystem::path& path);
    /// What happened to the files since `earlier`; empty when nobody but this journal, which lets
    /// them grow, can have touched them.
    [[nodiscard]] std::string changes_since(const Footprint& earlier) const;
};

/// What a WAL holds, by SQLite's description of its file format.
struct WalContent {
    bool readable = true;   ///< false: no header that belongs to a WAL; SQLite would ignore it all
    std::size_t frames = 0; ///< that are read
    std::size_t lost = 0;   ///< written later in the same run, committed, not reachable any more
};
/// None: there is no WAL, or an empty one.
[[nodiscard]] std::optional<WalContent> examine_wal(const std::filesystem::path& wal);

/// `path.damaged-<time>`, a name that is not used yet.
[[nodiscard]] std::filesystem::path name_aside(const std::filesystem::path& path,
                                               const Clock& clock);
/// One of SQLite's companions (suffix "-wal" …) under the name `aside`; ok when there is none.
[[nodiscard]] Result<void> move_companion(const std::filesystem::path& path,
                                          const std::string& suffix,
                                          const std::filesystem::path& aside);
/// What lies at `path` gets the name `aside`, companions included, and `fresh` takes its place in
/// one step. Either may be missing at `path`.
[[nodiscard]] Result<void> exchange(const std::filesystem::path& path,
                                    const std::filesystem::path& fresh,
                                    const std::filesystem::path& aside);

} // namespace novalet::journal
