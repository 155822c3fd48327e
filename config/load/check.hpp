#pragma once
// What single options cannot show: missing ones and such that contradict each other. Pure.
#include "config/schema/config.hpp"

#include <string>
#include <vector>

namespace novalet::config {

struct Finding {
    std::string path; ///< the option where the operator should look first
    std::string text;
};

struct Findings {
    std::vector<Finding> errors;
    std::vector<Finding> warnings;
};

/// `written` is what the operator gave, `config` the same after `complete`.
[[nodiscard]] Findings check(const Config& written, const Config& config);

} // namespace novalet::config
