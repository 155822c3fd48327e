#pragma once
// Small text verbs used everywhere; pure functions, callable from any thread.
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace novalet {

namespace text_detail {
inline void append(std::string& out, std::string_view part) {
    out.append(part);
}
inline void append(std::string& out, char part) {
    out.push_back(part);
}
template <class T>
requires std::is_arithmetic_v<T>
void append(std::string& out, T part) {
    if constexpr (std::is_same_v<T, bool>)
        out.append(part ? "true" : "false");
    else
        out.append(std::to_string(part));
}
} // namespace text_detail

/// One string of strings and numbers.
template <class... Parts> [[nodiscard]] std::string cat(const Parts&... parts) {
    std::string out;
    (text_detail::append(out, parts), ...);
    return out;
}

/// Whole text as a decimal number of T; empty when it is anything else or out of range.
template <class T> [[nodiscard]] std::optional<T> to_number(std::string_view text) {
    T value{};
    const auto* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end || text.empty())
        return std::nullopt;
    return value;
}

/// Parts between separators; an empty text has no parts.
[[nodiscard]] std::vector<std::string> split(std::string_view text, char separator);
[[nodiscard]] std::string join(const std::vector<std::string>& parts, std::string_view separator);
[[nodiscard]] std::string_view trim(std::string_view text) noexcept;
[[nodiscard]] std::string lower(std::string_view text);
/// "true"/"1"/"yes"/"on" and their opposites as Nova reads them (any case); empty for other texts.
[[nodiscard]] std::optional<bool> to_bool(std::string_view text);
/// At most `bytes` bytes, cut at a UTF-8 character boundary.
[[nodiscard]] std::string cut_utf8(std::string_view text, std::size_t bytes);
/// The same text, with each byte that is not part of a UTF-8 character replaced by U+FFFD.
[[nodiscard]] std::string to_utf8(std::string text);
/// Bytes as lower-case hex.
[[nodiscard]] std::string hex(std::string_view bytes);
[[nodiscard]] std::string base64(std::string_view bytes);
[[nodiscard]] std::optional<std::string> from_base64(std::string_view text);
/// `%XX` undone; empty for a broken escape.
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text);
[[nodiscard]] std::string percent_encode(std::string_view text);

} // namespace novalet
