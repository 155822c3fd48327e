#pragma once
// The rules of the tree as functions over (path, text), so that they can be tried on invented
// files.
#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace novalet::architecture {

struct SourceFile {
    std::string path; ///< below the root: "agent/rpc/server.cpp"
    std::string text;
};

struct Violation {
    std::string path;
    int line = 0;
    std::string text;
    [[nodiscard]] std::string str() const {
        return path + ':' + std::to_string(line) + ": " + text;
    }
};

struct Include {
    int line = 0;
    std::string target;
    bool quoted = false; ///< "…" rather than <…>
};

inline std::string folder_of(std::string_view path) {
    const auto slash = path.rfind('/');
    return std::string(slash == std::string_view::npos ? "" : path.substr(0, slash));
}

inline bool is_below(std::string_view path, std::string_view folder) {
    return path == folder ||
           (path.starts_with(folder) && path.size() > folder.size() && path[folder.size()] == '/');
}

inline std::vector<Include> includes_of(const std::string& text) {
    std::vector<Include> found;
    std::istringstream lines(text);
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
        auto rest = std::string_view(line);
        const auto skip_blanks = [&] {
            while (!rest.empty() && (rest.front() == ' ' || rest.front() == '\t'))
                rest.remove_prefix(1);
        };
        skip_blanks();
        if (!rest.starts_with('#'))
            continue;
        rest.remove_prefix(1);
        skip_blanks();
        constexpr std::string_view word = "include";
        if (!rest.starts_with(word))
            continue;
        rest.remove_prefix(word.size());
        skip_blanks();
        if (rest.empty() || (rest.front() != '"' && rest.front() != '<'))
            continue;
        const bool quoted = rest.front() == '"';
        rest.remove_prefix(1);
        found.push_back(
            {number, std::string(rest.substr(0, rest.find(quoted ? '"' : '>'))), quoted});
    }
    return found;
}

/// Whom each folder may know besides itself and agent/core. `hypervisor` alone stands for the
/// interface headers right in that folder. A folder that is missing here may know nobody.
inline const std::map<std::string, std::set<std::string>>& allowed_folders() {
    using Set = std::set<std::string>;
    static const auto all = [] {
        const Set config{"config/schema"};
        const Set hooks{"scheduler_hooks/model",
                        "scheduler_hooks/numa",
                        "scheduler_hooks/claims",
                        "scheduler_hooks/placement",
                        "scheduler_hooks/affinity"};
        const auto with = [](Set base, const Set& more) {
            base.insert(more.begin(), more.end());
            return base;
        };
        const Set below_hypervisor = with(hooks, config);
        const Set host = with(below_hypervisor, {"hypervisor", "hypervisor/domain"});
        const Set decisions = with(hooks, {"config/schema", "hypervisor"});
        const Set rpc{"agent/amqp"};
        const Set objects{"agent/amqp", "agent/rpc"};
        const Set clients = with(with(objects, decisions), {"agent/objects"});
        const Set tasks = with(
            clients, {"agent/clients", "agent/journal", "agent/telemetry", "hypervisor/domain"});
        // The rooms of agent/tasks. An operation never knows another one: what two of them need
        // stands in a room below.
        const Set task_services = with(tasks,
                                       {"agent/tasks/records",
                                        "agent/tasks/guest",
                                        "agent/tasks/books",
                                        "agent/tasks/peers",
                                        "agent/tasks/engine"});
        const Set operation = with(task_services, {"agent/tasks"});
        const Set operations{"agent/tasks/ops/build",
                             "agent/tasks/ops/console",
                             "agent/tasks/ops/events",
                             "agent/tasks/ops/power",
                             "agent/tasks/ops/terminate"};
        return std::map<std::string, Set>{
            {"agent/core", {}},
            {"config/schema", {}},
            {"config/load", config},
            {"scheduler_hooks/model", config},
            {"scheduler_hooks/numa", with(config, {"scheduler_hooks/model"})},
            {"scheduler_hooks/claims",
             with(config, {"scheduler_hooks/model", "scheduler_hooks/numa"})},
            {"scheduler_hooks/placement", with(config, {"scheduler_hooks/model"})},
            {"scheduler_hooks/affinity", with(config, {"scheduler_hooks/model"})},
            {"hypervisor", below_hypervisor},
            {"hypervisor/domain", with(below_hypervisor, {"hypervisor"})},
            {"hypervisor/topology", host},
            {"hypervisor/storage", host},
            {"hypervisor/network", host},
            {"hypervisor/simulated", host},
            {"hypervisor/libvirt",
             with(host, {"hypervisor/topology", "hypervisor/storage", "hypervisor/network"})},
            {"agent/telemetry", config},
            {"agent/journal", config},
            {"agent/amqp", config},
            {"agent/rpc", with(config, rpc)},
            {"agent/objects", with(config, objects)},
            {"agent/clients", clients},
            {"agent/tasks/records", tasks},
            {"agent/tasks/guest", with(tasks, {"agent/tasks/records"})},
            {"agent/tasks/engine", with(tasks, {"agent/tasks/records"})},
            {"agent/tasks/books", with(tasks, {"agent/tasks/records", "agent/tasks/guest"})},
            {"agent/tasks/peers", with(tasks, {"agent/tasks/records", "agent/tasks/guest"})},
            {"agent/tasks", task_services},
            {"agent/tasks/ops/build", operation},
            {"agent/tasks/ops/console", operation},
            {"agent/tasks/ops/events", operation},
            {"agent/tasks/ops/power", operation},
            {"agent/tasks/ops/terminate", operation},
            {"agent/tasks/catalogue", with(operation, operations)},
            {"agent/tasks/upkeep", with(operation, {"agent/tasks/catalogue"})},
            {"agent/tasks/start", with(operation, {"agent/tasks/catalogue"})},
            {"agent/app",
             with(with(operation, operations),
                  {"agent/tasks/catalogue",
                   "agent/tasks/upkeep",
                   "agent/tasks/start",
                   "config/load",
                   "hypervisor/libvirt",
                   "hypervisor/simulated",
                   "hypervisor/storage",
                   "hypervisor/network",
                   "hypervisor/topology"})},
        };
    }();
    return all;
}

