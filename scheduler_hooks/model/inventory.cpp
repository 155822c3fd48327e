#include "scheduler_hooks/model/inventory.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/model/primitive.hpp"

namespace novalet::scheduler_hooks::model {

Json to_json(const Inventories& inventories) {
    Json out = Json::object();
    for (const auto& [resource_class, inventory] : inventories) {
        Json one = Json::object();
        one.set("total", inventory.total);
        one.set("reserved", inventory.reserved);
        one.set("min_unit", inventory.min_unit);
        one.set("max_unit", inventory.max_unit);
        one.set("step_size", inventory.step_size);
        one.set("allocation_ratio", inventory.allocation_ratio);
        out.set(resource_class, std::move(one));
    }
    return out;
}

Result<Inventories> inventories_from_json(const Json& document) {
    if (!document.is_object())
        return fail(Code::InvalidArgument, "inventories: an object expected");
    Inventories inventories;
    for (const auto& [resource_class, one] : document.members()) {
        Inventory& inventory = inventories[resource_class];
        const std::string place = cat("inventory ", resource_class);
        NOVALET_ASSIGN(inventory.total, required_int(one, "total", place));
        NOVALET_ASSIGN(inventory.reserved, int_member(one, "reserved", 0, place));
        NOVALET_ASSIGN(inventory.min_unit, int_member(one, "min_unit", 1, place));
        NOVALET_ASSIGN(inventory.max_unit, int_member(one, "max_unit", inventory.total, place));
        NOVALET_ASSIGN(inventory.step_size, int_member(one, "step_size", 1, place));
        NOVALET_ASSIGN(inventory.allocation_ratio,
                       double_member(one, "allocation_ratio", 1.0, place));
    }
    return inventories;
}

Json traits_to_json(const Traits& traits) {
    Json list = Json::array();
    for (const std::string& trait : traits)
        list.push_back(trait);
    return list;
}

Result<Traits> traits_from_json(const Json& document) {
    if (!document.is_array())
        return fail(Code::InvalidArgument, "traits: a list expected");
    Traits traits;
    for (const Json& trait : document.items()) {
        if (!trait.is_string())
            return fail(Code::InvalidArgument, cat("traits: text expected, found ", trait.dump()));
        traits.insert(trait.as_string());
    }
    return traits;
}

} // namespace novalet::scheduler_hooks::model
