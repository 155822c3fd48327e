#pragma once
// A versioned object as a document: name, version, fields and the set of changed fields
// (reference 02 §1). What arrives is kept as it is, unknown fields and version included, so that
// what goes back is what the conductor itself produced.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

#include <set>
#include <string>
#include <string_view>

namespace novalet::objects {

/// Value type; not thread safe.
class Object {
  public:
    Object() = default;
    /// An object that we create: nothing set, nothing changed.
    Object(std::string name, std::string version);

    /// From the wire form. Anything that is no primitive gives an object without a name
    /// (see valid()); use `parse` for input that nobody has checked.
    [[nodiscard]] static Object from_primitive(const Json& primitive);
    /// InvalidArgument when it is no primitive of class `name` (empty = any) of namespace nova.
    [[nodiscard]] static Result<Object> parse(const Json& primitive, std::string_view name = {});
    /// Wire form; `nova_object.changes` is left out when empty.
    [[nodiscard]] Json to_primitive() const;

    [[nodiscard]] bool valid() const noexcept { return !name_.empty(); }
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const std::string& version() const noexcept { return version_; }
    [[nodiscard]] const Json& data() const noexcept { return data_; }

    /// Unset is not null: an unset field was not loaded.
    [[nodiscard]] bool is_set(std::string_view field) const { return data_.contains(field); }
    /// The field's value; null when unset.
    [[nodiscard]] const Json& get(std::string_view field) const { return data_[field]; }
    /// Text of a string field; empty when unset or null.
    [[nodiscard]] const std::string& text(std::string_view field) const {
        return data_[field].as_string();
    }
    /// Assignment, noted as a change (also when the value is the same, as Nova does it).
    void set(std::string_view field, Json value);
    /// Without noting a change.
    void set_unchanged(std::string_view field, Json value);

    /// One item of a dict field (metadata, system_metadata). The whole dict is sent when changed,
    /// so a dict that was not loaded must not be touched: then this throws std::logic_error.
    void set_item(std::string_view field, std::string_view key, Json value);
    void erase_item(std::string_view field, std::string_view key);

    [[nodiscard]] const std::set<std::string, std::less<>>& changes() const noexcept {
        return changes_;
    }
    void clear_changes() { changes_.clear(); }
    /// The `updates` that object_action answered: fields replaced, changes as it says.
    void apply_updates(const Json& updates);

  private:
    void require_dict(std::string_view field, std::string_view key) const;

    std::string name_;
    std::string version_;
    Json data_ = Json::object();
    std::set<std::string, std::less<>> changes_;
};

} // namespace novalet::objects
