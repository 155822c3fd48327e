#include "agent/objects/server_group.hpp"

#include "agent/core/text.hpp"

namespace novalet::objects {

std::int64_t ServerGroupView::max_server_per_host() const {
    // Rules are texts; the field is `_rules` on the wire, `rules` in the API.
    const auto& rule = (*fields_)["_rules"]["max_server_per_host"];
    if (rule.is_number())
        return rule.as_int();
    return to_number<std::int64_t>(rule.as_string()).value_or(1);
}

} // namespace novalet::objects
