#pragma once
// From files and environment to a Config. Nothing is half loaded: either there are no problems and
// the config is complete, or all problems are told at once.
#include "config/load/complete.hpp"
#include "config/load/problem.hpp"
#include "config/schema/config.hpp"

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace novalet::config {

/// Variables NOVALET__SECTION__KEY=value; others are not looked at.
using Environment = std::map<std::string, std::string>;

/// Those of this process.
[[nodiscard]] Environment process_environment();

struct Loaded {
    Config config;                            ///< complete; of use only when ok()
    std::vector<std::filesystem::path> files; ///< that were read, in this order
    std::vector<Problem> problems;
    std::vector<Problem> warnings;

    [[nodiscard]] bool ok() const noexcept { return problems.empty(); }
};

/// Precedence, the strongest first: environment, drop-ins (`<file>.d/*.yaml`, the last by name
/// first), `file`, defaults. Lists and maps are replaced as a whole. A secret may come from a file:
/// `password_file: /path` (one trailing newline is dropped).
[[nodiscard]] Loaded load(const std::filesystem::path& file,
                          const Environment& environment,
                          const HostIdentity& identity);

/// The same from texts: (source, YAML) in the order of precedence, weakest first.
[[nodiscard]] Loaded load_texts(const std::vector<std::pair<std::string, std::string>>& texts,
                                const Environment& environment,
                                const HostIdentity& identity);

/// What `--check-config` says: problems and warnings a line each, then a verdict. `ok` tells the
/// exit code.
struct CheckReport {
    bool ok = false;
    std::string text;
};
[[nodiscard]] CheckReport check_report(const Loaded& loaded);

} // namespace novalet::config
