#include "hypervisor/topology/uptime.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"

#include <array>
#include <ctime>
#include <mutex>
#include <utmpx.h>

namespace novalet::hypervisor::topology {
namespace {

constexpr std::size_t max_bytes = 4096;

std::string two_digits(std::uint64_t value, char fill) {
    const auto text = std::to_string(value);
    return text.size() < 2 ? fill + text : text;
}

std::string span_text(std::uint64_t seconds) {
    const auto minutes = seconds / 60 % 60;
    const auto hours = seconds / 3600 % 24;
    const auto days = seconds / 86400;
    std::string out;
    if (days > 0)
        out = cat(days, days == 1 ? " day, " : " days, ");
    if (hours > 0)
        return out + cat(two_digits(hours, ' '), ':', two_digits(minutes, '0'));
    return out + cat(minutes, " min");
}

} // namespace

Result<std::string>
uptime_text(const std::filesystem::path& root, unsigned users, const Clock& clock) {
    NOVALET_ASSIGN(const auto up_text, read_file(root / "proc/uptime", max_bytes));
    NOVALET_ASSIGN(const auto load_text, read_file(root / "proc/loadavg", max_bytes));
    const auto seconds = to_number<std::uint64_t>(up_text.substr(0, up_text.find('.')));
    const auto loads = split(trim(load_text), ' ');
    if (!seconds || loads.size() < 3)
        return fail(Code::DataLoss,
                    cat("/proc/uptime ('", trim(up_text), "') or /proc/loadavg has another form"));
    const auto now = std::chrono::system_clock::to_time_t(clock.wall());
    std::tm local{};
    localtime_r(&now, &local);
    std::array<char, 16> time{};
    const auto length = std::strftime(time.data(), time.size(), "%H:%M:%S", &local);
    return cat(' ',
               std::string_view(time.data(), length),
               " up ",
               span_text(*seconds),
               ",  ",
               users,
               users == 1 ? " user" : " users",
               ",  load average: ",
               loads[0],
               ", ",
               loads[1],
               ", ",
               loads[2],
               '\n');
}

unsigned logged_in_users() {
    static std::mutex one_reader; // the iteration is the process's
    const std::lock_guard lock(one_reader);
    unsigned users = 0;
    setutxent();
    while (const auto* entry = getutxent())
        if (entry->ut_type == USER_PROCESS)
            ++users;
    endutxent();
    return users;
}

} // namespace novalet::hypervisor::topology
