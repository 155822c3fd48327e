#pragma once
// The dry run behind `novalet explain`: one JSON document in, one out. Pure, any thread.
#include "agent/core/json.hpp"

#include <string>
#include <string_view>

namespace novalet::scheduler_hooks::numa {

/// In: {"host_topology": NUMATopology document (object or its text) or null, "flavor": {"vcpus",
/// "memory_mb", "extra_specs"}, "image": {"properties"}, "limits": object or null, "pci": list of
/// requests, or {"requests", "pools"}, or null, "options": {"packing": bool, "pci_pools": list,
/// "avoid_pci_cells": bool, "largest": bool, "kernel_pages": [{"cell", "size_kb", "free"}]}}.
/// Out: {"fits", "topology", "usage", "error": {"class", "message"} or null, "reasons": [text]}
/// and, with option largest on a refusal, "largest": {"vcpus", "memory_mb"} or null: the largest
/// guest of that shape (same ratio of memory to vCPUs, same cells) that would fit. A malformed
/// document gives fits false and an error of class "InvalidInput".
[[nodiscard]] Json explain(const Json& document);
/// The same from and to one line of text (without line end), for `explain --batch`. Never throws:
/// a broken invariant is answered with an error of class "InternalError".
[[nodiscard]] std::string explain_line(std::string_view line);

} // namespace novalet::scheduler_hooks::numa
