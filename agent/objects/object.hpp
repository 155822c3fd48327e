#pragma once
// A versioned object as a document: name, version, fields and the set of changed fields
// (reference 02 §1). What arrives is kept as it is, unknown fields and version included, so that
// what goes back is what the conductor itself produced.
//
// Wire form ("primitive"):
//   {"nova_object.name": "Instance", "nova_object.namespace": "nova", "nova_object.version": "2.7",
//    "nova_object.data": {field: value, …},          only fields that are loaded
//    "nova_object.changes": [field, …]}              left out when empty
// Fields of `data` keep their wire form: DateTime "2026-01-02T03:04:05Z", sets as arrays, dicts as
// objects with text keys, nested objects as primitives, InstanceInfoCache.network_info as JSON
// text.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

#include <set>
#include <string>
#include <string_view>

namespace novalet::objects {

/// Fields of the object inside a primitive; null when `primitive` is null or no primitive.
[[nodiscard]] const Json& data_of(const Json& primitive) noexcept;

/// Value type; not thread safe. Copying copies the whole document: pass by reference, or move.
class Object {
  public:
    using Fields = std::set<std::string, std::less<>>;

    Object() = default;
    /// An object that we create: nothing set, nothing changed.
    Object(std::string name, std::string version);

    /// From the wire form. Anything that is no primitive gives an object without a name
    /// (see valid()); use `parse` for input that nobody has checked.
    [[nodiscard]] static Object from_primitive(Json primitive);
    /// InvalidArgument when it is no primitive of class `name` (empty = any) of namespace nova.
    /// The error text shows neither values nor keys of the document.
    [[nodiscard]] static Result<Object> parse(Json primitive, std::string_view name = {});
    /// Wire form; `nova_object.changes` is left out when empty and else holds also the fields whose
    /// nested object reports changes of its own, as Nova does it.
    [[nodiscard]] Json to_primitive() const&;
    [[nodiscard]] Json to_primitive() &&;

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
    /// Fields of a nested object ("flavor" → {"vcpus": 1, …}); null when unset, null or no object.
    [[nodiscard]] const Json& child(std::string_view field) const { return data_of(data_[field]); }

    /// Assignment, noted as a change (also when the value is the same, as Nova does it). Throws
    /// std::logic_error for metadata and system_metadata of an Instance that were not loaded: the
    /// conductor deletes every key that a saved dict lacks, so only a loaded one may be changed.
    void set(std::string_view field, Json value);
    /// Without noting a change: a value that has been read, or that the record holds already.
    void set_unchanged(std::string_view field, Json value);
    /// The field counts as not loaded again; a change of it is forgotten.
    void unset(std::string_view field);

    /// One item of a dict field (metadata, system_metadata). The whole dict is sent when changed,
    /// so a dict that was not loaded must not be touched: then this throws std::logic_error.
    void set_item(std::string_view field, std::string_view key, Json value);
    void erase_item(std::string_view field, std::string_view key);

    /// Fields assigned since the object was read; without what nested objects report.
    [[nodiscard]] const Fields& changes() const noexcept { return changes_; }
    /// What a primitive sent now would list: changes() and fields with a changed nested object.
    [[nodiscard]] Fields all_changes() const;
    /// Forgets all changes, those of nested objects too.
    void clear_changes();
    /// The `updates` that object_action answered: fields replaced, changes as it says (nested
    /// changes have been written as well and are forgotten).
    void apply_updates(Json updates);

  private:
    void require_dict(std::string_view field, std::string_view key) const;

    std::string name_;
    std::string version_;
    Json data_ = Json::object();
    Fields changes_;
};

} // namespace novalet::objects
