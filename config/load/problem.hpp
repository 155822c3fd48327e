#pragma once
// What is wrong with a configuration, and where.
#include <string>
#include <vector>

namespace novalet::config {

/// A place in a file, an environment variable, or nowhere (line 0) for what was not written at all.
struct Place {
    std::string source; ///< path of the file, or "environment NOVALET__…"
    int line = 0;       ///< from 1
    int column = 0;     ///< from 1

    /// "file:12:3", "environment NOVALET__VNC__ENABLED".
    [[nodiscard]] std::string str() const;
};

struct Problem {
    Place place;
    std::string text; ///< names key and value, what was expected and what to do
    [[nodiscard]] std::string str() const;
};

/// One line each.
[[nodiscard]] std::string report(const std::vector<Problem>& problems);

} // namespace novalet::config
