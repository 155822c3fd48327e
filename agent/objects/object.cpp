#include "agent/objects/object.hpp"

#include "agent/core/text.hpp"

#include <stdexcept>

namespace novalet::objects {
namespace {

constexpr std::string_view name_key = "nova_object.name";
constexpr std::string_view namespace_key = "nova_object.namespace";
constexpr std::string_view version_key = "nova_object.version";
constexpr std::string_view data_key = "nova_object.data";
constexpr std::string_view changes_key = "nova_object.changes";
const Json null_value;

/// Does this value, a nested primitive, report changes? A list reports those of its elements.
bool reports_changes(const Json& value) {
    if (!value.contains(name_key))
        return false;
    if (!value[changes_key].empty())
        return true;
    for (const auto& [field, inner] : value[data_key].members()) {
        if (reports_changes(inner))
            return true;
        if (field == "objects")
            for (const auto& element : inner.items())
                if (reports_changes(element))
                    return true;
    }
    return false;
}

void forget_changes(Json& value) {
    if (value.is_array()) {
        for (auto& element : value.elements())
            forget_changes(element);
        return;
    }
    if (!value.contains(name_key))
        return;
    value.erase(changes_key);
    auto& data = value.member(data_key);
    for (const auto& [field, inner] : data.members())
        if (inner.is_object() || inner.is_array())
            forget_changes(data.member(field));
}

/// Dicts of which the conductor takes a received one as the new whole (reference 02 §1.2).
bool is_whole_dict(const std::string& object, std::string_view field) {
    return object == "Instance" && (field == "metadata" || field == "system_metadata");
}

std::string kind_of(const Json& value) {
    if (value.is_null())
        return "null";
    if (value.is_object())
        return "an object without nova_object.name or nova_object.data";
    if (value.is_array())
        return "a list";
    return value.is_string() ? "a text" : "a number or truth value";
}

} // namespace

const Json& data_of(const Json& primitive) noexcept {
    return primitive.is_object() ? primitive[data_key] : null_value;
}

Object::Object(std::string name, std::string version)
    : name_(std::move(name)), version_(std::move(version)) {}

Object Object::from_primitive(Json primitive) {
    Object object(primitive[name_key].as_string(), primitive[version_key].as_string());
    for (const auto& field : primitive[changes_key].items())
        object.changes_.insert(field.as_string());
    if (primitive[data_key].is_object())
        object.data_ = std::move(primitive.member(data_key));
    return object;
}

Result<Object> Object::parse(Json primitive, std::string_view name) {
    const auto& found = primitive[name_key].as_string();
    if (found.empty() || !primitive[data_key].is_object())
        return fail(Code::InvalidArgument,
                    cat("expected a versioned object",
                        name.empty() ? "" : " of class ",
                        name,
                        ", got ",
                        kind_of(primitive)));
    if (primitive[namespace_key].as_string("nova") != "nova")
        return fail(Code::InvalidArgument,
                    cat("object ",
                        found,
                        " is of namespace '",
                        primitive[namespace_key].as_string(),
                        "', expected 'nova'"));
    if (!name.empty() && found != name)
        return fail(Code::InvalidArgument,
                    cat("expected an object of class ", name, ", got ", found));
    return from_primitive(std::move(primitive));
}

Object::Fields Object::all_changes() const {
    Fields all = changes_;
    for (const auto& [field, value] : data_.members())
        if (value.is_object() && reports_changes(value))
            all.insert(field);
    return all;
}

namespace {

Json assemble(const std::string& name,
              const std::string& version,
              const Object::Fields& changes,
              Json data) {
    Json primitive = Json::object();
    primitive.set(name_key, name);
    primitive.set(namespace_key, "nova");
    primitive.set(version_key, version);
    primitive.set(data_key, std::move(data));
    if (!changes.empty()) {
        Json list = Json::array();
        for (const auto& field : changes)
            list.push_back(field);
        primitive.set(changes_key, std::move(list));
    }
    return primitive;
}

} // namespace

Json Object::to_primitive() const& {
    return assemble(name_, version_, all_changes(), data_);
}

Json Object::to_primitive() && {
    const auto changes = all_changes();
    return assemble(name_, version_, changes, std::move(data_));
}

void Object::set(std::string_view field, Json value) {
    if (is_whole_dict(name_, field) && !data_.contains(field))
        throw std::logic_error(cat(
            name_, '.', field, " assigned although it was not loaded; unknown keys would be lost"));
    data_.set(field, std::move(value));
    changes_.emplace(field);
}

void Object::set_unchanged(std::string_view field, Json value) {
    data_.set(field, std::move(value));
}

void Object::unset(std::string_view field) {
    data_.erase(field);
    if (const auto found = changes_.find(field); found != changes_.end())
        changes_.erase(found);
}

void Object::require_dict(std::string_view field, std::string_view key) const {
    if (!data_[field].is_object())
        throw std::logic_error(cat(
            "item '", key, "' of ", name_, '.', field, " set although the field was not loaded"));
}

void Object::set_item(std::string_view field, std::string_view key, Json value) {
    require_dict(field, key);
    const auto& dict = data_[field];
    if (dict.contains(key) && dict[key] == value)
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

void Object::clear_changes() {
    changes_.clear();
    for (const auto& [field, value] : data_.members())
        if (value.is_object() || value.is_array())
            forget_changes(data_.member(field));
}

void Object::apply_updates(Json updates) {
    clear_changes();
    for (const auto& [field, value] : updates.members()) {
        if (field == "obj_what_changed") {
            for (const auto& changed : value.items())
                changes_.insert(changed.as_string());
            continue;
        }
        data_.set(field, std::move(updates.member(field)));
    }
}

} // namespace novalet::objects
