#include "agent/core/json.hpp"

#include "agent/core/text.hpp"

#include <cmath>
#include <limits>
#define RAPIDJSON_HAS_STDSTRING 1
#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

namespace novalet {
namespace {

constexpr std::size_t scratch_bytes = 4096; ///< an ordinary message does not make it grow

const Json null_value;
const std::string empty_string;
const Json::Array empty_array;
const Json::Object empty_object;

/// Builds the tree from the reader's events; `open_` holds the path of unfinished containers.
class Builder {
  public:
    explicit Builder(const JsonLimits& limits)
        : max_depth_(limits.max_depth), values_left_(limits.max_values) {}

    bool Null() { return put(Json()); }
    bool Bool(bool value) { return put(Json(value)); }
    bool Int(int value) { return put(Json(value)); }
    bool Uint(unsigned value) { return put(Json(value)); }
    bool Int64(std::int64_t value) { return put(Json(value)); }
    bool Uint64(std::uint64_t value) {
        if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
            return put(Json(static_cast<double>(value)));
        return put(Json(value));
    }
    bool Double(double value) { return put(Json(value)); }
    bool RawNumber(const char* /*text*/, rapidjson::SizeType /*size*/, bool /*copy*/) {
        return false;
    }
    bool String(const char* text, rapidjson::SizeType size, bool /*copy*/) {
        return is_whole({text, size}) && put(Json(std::string(text, size)));
    }
    bool StartObject() { return open(Json::object()); }
    bool Key(const char* text, rapidjson::SizeType size, bool /*copy*/) {
        open_.back().key.assign(text, size);
        return is_whole(open_.back().key);
    }
    bool EndObject(rapidjson::SizeType /*count*/) { return close(); }
    bool StartArray() { return open(Json::array()); }
    bool EndArray(rapidjson::SizeType /*count*/) { return close(); }

    [[nodiscard]] Json take() { return std::move(root_); }
    [[nodiscard]] bool too_deep() const { return too_deep_; }
    [[nodiscard]] bool too_many() const { return too_many_; }
    [[nodiscard]] bool half_pair() const { return half_pair_; }

  private:
    struct Level {
        Json container;
        std::string key;
    };

    /// RapidJSON refuses the first half of a surrogate pair alone, but writes the second half
    /// ("\udc00") as three bytes that are no UTF-8: the text of such a tree could not be read back.
    bool is_whole(std::string_view text) {
        for (auto at = text.find('\xed'); at != std::string_view::npos;
             at = text.find('\xed', at + 1))
            if (at + 1 < text.size() && static_cast<unsigned char>(text[at + 1]) >= 0xa0U)
                half_pair_ = true;
        return !half_pair_;
    }

    bool open(Json container) {
        if (open_.size() >= max_depth_) {
            too_deep_ = true;
            return false;
        }
        if (!count())
            return false;
        open_.push_back({std::move(container), {}});
        return true;
    }
    bool close() {
        Json done = std::move(open_.back().container);
        open_.pop_back();
        return place(std::move(done));
    }
    bool count() {
        too_many_ = values_left_ == 0;
        if (!too_many_)
            --values_left_;
        return !too_many_;
    }
    bool put(Json value) { return count() && place(std::move(value)); }
    bool place(Json value) {
        if (open_.empty()) {
            root_ = std::move(value);
            return true;
        }
        auto& level = open_.back();
        if (level.container.is_array())
            level.container.push_back(std::move(value));
        else
            level.container.set(level.key, std::move(value));
        return true;
    }

