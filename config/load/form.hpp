#pragma once
// Texts that have to look like something. Pure functions.
#include "agent/core/result.hpp"
#include "config/schema/option.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace novalet::config {

/// Ok, or what is wrong with the text (InvalidArgument; without the text itself, which may be a
/// secret).
[[nodiscard]] Result<void> check_form(Form form, const std::string& text);

/// CPUs of "0-3,^2" in ascending order (reference 08 §1.1: exclusions apply after all inclusions).
[[nodiscard]] Result<std::vector<unsigned>> cpu_list(std::string_view text);

/// "2 GiB" in MiB → 2048; a plain number is in `unit` already. The number is whole, and so is the
/// result.
[[nodiscard]] Result<std::uint64_t> amount(std::string_view text, Unit unit);

} // namespace novalet::config
