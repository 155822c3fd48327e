#pragma once
// A JSON document as a plain value. The parser is RapidJSON (json.cpp); nothing of it shows here.
#include "agent/core/result.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

namespace novalet {

/// Limits of one document. Input from the bus, a peer or a file is hostile until parsed. The values
/// given here are those of every place that takes documents from outside: what one of them accepts
/// can be stored, and is read back, by every other. A million values are some 150 MB of memory; the
/// largest honest message (a list of a thousand instances) has a third of that.
struct JsonLimits {
    std::size_t max_bytes = 128U << 20U; ///< longer text is refused unread
    std::size_t max_depth = 100;         ///< nesting of arrays and objects
    std::size_t max_values = 1'000'000;  ///< values in the whole tree

    /// Of a document of ours that carries an accepted one among members of its own.
    [[nodiscard]] constexpr JsonLimits around() const noexcept {
        return {2 * max_bytes, max_depth + 28, 2 * max_values};
    }
};

/// Value semantics; copying copies the whole tree. Not thread safe (share const documents only).
class Json {
  public:
    using Array = std::vector<Json>;
    using Object = std::map<std::string, Json, std::less<>>;

    Json() noexcept = default;
    Json(std::nullptr_t) noexcept {}
    Json(bool value) noexcept : value_(value) {}
    template <class T>
    requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) Json(T value)
    noexcept : value_(static_cast<std::int64_t>(value)) {}
    Json(double value) noexcept : value_(value) {}
    Json(const char* value) : value_(std::string(value)) {}
    Json(std::string_view value) : value_(std::string(value)) {}
    Json(std::string value) noexcept : value_(std::move(value)) {}
    Json(Array value) noexcept : value_(std::move(value)) {}
    Json(Object value) noexcept : value_(std::move(value)) {}
    [[nodiscard]] static Json object() { return Json(Object{}); }
    [[nodiscard]] static Json array() { return Json(Array{}); }

    [[nodiscard]] bool is_null() const noexcept { return value_.index() == 0; }
    [[nodiscard]] bool is_bool() const noexcept { return std::holds_alternative<bool>(value_); }
    [[nodiscard]] bool is_integer() const noexcept {
        return std::holds_alternative<std::int64_t>(value_);
    }
    [[nodiscard]] bool is_number() const noexcept {
        return is_integer() || std::holds_alternative<double>(value_);
    }
    [[nodiscard]] bool is_string() const noexcept {
        return std::holds_alternative<std::string>(value_);
    }
    [[nodiscard]] bool is_array() const noexcept { return std::holds_alternative<Array>(value_); }
    [[nodiscard]] bool is_object() const noexcept { return std::holds_alternative<Object>(value_); }

    // What refers into the document refers to a named one; a temporary gives its parts away, so
    // that a loop over parts of a function's result is no loop over what has ended.

    /// The value, or `fallback` when the type is another one.
    [[nodiscard]] bool as_bool(bool fallback = false) const noexcept;
    [[nodiscard]] std::int64_t as_int(std::int64_t fallback = 0) const noexcept;
    [[nodiscard]] double as_double(double fallback = 0) const noexcept;
    /// The string, or an empty one when it is not a string.
    [[nodiscard]] const std::string& as_string() const& noexcept;
    [[nodiscard]] std::string as_string() &&;
    [[nodiscard]] std::string as_string(std::string_view fallback) const&;
    /// The elements, or none when it is not an array / object.
    [[nodiscard]] const Array& items() const& noexcept;
    [[nodiscard]] Array items() &&;
    [[nodiscard]] const Object& members() const& noexcept;
    [[nodiscard]] Object members() &&;

    /// Member or element; null where there is none (never throws, never inserts).
    [[nodiscard]] const Json& operator[](std::string_view key) const& noexcept;
    [[nodiscard]] Json operator[](std::string_view key) &&;
    [[nodiscard]] const Json& operator[](const char* key) const& noexcept {
        return (*this)[std::string_view(key)];
    }
    [[nodiscard]] Json operator[](const char* key) && {
        return std::move(*this)[std::string_view(key)];
    }
    [[nodiscard]] const Json& at(std::size_t index) const& noexcept;
    [[nodiscard]] Json at(std::size_t index) &&;
    [[nodiscard]] bool contains(std::string_view key) const noexcept;
    [[nodiscard]] std::size_t size() const noexcept;
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }

    /// Mutable member; makes this an object and inserts null where needed.
    Json& member(std::string_view key);
    Json& set(std::string_view key, Json value);
    void erase(std::string_view key);
    /// Mutable elements; makes this an array when it is something else.
    Array& elements();
    void push_back(Json value) { elements().push_back(std::move(value)); }

    [[nodiscard]] bool operator==(const Json& other) const { return value_ == other.value_; }

    /// Whole text must be one document: UTF-8 is validated, trailing bytes and NUL are errors, and
    /// so are escapes of half a surrogate pair, which no UTF-8 can hold.
    /// The error text says the byte offset and what is wrong.
    [[nodiscard]] static Result<Json> parse(std::string_view text, JsonLimits limits = {});
    /// Compact text, members in key order (equal documents have equal text).
    [[nodiscard]] std::string dump() const;
    /// The same for a text that is to be read back: `parse` with these limits takes it. Bytes that
    /// are no UTF-8 become U+FFFD. InvalidArgument says which limit the document is over.
    [[nodiscard]] Result<std::string> dump(const JsonLimits& limits) const;

  private:
    std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object> value_;
};

} // namespace novalet
