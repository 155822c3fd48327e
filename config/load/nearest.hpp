#pragma once
// "Did you mean …?"
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace novalet::config {

/// Insertions, removals, replacements and swaps of neighbours that turn `a` into `b`.
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

/// Path of the option or section that was probably meant by the unknown key at `path`; empty when
/// nothing is near. A key in the wrong section is found by its name.
[[nodiscard]] std::string nearest_option(std::string_view path);

/// Nearest of some words; empty when nothing is near.
[[nodiscard]] std::string nearest_word(std::string_view word,
                                       const std::vector<std::string>& words);

} // namespace novalet::config
