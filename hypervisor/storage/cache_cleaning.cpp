#include "hypervisor/storage/cache_cleaning.hpp"

#include "agent/core/digest.hpp"
#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/storage/file_lock.hpp"
#include "hypervisor/storage/part_file.hpp"
#include "hypervisor/storage/qcow2_header.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace novalet::hypervisor::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t digest_length = 40; // sha1 in hex

enum class Kind { Original, Resized, Blank };

bool all_of(std::string_view text, int (*test)(int)) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [test](char c) {
        return test(static_cast<unsigned char>(c)) != 0;
    });
}

/// Empty for a name that is none of the cache's.
std::optional<Kind> kind_of(const std::string& name) {
    const auto parts = split(name, '_');
    if (parts.empty())
        return std::nullopt;
    if (parts[0].size() == digest_length && all_of(parts[0], std::isxdigit)) {
        if (parts.size() == 1 && name.size() == digest_length)
            return Kind::Original;
        const bool resized =
            parts.size() == 2 && (parts[1] == "sm" || all_of(parts[1], std::isdigit));
        return resized ? std::optional(Kind::Resized) : std::nullopt;
    }
    const bool swap = parts.size() == 2 && parts[0] == "swap";
    const bool ephemeral =
        parts.size() == 3 && parts[0] == "ephemeral" && all_of(parts[2], std::isalnum);
    if ((swap || ephemeral) && all_of(parts[1], std::isdigit))
        return Kind::Blank;
    return std::nullopt;
}

/// Name of the file that a qcow2 disk stands on; empty when it stands on none or is not qcow2. A
/// guest that writes such a header into its raw disk gains that a file is kept.
Result<std::string> backing_name(const fs::path& disk) {
    NOVALET_ASSIGN(const auto header, read_qcow2_header(disk));
    return header ? fs::path(header->backing_file).filename().string() : std::string();
}

/// Base files that disks below the instances' folder stand on: those of this host's guests, of
/// others' on shared storage, of resizes and removals under way.
Result<std::set<std::string>> backing_names(const CleaningOptions& options) {
    std::set<std::string> names;
    std::error_code error;
    for (const auto& home : fs::directory_iterator(options.instances_path, error)) {
        const auto name = home.path().filename().string();
        std::error_code gone;
        if (name == options.subdirectory || !home.is_directory(gone))
            continue;
        std::error_code unreadable;
        for (const auto& entry : fs::directory_iterator(home.path(), unreadable)) {
            if (!entry.path().filename().string().starts_with("disk"))
                continue;
            NOVALET_ASSIGN(auto backing, backing_name(entry.path()));
            if (!backing.empty())
                names.insert(std::move(backing));
        }
        if (unreadable && unreadable != std::errc::no_such_file_or_directory)
            return fail(Code::Unavailable,
                        cat("list of ", home.path().string(), ": ", unreadable.message()));
    }
    if (error)
        return fail(Code::Unavailable,
                    cat("list of ", options.instances_path.string(), ": ", error.message()));
    return names;
}

/// One pass.
class Cleaning {
  public:
    Cleaning(const CleaningOptions& options, const CacheUse& use, const Clock& clock)
        : options_(options), use_(use), clock_(clock),
          folder_(options.instances_path / options.subdirectory) {
        for (const auto& image : use.images)
            digests_.insert(sha1_hex(image));
    }

    Result<CleaningReport> run();

  private:
    [[nodiscard]] bool named(const std::string& name) const {
        return use_.blank_bases.contains(name) || digests_.contains(name.substr(0, name.find('_')));
    }
    [[nodiscard]] bool old_enough(const struct stat& about, Kind kind) const;
    void look_at(const std::string& name, Kind kind);
    void remove(const std::string& name, Kind kind);
    void note_use(const std::string& name) const;

    const CleaningOptions& options_;
    const CacheUse& use_;
    const Clock& clock_;
    const fs::path folder_;
    std::set<std::string> digests_;
    std::set<std::string> backing_;
    CleaningReport report_;
};