/// Libraries and the only folders or files that include them.
inline const std::map<std::string, std::vector<std::string>>& foreign_homes() {
    static const std::map<std::string, std::vector<std::string>> all{
        {"rabbitmq-c/", {"agent/amqp"}},
        {"amqp", {"agent/amqp"}},
        {"cpprest/", {"agent/clients/http_cpprest.cpp"}},
        {"pplx/", {"agent/clients/http_cpprest.cpp"}},
        {"boost/", {"agent/telemetry", "agent/clients/http_cpprest.cpp"}},
        {"openssl/", {"agent/core/digest.cpp", "agent/clients/http_cpprest.cpp", "agent/amqp"}},
        {"libvirt/", {"hypervisor/libvirt"}},
        {"pugixml.hpp", {"hypervisor/domain"}},
        {"yaml-cpp/", {"config/load/yaml.cpp"}},
        {"sqlite3.h", {"agent/journal"}},
        {"rapidjson/", {"agent/core/json.cpp"}},
        {"tl/", {"agent/core/result.hpp"}}};
    return all;
}

inline bool is_system_header(std::string_view target) {
    for (const std::string_view folder : {"sys/", "net/", "netinet/", "arpa/", "linux/"})
        if (target.starts_with(folder))
            return true;
    static const std::set<std::string_view> posix{
        "dirent.h",  "dlfcn.h",  "endian.h",  "fcntl.h",   "fnmatch.h", "grp.h",   "ifaddrs.h",
        "malloc.h",  "netdb.h",  "poll.h",    "pthread.h", "pwd.h",     "sched.h", "spawn.h",
        "strings.h", "syslog.h", "termios.h", "unistd.h",  "utime.h",   "utmpx.h"};
    return posix.count(target) != 0 || target.find_first_of("./") == std::string_view::npos;
}

/// What a pure decision must not even be able to do.
inline bool does_io(const Include& include) {
    static const std::set<std::string_view> own{"agent/core/clock.hpp",
                                                "agent/core/file.hpp",
                                                "agent/core/log.hpp",
                                                "agent/core/metrics.hpp",
                                                "agent/core/process.hpp",
                                                "agent/core/timer.hpp"};
    static const std::set<std::string_view> standard{"chrono",
                                                     "condition_variable",
                                                     "cstdio",
                                                     "ctime",
                                                     "filesystem",
                                                     "fstream",
                                                     "future",
                                                     "iostream",
                                                     "mutex",
                                                     "random",
                                                     "shared_mutex",
                                                     "thread"};
    if (include.quoted)
        return own.count(include.target) != 0;
    return standard.count(include.target) != 0 || include.target.ends_with(".h");
}

