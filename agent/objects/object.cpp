#include "agent/objects/object.hpp"

#include "agent/core/text.hpp"

#include <stdexcept>

namespace novalet::objects {

Object::Object(std::string name, std::string version)
    : name_(std::move(name)), version_(std::move(version)) {}

Object Object::from_primitive(const Json& primitive) {
    Object object(primitive["nova_object.name"].as_string(),
                  primitive["nova_object.version"].as_string());
    if (primitive["nova_object.data"].is_object())
        object.data_ = primitive["nova_object.data"];
    for (const auto& field : primitive["nova_object.changes"].items())
        object.changes_.insert(field.as_string());
    return object;
}

Result<Object> Object::parse(const Json& primitive, std::string_view name) {
    const auto& found = primitive["nova_object.name"].as_string();
    if (found.empty() || !primitive["nova_object.data"].is_object())
        return fail(Code::InvalidArgument,
                    cat("expected a versioned object",
                        name.empty() ? "" : " of class ",
                        name,
                        ", got ",
                        primitive.dump().substr(0, 80)));
    if (primitive["nova_object.namespace"].as_string("nova") != "nova")
        return fail(Code::InvalidArgument,
                    cat("object ",
                        found,
                        " is of namespace '",
                        primitive["nova_object.namespace"].as_string(),
                        "', expected 'nova'"));
    if (!name.empty() && found != name)
        return fail(Code::InvalidArgument,
                    cat("expected an object of class ", name, ", got ", found));
    return from_primitive(primitive);
}

Json Object::to_primitive() const {
    Json primitive = Json::object();
    primitive.set("nova_object.name", name_);
    primitive.set("nova_object.namespace", "nova");
    primitive.set("nova_object.version", version_);
    primitive.set("nova_object.data", data_);
    if (!changes_.empty()) {
        Json list = Json::array();
        for (const auto& field : changes_)
            list.push_back(field);
        primitive.set("nova_object.changes", std::move(list));
    }
    return primitive;
}

void Object::set(std::string_view field, Json value) {
    data_.set(field, std::move(value));
    changes_.emplace(field);
}

void Object::set_unchanged(std::string_view field, Json value) {
    data_.set(field, std::move(value));
}

void Object::require_dict(std::string_view field, std::string_view key) const {
    if (!data_[field].is_object())
        throw std::logic_error(cat(
            "item '", key, "' of ", name_, '.', field, " set although the field was not loaded"));
}

void Object::set_item(std::string_view field, std::string_view key, Json value) {
    require_dict(field, key);
    if (data_[field][key] == value && data_[field].contains(key))
        return;
    data_.member(field).set(key, std::move(value));
    changes_.emplace(field);
}

void Object::erase_item(std::string_view field, std::string_view key) {
    require_dict(field, key);
    if (!data_[field].contains(key))
        return;
    data_.member(field).erase(key);
    changes_.emplace(field);
}

void Object::apply_updates(const Json& updates) {
    changes_.clear();
    for (const auto& [field, value] : updates.members()) {
        if (field == "obj_what_changed") {
            for (const auto& changed : value.items())
                changes_.insert(changed.as_string());
            continue;
        }
        data_.set(field, value);
    }
}

} // namespace novalet::objects
