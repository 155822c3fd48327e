#pragma once
// The text of hw:mem_page_size and of sizes in reserved_huge_pages (reference 08 §1.3).
#include "agent/core/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace novalet::scheduler_hooks::model {

/// KiB, or page_size_small/large/any (guest_topology.hpp), or 0 for the text "0" (no request).
/// Exception MemoryPageSizeInvalid otherwise; stricter than Nova only for sizes below 1 KiB and
/// negative ones, which Nova takes for something else.
[[nodiscard]] Result<std::int64_t> parse_page_size(std::string_view text);
/// "4 KiB", "2 MiB", "1 GiB", for people.
[[nodiscard]] std::string page_size_text(std::int64_t size_kib);

} // namespace novalet::scheduler_hooks::model