inline void
check_own_include(const SourceFile& file, const Include& include, std::vector<Violation>& out) {
    const auto from = folder_of(file.path);
    const auto to = folder_of(include.target);
    if (to.empty()) {
        out.push_back(
            {file.path, include.line, "\"" + include.target + "\" is not a path from the root"});
        return;
    }
    if (to == from || to == "agent/core")
        return;
    const auto found = allowed_folders().find(from);
    if (found == allowed_folders().end())
        out.push_back(
            {file.path, include.line, "folder " + from + " has no rule in source_rules.hpp"});
    else if (found->second.count(to) == 0)
        out.push_back({file.path, include.line, from + " must not know " + to});
}

inline void
check_foreign_include(const SourceFile& file, const Include& include, std::vector<Violation>& out) {
    for (const auto& [prefix, homes] : foreign_homes()) {
        if (!include.target.starts_with(prefix))
            continue;
        const bool at_home = std::any_of(homes.begin(), homes.end(), [&](const auto& home) {
            return is_below(file.path, home);
        });
        if (!at_home)
            out.push_back(
                {file.path, include.line, "<" + include.target + "> belongs to " + homes.front()});
        else if (file.path.ends_with(".hpp") &&
                 std::find(homes.begin(), homes.end(), file.path) == homes.end())
            out.push_back(
                {file.path,
                 include.line,
                 "<" + include.target + "> must not be seen by those who include this header"});
        return;
    }
    if (!is_system_header(include.target))
        out.push_back(
            {file.path,
             include.line,
             "<" + include.target + "> is of a library without a folder in source_rules.hpp"});
}

inline std::vector<Violation> check_includes(const SourceFile& file) {
    std::vector<Violation> out;
    for (const auto& include : includes_of(file.text)) {
        if (include.quoted)
            check_own_include(file, include, out);
        else
            check_foreign_include(file, include, out);
        if (is_below(file.path, "scheduler_hooks") && does_io(include))
            out.push_back({file.path,
                           include.line,
                           include.target + " has I/O, clock or threads: decisions are pure"});
    }
    return out;
}

/// Words that must not stand in the code (comments are not looked at).
inline std::vector<Violation> check_words(const SourceFile& file) {
    struct Rule {
        std::string_view word;
        std::string_view only_in;
        std::string_view reason;
    };
    static const std::vector<Rule> rules{
        {"using namespace", "", "names stay where they belong"},
        {"_clock::now(", "agent/core/clock.cpp", "time comes from Clock"},
        {".detach()", "", "threads are joined"},
        {"std::async", "", "no hidden threads"},
        {"std::system(", "", "no shell"},
        {"popen(", "", "no shell"},
        {"sleep_for(", "", "waits have a deadline and end when asked to"},
    };
    std::vector<Violation> out;
    std::istringstream lines(file.text);
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
        const auto code = std::string_view(line).substr(0, line.find("//"));
        for (const auto& rule : rules)
            if (code.find(rule.word) != std::string_view::npos && file.path != rule.only_in)
                out.push_back({file.path,
                               number,
                               "'" + std::string(rule.word) + "': " + std::string(rule.reason)});
    }
    return out;
}

inline std::vector<Violation> check_name(const SourceFile& file) {
    std::vector<Violation> out;
    const auto name = file.path.substr(file.path.rfind('/') + 1);
    const auto stem = name.substr(0, name.rfind('.'));
    const bool snake = std::all_of(stem.begin(), stem.end(), [](unsigned char c) {
        return std::islower(c) != 0 || std::isdigit(c) != 0 || c == '_';
    });
    if (!snake)
        out.push_back({file.path, 0, "file names are snake_case"});
    for (const char* word : {"utils", "util", "common", "helpers", "helper", "manager", "misc"})
        if (stem == word || stem.starts_with(std::string(word) + '_') ||
            stem.ends_with('_' + std::string(word)))
            out.push_back(
                {file.path, 0, "'" + std::string(word) + "' says nothing of what is inside"});
    if (name.ends_with(".hpp") && file.text.find("#pragma once") == std::string::npos)
        out.push_back({file.path, 1, "a header begins with #pragma once"});
    return out;
}

} // namespace novalet::architecture
