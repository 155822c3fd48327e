#pragma once
// Reading and writing the envelope of versioned objects (reference 02 §1) for the types of this
// folder. Errors name the place: "cell 0: memory: …".
#include "agent/core/json.hpp"
#include "scheduler_hooks/model/cpu_set.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace novalet::scheduler_hooks::model {

/// {nova_object.name, .namespace, .version, .data, .changes = every member of data}.
[[nodiscard]] Json envelope(const char* name, const char* version, Json data);
/// The data of a primitive, which must be of class `name`; a plain object is its own data.
[[nodiscard]] Result<const Json*> data_of(const Json& document, std::string_view name);

/// Integer member: `fallback` when unset or null; an error for other types.
[[nodiscard]] Result<std::int64_t>
int_member(const Json& data, const char* key, std::int64_t fallback, const std::string& place);
[[nodiscard]] Result<std::int64_t>
required_int(const Json& data, const char* key, const std::string& place);
/// A number, or text of one (flavors and limits come in both forms).
[[nodiscard]] Result<double>
double_member(const Json& data, const char* key, double fallback, const std::string& place);
/// Text member; empty when unset or null.
[[nodiscard]] Result<std::optional<std::string>>
text_member(const Json& data, const char* key, const std::string& place);

[[nodiscard]] Json to_json(const CpuSet& cpus);
/// List of CPU numbers in any order; unset or null: empty set.
[[nodiscard]] Result<CpuSet> cpu_set_from_json(const Json& list, const std::string& place);

} // namespace novalet::scheduler_hooks::model
