#include "hypervisor/storage/storage_users.hpp"

#include "agent/core/file.hpp"
#include "agent/core/json.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/storage/file_lock.hpp"

namespace novalet::hypervisor::storage {
namespace {

constexpr double recent_seconds = 24 * 3600;
constexpr Seconds patience{60};

double seconds_of(WallTime time) {
    return std::chrono::duration<double>(time.time_since_epoch()).count();
}

Result<Json> known_users(const std::filesystem::path& file) {
    const auto text = read_file(file);
    if (!text && text.error().code == Code::NotFound)
        return Json::object();
    if (!text)
        return Failure(text.error());
    auto users = Json::parse(*text);
    if (users && users->is_object())
        return users;
    log::warning("the list of this storage's users is damaged and begun anew",
                 {{"file", file.string()}});
    return Json::object();
}

} // namespace

Result<std::vector<std::string>> register_storage_use(const std::filesystem::path& instances_path,
                                                      const std::string& host,
                                                      const std::stop_token& stop,
                                                      const Clock& clock) {
    const auto locks = instances_path / "locks";
    std::error_code error;
    std::filesystem::create_directories(locks, error);
    if (error)
        return fail(Code::Unavailable,
                    cat("folder ", locks.string(), " cannot be made: ", error.message()));
    NOVALET_ASSIGN(
        const auto lock,
        FileLock::take(locks / "nova-storage-registry-lock", stop, Deadline::after(patience)));
    const auto file = instances_path / "compute_nodes";
    NOVALET_ASSIGN(Json users, known_users(file));
    const double now = seconds_of(clock.wall());
    users.set(host, now);
    NOVALET_TRY(write_file_atomically(file, users.dump()));
    std::vector<std::string> recent;
    for (const auto& [name, seen] : users.members())
        if (now - seen.as_double(static_cast<double>(seen.as_int())) < recent_seconds)
            recent.push_back(name);
    return recent;
}

} // namespace novalet::hypervisor::storage
