#include "agent/core/text.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace novalet {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";
constexpr std::string_view base64_digits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

unsigned byte_of(char c) {
    return static_cast<unsigned char>(c);
}

std::optional<unsigned> hex_value(char c) {
    const auto at = hex_digits.find(static_cast<char>(std::tolower(static_cast<int>(byte_of(c)))));
    if (at == std::string_view::npos)
        return std::nullopt;
    return static_cast<unsigned>(at);
}

} // namespace

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> parts;
    if (text.empty())
        return parts;
    for (;;) {
        const auto at = text.find(separator);
        parts.emplace_back(text.substr(0, at));
        if (at == std::string_view::npos)
            return parts;
        text.remove_prefix(at + 1);
    }
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
    std::string out;
    for (const auto& part : parts) {
        if (&part != &parts.front())
            out += separator;
        out += part;
    }
    return out;
}

std::string_view trim(std::string_view text) noexcept {
    constexpr std::string_view blanks = " \t\r\n";
    const auto first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos)
        return {};
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](char c) {
        return static_cast<char>(std::tolower(static_cast<int>(byte_of(c))));
    });
    return out;
}

std::optional<bool> to_bool(std::string_view text) {
    const std::string word = lower(trim(text));
    for (const char* yes : {"true", "1", "yes", "on", "t", "y"})
        if (word == yes)
            return true;
    for (const char* no : {"false", "0", "no", "off", "f", "n"})
        if (word == no)
            return false;
    return std::nullopt;
}

std::string cut_utf8(std::string_view text, std::size_t bytes) {
    if (text.size() <= bytes)
        return std::string(text);
    while (bytes > 0 && (byte_of(text[bytes]) & 0xC0U) == 0x80U)
        --bytes;
    return std::string(text.substr(0, bytes));
}

namespace {

/// Length of the UTF-8 character at the start (RFC 3629: shortest form, no surrogates); 0 = none.
std::size_t utf8_length(std::string_view text) {
    const auto lead = byte_of(text[0]);
    if (lead < 0x80U)
        return 1;
    const std::size_t length = lead >= 0xF0U ? 4 : lead >= 0xE0U ? 3 : 2;
    if (lead < 0xC2U || lead > 0xF4U || text.size() < length)
        return 0;
    for (std::size_t i = 1; i < length; ++i)
        if ((byte_of(text[i]) & 0xC0U) != 0x80U)
            return 0;
    const auto second = byte_of(text[1]);
    if ((lead == 0xE0U && second < 0xA0U) || (lead == 0xEDU && second > 0x9FU) ||
        (lead == 0xF0U && second < 0x90U) || (lead == 0xF4U && second > 0x8FU))
        return 0;
    return length;
}

} // namespace

std::string to_utf8(std::string text) {
    std::size_t good = 0;
    while (good < text.size()) {
        const auto length = utf8_length(std::string_view(text).substr(good));
        if (length == 0)
            break;
        good += length;
    }
    if (good == text.size())
        return text;
    std::string out = text.substr(0, good);
    for (std::string_view rest = std::string_view(text).substr(good); !rest.empty();) {
        const auto length = utf8_length(rest);
        out += length == 0 ? std::string_view("\xEF\xBF\xBD") : rest.substr(0, length);
        rest.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return out;
}

std::string hex(std::string_view bytes) {
    std::string out;
    out.reserve(bytes.size() * 2);
    for (const char c : bytes) {
        out += hex_digits[byte_of(c) >> 4U];
        out += hex_digits[byte_of(c) & 15U];
    }
    return out;
}

std::string base64(std::string_view bytes) {
    std::string out;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
        unsigned group = byte_of(bytes[i]) << 16U;
        if (count > 1)
            group |= byte_of(bytes[i + 1]) << 8U;
        if (count > 2)
            group |= byte_of(bytes[i + 2]);
        out += base64_digits[(group >> 18U) & 63U];
        out += base64_digits[(group >> 12U) & 63U];
        out += count > 1 ? base64_digits[(group >> 6U) & 63U] : '=';
        out += count > 2 ? base64_digits[group & 63U] : '=';
    }
    return out;
}

std::optional<std::string> from_base64(std::string_view text) {
    std::string out;
    unsigned group = 0;
    unsigned bits = 0;
    std::size_t padding = 0;
    for (const char c : text) {
        if (c == '\n' || c == '\r')
            continue;
        if (c == '=') {
            ++padding;
            continue;
        }
        const auto value = base64_digits.find(c);
        if (value == std::string_view::npos || padding > 0)
            return std::nullopt;
        group = (group << 6U) | static_cast<unsigned>(value);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out += static_cast<char>((group >> bits) & 255U);
        }
    }
    if (padding > 2 || bits >= 6)
        return std::nullopt;
    return out;
}

std::optional<std::string> percent_decode(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        if (i + 2 >= text.size())
            return std::nullopt;
        const auto high = hex_value(text[i + 1]);
        const auto low = hex_value(text[i + 2]);
        if (!high || !low)
            return std::nullopt;
        out += static_cast<char>(*high * 16 + *low);
        i += 2;
    }
    return out;
}

std::string percent_encode(std::string_view text) {
    constexpr std::string_view plain = "-._~";
    std::string out;
    for (const char c : text) {
        const bool keep = (std::isalnum(static_cast<int>(byte_of(c))) != 0 && byte_of(c) < 128) ||
                          plain.find(c) != std::string_view::npos;
        if (keep)
            out += c;
        else
            out += cat('%', hex_digits[byte_of(c) >> 4U], hex_digits[byte_of(c) & 15U]);
    }
    return out;
}

} // namespace novalet
