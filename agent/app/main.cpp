// novalet: command line and life of the process.
#include "agent/app/agent.hpp"
#include "agent/app/explain.hpp"
#include "agent/app/host_state.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "config/load/load.hpp"
#include "config/load/print.hpp"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <malloc.h>
#include <optional>
#include <pthread.h>
#include <thread>
#include <unistd.h>

namespace {

constexpr const char* default_file = "/etc/novalet/novalet.yaml";
constexpr const char* help =
    "novalet: compute node agent for OpenStack Nova on KVM hosts\n"
    "\n"
    "  novalet [--config FILE]                  run (default "
    "/etc/novalet/novalet.yaml"
    ")\n"
    "  novalet --check-config [--config FILE]   say what is wrong in the configuration\n"
    "  novalet --print-config [--config FILE]   configuration in force, secrets masked\n"
    "  novalet explain --flavor … --image …     would a guest fit here now, where, why not\n"
    "  novalet explain --batch                  fit guests: one JSON document a line on stdin\n"
    "  novalet --version | --help\n"
    "\n"
    "Drop-ins in FILE.d/*.yaml and variables NOVALET__SECTION__KEY override FILE.\n";

enum class Mode { Run, Check, Print, Version, Help };

struct CommandLine {
    Mode mode = Mode::Run;
    std::string file = default_file;
};

/// Nothing for a word that is not known; it has been told then.
std::optional<CommandLine> parse(int count, char** words) {
    CommandLine out;
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        if (word == "--config" && i + 1 < count) {
            out.file = words[++i];
        } else if (word.starts_with("--config=")) {
            out.file = word.substr(9);
        } else if (word == "--check-config") {
            out.mode = Mode::Check;
        } else if (word == "--print-config") {
            out.mode = Mode::Print;
        } else if (word == "--version") {
            out.mode = Mode::Version;
        } else if (word == "--help" || word == "-h") {
            out.mode = Mode::Help;
        } else {
            std::cerr << "novalet: '" << word << "' is not known; see novalet --help\n";
            return std::nullopt;
        }
    }
    return out;
}

/// SIGHUP: the log file is opened again, and what the sample calls "taken over on SIGHUP" is taken
/// over. A configuration with mistakes changes nothing and says what is wrong.
void reload(const std::string& file) {
    novalet::log::reopen();
    const auto loaded = novalet::config::load(
        file, novalet::config::process_environment(), novalet::config::host_identity());
    const auto report = novalet::config::check_report(loaded);
    if (!report.ok) {
        novalet::log::error("the configuration has mistakes; nothing of it is taken over",
                            {{"report", report.text}});
        return;
    }
    novalet::log::set_level(loaded.config.log.level);
    novalet::log::info("log file and log.level are taken over");
}

int run(const novalet::config::Config& config, const std::string& file) {
    // Few threads work at a time: an arena for each would only hold memory that nobody uses.
    mallopt(M_ARENA_MAX, 2);
    // Blocked before any thread exists, so that only sigwait below sees them.
    sigset_t signals;
    sigemptyset(&signals);
    for (const int number : {SIGTERM, SIGINT, SIGHUP})
        sigaddset(&signals, number);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    if (!novalet::log::configure(config.log.level, config.log.path)) {
        std::cerr << "novalet: log.path '" << config.log.path << "' cannot be opened\n";
        return 1;
    }
    novalet::log::info("novalet starts", {{"version", NOVALET_VERSION}, {"host", config.host}});
    novalet::app::Agent agent(config);
    std::atomic<bool> failed{false};
    std::jthread starter([&](const std::stop_token& stop) {
        if (const auto started = agent.start(stop); !started && !stop.stop_requested()) {
            novalet::log::error("novalet cannot start", {{"error", started.error().text}});
            failed = true;
            kill(getpid(), SIGTERM);
        }
    });
    for (;;) {
        int number = 0;
        sigwait(&signals, &number);
        if (number != SIGHUP)
            break;
        reload(file);
    }
    starter.request_stop();
    starter.join();
    const int code = failed ? 1 : 0;
    if (!agent.stop())
        std::_Exit(code); // running work must not be unwound: the journal has it
    return code;
}

/// What configuration gives to guests against what there is; findings are told.
bool matches_host(const novalet::config::Config& config) {
    const auto found = novalet::app::check_configured_host(config);
    if (!found) {
        std::cerr << "error: " << found.error().text << '\n';
        return false;
    }
    std::cerr << novalet::app::text_of(*found);
    return found->errors.empty();
}

} // namespace

int main(int count, char** words) {
    if (count > 1 && std::string(words[1]) == "explain") {
        std::ios::sync_with_stdio(false);
        return novalet::app::explain_command(
            {words + 2, words + count}, std::cin, std::cout, std::cerr);
    }
    const auto line = parse(count, words);
    if (!line)
        return 2;
    switch (line->mode) {
    case Mode::Help:
        std::cout << help;
        return 0;
    case Mode::Version:
        std::cout << "novalet " NOVALET_VERSION "\n";
        return 0;
    case Mode::Run:
    case Mode::Check:
    case Mode::Print:
        break;
    }
    const auto loaded = novalet::config::load(
        line->file, novalet::config::process_environment(), novalet::config::host_identity());
    const auto report = novalet::config::check_report(loaded);
    if (line->mode == Mode::Check || !report.ok)
        (report.ok ? std::cout : std::cerr) << report.text;
    if (!report.ok)
        return 1;
    if (line->mode == Mode::Print) {
        std::cout << novalet::config::print(loaded.config);
        return 0;
    }
    const bool good = matches_host(loaded.config);
    if (line->mode == Mode::Check || !good)
        return good ? 0 : 1;
    return run(loaded.config, line->file);
}
