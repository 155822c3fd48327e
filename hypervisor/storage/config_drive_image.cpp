#include "hypervisor/storage/config_drive_image.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/storage/part_file.hpp"

#include <cerrno>
#include <fcntl.h>
#include <string_view>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace novalet::hypervisor::storage {
namespace {

namespace fs = std::filesystem;

constexpr const char* label = "config-2"; // guests look for it
constexpr off_t vfat_bytes = off_t{64} << 20U;
constexpr Milliseconds patience{120000};

/// The unfinished image and the folder of its files; both go away.
class Workplace {
  public:
    explicit Workplace(const fs::path& target)
        : tree_(target.string() + ".tree"), image_(target.string() + ".new") {
        clear();
    }
    Workplace(const Workplace&) = delete;
    Workplace& operator=(const Workplace&) = delete;
    ~Workplace() { clear(); }

    [[nodiscard]] const fs::path& tree() const { return tree_; }
    [[nodiscard]] const fs::path& image() const { return image_; }

  private:
    void clear() const {
        std::error_code ignored; // what stays is met again when it is made
        fs::remove_all(tree_, ignored);
        fs::remove(image_, ignored);
    }
    const fs::path tree_;
    const fs::path image_;
};

Result<void> make_folder(const fs::path& folder) {
    if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
        return file_failure("folder " + folder.string());
    return {};
}

Result<Fd> make_file(const fs::path& path) {
    Fd file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file)
        return file_failure("create " + path.string());
    return file;
}

Result<void> write_all(const Fd& file, std::string_view content, const fs::path& path) {
    while (!content.empty()) {
        const auto put = write(file.get(), content.data(), content.size());
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return file_failure("write " + path.string());
        content.remove_prefix(static_cast<std::size_t>(put));
    }
    return {};
}

Result<void> write_tree(const fs::path& tree, const ConfigDrive& drive) {
    NOVALET_TRY(make_folder(tree));
    for (const auto& [name, content] : drive.files) {
        const fs::path relative(name);
        fs::path folder = tree;
        for (const auto& part : relative) {
            if (relative.is_absolute() || part.empty() || part == "." || part == "..")
                return fail(Code::InvalidArgument,
                            cat("config drive file '", name, "' leaves the drive"));
            if (folder != tree)
                NOVALET_TRY(make_folder(folder));
            folder /= part;
        }
        NOVALET_ASSIGN(const auto file, make_file(folder));
        NOVALET_TRY(write_all(file, content, folder));
    }
    return {};
}

Result<void> run(ProcessRunner& processes, std::vector<std::string> argv) {
    ProcessRequest request;
    request.argv = std::move(argv);
    request.timeout = patience;
    NOVALET_TRY(processes.check(request));
    return {};
}

Result<void> fill_vfat(ProcessRunner& processes, const Workplace& place, const Fd& image) {
    if (ftruncate(image.get(), vfat_bytes) != 0)
        return file_failure("size of " + place.image().string());
    NOVALET_TRY(run(processes, {"mkfs.vfat", "-n", label, place.image().string()}));
    std::vector<std::string> argv{"mcopy", "-s", "-i", place.image().string()};
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(place.tree(), error))
        argv.push_back(entry.path().string());
    if (error)
        return fail(Code::Unavailable,
                    cat("list of ", place.tree().string(), ": ", error.message()));
    argv.emplace_back("::");
    return run(processes, std::move(argv));
}

Result<void>
fill_iso(ProcessRunner& processes, const Workplace& place, const std::string& publisher) {
    return run(processes,
               {"genisoimage",
                "-o",
                place.image().string(),
                "-ldots",
                "-allow-lowercase",
                "-allow-multidot",
                "-l",
                "-publisher",
                publisher,
                "-quiet",
                "-J",
                "-r", // in the guest all may read it, as on a config drive of nova-compute
                "-V",
                label,
                place.tree().string()});
}

} // namespace

Result<void> make_config_drive(ProcessRunner& processes,
                               const ConfigDrive& drive,
                               const std::string& publisher,
                               const fs::path& image) {
    const Workplace place(image);
    NOVALET_TRY(write_tree(place.tree(), drive));
    NOVALET_ASSIGN(const auto file, make_file(place.image())); // its mode stays
    NOVALET_TRY(drive.vfat ? fill_vfat(processes, place, file)
                           : fill_iso(processes, place, publisher));
    return keep_file(place.image(), image);
}

} // namespace novalet::hypervisor::storage
