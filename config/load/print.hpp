#pragma once
// Configurations as text.
#include "config/schema/config.hpp"

#include <string>

namespace novalet::config {

/// The configuration in force as YAML, secrets masked: what `--print-config` shows.
[[nodiscard]] std::string print(const Config& config);

/// The commented sample: every option with its help and, commented out, its default. What has no
/// default stands there as an example. config/samples/novalet.yaml is this text.
[[nodiscard]] std::string sample();

} // namespace novalet::config
