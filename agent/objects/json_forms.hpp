#pragma once
// Argument lists of the conductor's verbs.
#include "agent/core/json.hpp"

#include <string>
#include <utility>
#include <vector>

namespace novalet::objects {

[[nodiscard]] inline Json text_list(const std::vector<std::string>& texts) {
    Json::Array list;
    list.reserve(texts.size());
    for (const auto& text : texts)
        list.emplace_back(text);
    return list;
}

/// {name: value}
[[nodiscard]] inline Json keyword(std::string_view name, Json value) {
    Json kwargs = Json::object();
    kwargs.set(name, std::move(value));
    return kwargs;
}

} // namespace novalet::objects
