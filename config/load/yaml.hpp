#pragma once
// A YAML document as a plain tree with places. The parser is yaml-cpp (yaml.cpp only).
#include "config/load/problem.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace novalet::config {

struct YamlNode {
    enum class Kind { Null, Scalar, List, Map };
    Kind kind = Kind::Null;
    std::string text; ///< of a scalar
    Place place;
    std::vector<YamlNode> items;                          ///< of a list
    std::vector<std::pair<YamlNode, YamlNode>> members{}; ///< of a map, in the order of the file
};

/// Longer text is refused unread; deeper nesting is an error.
inline constexpr std::size_t max_yaml_bytes = 1U << 20U;
inline constexpr std::size_t max_yaml_depth = 16;
/// Aliases may repeat parts of a document; beyond so many nodes it is refused.
inline constexpr std::size_t max_yaml_nodes = 20000;

/// The only document of the text; an empty text is Null. Duplicate keys stay in `members`. What is
/// wrong goes to `problems`, with the tree Null.
[[nodiscard]] YamlNode
parse_yaml(std::string_view text, const std::string& source, std::vector<Problem>& problems);

} // namespace novalet::config
