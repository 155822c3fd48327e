#pragma once
// One option's value from a document's node into a Config.
#include "config/load/yaml.hpp"
#include "config/schema/option.hpp"

#include <string>
#include <vector>

namespace novalet::config {

/// The value of `node` is put into `config`; Null means "as by default". What is wrong goes to
/// `problems` (the values of secrets are not shown) and leaves the config unchanged.
void set_value(const Option& option,
               const YamlNode& node,
               Config& config,
               std::vector<Problem>& problems);

} // namespace novalet::config