bool Cleaning::old_enough(const struct stat& about, Kind kind) const {
    const auto least =
        kind == Kind::Resized ? options_.resized_minimum_age : options_.original_minimum_age;
    const WallTime used = WallTime(Seconds(about.st_mtim.tv_sec)) +
                          std::chrono::duration_cast<WallTime::duration>(
                              std::chrono::nanoseconds(about.st_mtim.tv_nsec));
    return clock_.wall() - used >= least;
}

void Cleaning::note_use(const std::string& name) const {
    const auto path = folder_ / name;
    if (utimensat(AT_FDCWD, path.c_str(), nullptr, AT_SYMLINK_NOFOLLOW) != 0)
        log::warning("the use of a base file cannot be noted",
                     {{"file", path.string()}, {"error", errno_text(errno)}});
}

void Cleaning::remove(const std::string& name, Kind kind) {
    const auto path = folder_ / name;
    const auto lock_path = options_.instances_path / "locks" / ("nova-" + name);
    const auto lock = FileLock::try_take(lock_path);
    struct stat about {};
    // Looked at again under the lock: a build may have found a use for it meanwhile.
    if (!lock || lstat(path.c_str(), &about) != 0 || !old_enough(about, kind)) {
        report_.kept.push_back(name);
        return;
    }
    if (unlink(path.c_str()) != 0) {
        log::error("a base file cannot be removed",
                   {{"file", path.string()}, {"error", errno_text(errno)}});
        report_.kept.push_back(name);
        return;
    }
    log::info("removed a base file that nobody uses", {{"file", path.string()}});
    metrics::counter("novalet_cached_images_removed_total", "Base files removed from the cache.")
        .add();
    report_.removed.push_back(name);
    report_.freed_bytes += static_cast<std::uint64_t>(about.st_blocks) * 512;
    unlink(lock_path.c_str()); // who waits for it sees that and takes the next one
}

void Cleaning::look_at(const std::string& name, Kind kind) {
    if (named(name)) {
        note_use(name);
        report_.used.push_back(name);
        return;
    }
    if (backing_.contains(name)) {
        report_.used.push_back(name);
        return;
    }
    struct stat about {};
    if (lstat((folder_ / name).c_str(), &about) != 0 || !S_ISREG(about.st_mode))
        return;
    if (options_.remove_unused && old_enough(about, kind))
        remove(name, kind);
    else
        report_.kept.push_back(name);
}

Result<CleaningReport> Cleaning::run() {
    std::error_code error;
    if (!fs::exists(folder_, error))
        return report_;
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_, error))
        names.push_back(entry.path().filename().string());
    if (error)
        return fail(Code::Unavailable, cat("list of ", folder_.string(), ": ", error.message()));
    std::sort(names.begin(), names.end());
    // After the list: a disk that is made from now on notes the use of its base first.
    NOVALET_ASSIGN(backing_, backing_names(options_));
    for (const auto& name : names)
        if (const auto kind = kind_of(name))
            look_at(name, *kind);
    return std::move(report_);
}

} // namespace

Result<CleaningReport>
clean_image_cache(const CleaningOptions& options, const CacheUse& use, const Clock& clock) {
    return Cleaning(options, use, clock).run();
}

std::uint64_t image_cache_bytes(const fs::path& instances_path, const std::string& subdirectory) {
    const auto folder = instances_path / subdirectory;
    struct stat instances {};
    struct stat cache {};
    if (stat(instances_path.c_str(), &instances) != 0 || stat(folder.c_str(), &cache) != 0 ||
        instances.st_dev != cache.st_dev)
        return 0;
    std::uint64_t total = 0;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        struct stat about {};
        if (lstat(entry.path().c_str(), &about) == 0 && S_ISREG(about.st_mode))
            total += static_cast<std::uint64_t>(about.st_blocks) * 512;
    }
    return total;
}

} // namespace novalet::hypervisor::storage