    std::size_t max_depth_;
    std::size_t values_left_;
    bool too_deep_ = false;
    bool too_many_ = false;
    bool half_pair_ = false;
    std::vector<Level> open_;
    Json root_;
};

Failure too_long(std::size_t bytes, const JsonLimits& limits) {
    return fail(Code::InvalidArgument,
                "JSON of " + std::to_string(bytes) + " bytes is over the limit of " +
                    std::to_string(limits.max_bytes));
}

Failure too_deep(const JsonLimits& limits) {
    return fail(Code::InvalidArgument,
                "JSON nests deeper than " + std::to_string(limits.max_depth) + " levels");
}

Failure too_many(const JsonLimits& limits) {
    return fail(Code::InvalidArgument,
                "JSON has more than " + std::to_string(limits.max_values) + " values");
}

/// Walks no deeper than the limit, whatever the tree is.
Result<void>
check(const Json& value, const JsonLimits& limits, std::size_t depth, std::size_t& values) {
    if (++values > limits.max_values)
        return too_many(limits);
    if (!value.is_array() && !value.is_object())
        return {};
    if (depth == limits.max_depth)
        return too_deep(limits);
    for (const auto& item : value.items())
        NOVALET_TRY(check(item, limits, depth + 1, values));
    for (const auto& [key, item] : value.members())
        NOVALET_TRY(check(item, limits, depth + 1, values));
    return {};
}

/// Then there is no encoding to be validated, which takes half of a parse. Python's json escapes
/// everything else.
bool is_ascii(std::string_view text) {
    unsigned char all = 0;
    for (const char c : text)
        all |= static_cast<unsigned char>(c);
    return all < 0x80U;
}

template <class Writer> void write(Writer& writer, const Json& value) {
    if (value.is_null()) {
        writer.Null();
    } else if (value.is_bool()) {
        writer.Bool(value.as_bool());
    } else if (value.is_integer()) {
        writer.Int64(value.as_int());
    } else if (value.is_number()) {
        if (std::isfinite(value.as_double()))
            writer.Double(value.as_double());
        else
            writer.Null();
    } else if (value.is_string()) {
        writer.String(value.as_string().c_str(),
                      static_cast<rapidjson::SizeType>(value.as_string().size()));
    } else if (value.is_array()) {
        writer.StartArray();
        for (const auto& item : value.items())
            write(writer, item);
        writer.EndArray();
    } else {
        writer.StartObject();
        for (const auto& [key, item] : value.members()) {
            writer.Key(key.c_str(), static_cast<rapidjson::SizeType>(key.size()));
            write(writer, item);
        }
        writer.EndObject();
    }
}

} // namespace

bool Json::as_bool(bool fallback) const noexcept {
    const auto* value = std::get_if<bool>(&value_);
    return value != nullptr ? *value : fallback;
}

std::int64_t Json::as_int(std::int64_t fallback) const noexcept {
    if (const auto* value = std::get_if<std::int64_t>(&value_))
        return *value;
    if (const auto* value = std::get_if<double>(&value_))
        // 2^63 is exact as a double; outside of it the conversion would be undefined.
        if (*value >= -9223372036854775808.0 && *value < 9223372036854775808.0)
            return static_cast<std::int64_t>(*value);
    return fallback;
}

double Json::as_double(double fallback) const noexcept {
    if (const auto* value = std::get_if<double>(&value_))
        return *value;
    if (const auto* value = std::get_if<std::int64_t>(&value_))
        return static_cast<double>(*value);
    return fallback;
}

const std::string& Json::as_string() const& noexcept {
    const auto* value = std::get_if<std::string>(&value_);
    return value != nullptr ? *value : empty_string;
}

std::string Json::as_string() && {
    auto* value = std::get_if<std::string>(&value_);
    return value != nullptr ? std::move(*value) : std::string();
}

std::string Json::as_string(std::string_view fallback) const& {
    const auto* value = std::get_if<std::string>(&value_);
    return value != nullptr ? *value : std::string(fallback);
}

const Json::Array& Json::items() const& noexcept {
    const auto* value = std::get_if<Array>(&value_);
    return value != nullptr ? *value : empty_array;
}

Json::Array Json::items() && {
    auto* value = std::get_if<Array>(&value_);
    return value != nullptr ? std::move(*value) : Array();
}

const Json::Object& Json::members() const& noexcept {
    const auto* value = std::get_if<Object>(&value_);
    return value != nullptr ? *value : empty_object;
}

Json::Object Json::members() && {
    auto* value = std::get_if<Object>(&value_);
    return value != nullptr ? std::move(*value) : Object();
}

const Json& Json::operator[](std::string_view key) const& noexcept {
    const auto& all = members();
    const auto found = all.find(key);
    return found == all.end() ? null_value : found->second;
}

Json Json::operator[](std::string_view key) && {
    auto all = std::move(*this).members();
    const auto found = all.find(key);
    return found == all.end() ? Json() : std::move(found->second);
}

const Json& Json::at(std::size_t index) const& noexcept {
    const auto& all = items();
    return index < all.size() ? all[index] : null_value;
}

Json Json::at(std::size_t index) && {
    auto all = std::move(*this).items();
    return index < all.size() ? std::move(all[index]) : Json();
}

bool Json::contains(std::string_view key) const noexcept {
    return members().find(key) != members().end();
}

std::size_t Json::size() const noexcept {
    return is_array() ? items().size() : members().size();
}

Json& Json::member(std::string_view key) {
    if (!is_object())
        value_ = Object{};
    auto& all = std::get<Object>(value_);
    // Text that was made here has its keys in order.
    const bool last = all.empty() || all.rbegin()->first < key;
    const auto found = last ? all.end() : all.lower_bound(key);
    if (found != all.end() && found->first == key)
        return found->second;
    return all.emplace_hint(found, std::string(key), Json())->second;
}

Json& Json::set(std::string_view key, Json value) {
    member(key) = std::move(value);
    return *this;
}

void Json::erase(std::string_view key) {
    if (!is_object())
        return;
    auto& all = std::get<Object>(value_);
    if (const auto found = all.find(key); found != all.end())
        all.erase(found);
}

Json::Array& Json::elements() {
    if (!is_array())
        value_ = Array{};
    return std::get<Array>(value_);
}

Result<Json> Json::parse(std::string_view text, JsonLimits limits) {
    if (text.size() > limits.max_bytes)
        return too_long(text.size(), limits);
    constexpr unsigned flags = rapidjson::kParseIterativeFlag | rapidjson::kParseFullPrecisionFlag;
    constexpr unsigned validating = flags | rapidjson::kParseValidateEncodingFlag;
    rapidjson::MemoryStream stream(text.data(), text.size());
    rapidjson::EncodedInputStream<rapidjson::UTF8<>, rapidjson::MemoryStream> input(stream);
    rapidjson::Reader reader(nullptr, scratch_bytes);
    Builder builder(limits);
    const auto parsed = is_ascii(text) ? reader.Parse<flags>(input, builder)
                                       : reader.Parse<validating>(input, builder);
    if (builder.too_deep())
        return too_deep(limits);
    if (builder.too_many())
        return too_many(limits);
    if (builder.half_pair())
        return fail(Code::InvalidArgument,
                    "not JSON: half a surrogate pair in a string (before byte " +
                        std::to_string(parsed.Offset()) + ")");
    if (parsed.IsError())
        return fail(Code::InvalidArgument,
                    std::string("not JSON: ") + rapidjson::GetParseError_En(parsed.Code()) +
                        " (byte " + std::to_string(parsed.Offset()) + ")");
    // A NUL byte looks like the end of the text to the reader.
    if (text.find('\0') != std::string_view::npos)
        return fail(Code::InvalidArgument,
                    "not JSON: NUL at byte " + std::to_string(text.find('\0')));
    return builder.take();
}

std::string Json::dump() const {
    rapidjson::StringBuffer buffer(nullptr, scratch_bytes);
    rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
    write(writer, *this);
    return {buffer.GetString(), buffer.GetSize()};
}

Result<std::string> Json::dump(const JsonLimits& limits) const {
    std::size_t values = 0;
    NOVALET_TRY(check(*this, limits, 0, values));
    std::string text = to_utf8(dump());
    if (text.size() > limits.max_bytes)
        return too_long(text.size(), limits);
    return text;
}

} // namespace novalet
