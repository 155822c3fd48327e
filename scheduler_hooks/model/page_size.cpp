#include "scheduler_hooks/model/page_size.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/model/guest_topology.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>

namespace novalet::scheduler_hooks::model {
namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

Failure invalid(std::string_view text) {
    return fail_as("MemoryPageSizeInvalid",
                   Code::InvalidArgument,
                   cat("Invalid memory page size '", text, "'"));
}

/// Takes the ending that makes it a size: bytes ("B") or bits ("b", "bit"). Returns the divisor.
unsigned take_unit(std::string_view& text) {
    for (const std::string_view ending : {"bit", "b", "B"}) {
        if (text.size() > ending.size() && text.substr(text.size() - ending.size()) == ending) {
            text.remove_suffix(ending.size());
            return ending == "B" ? 1 : 8;
        }
    }
    return 0;
}

/// Takes "Ki", "M", … and returns the power of 1024.
unsigned take_prefix(std::string_view& text) {
    constexpr std::string_view prefixes = "KMGTPE";
    std::string_view rest = text;
    if (rest.size() > 1 && rest.back() == 'i')
        rest.remove_suffix(1);
    const auto at = rest.empty() ? std::string_view::npos : prefixes.find(rest.back());
    if (at == std::string_view::npos)
        return 0;
    rest.remove_suffix(1);
    text = rest;
    return static_cast<unsigned>(at) + 1;
}

/// digits, or digits.digits, or .digits
bool is_plain_decimal(std::string_view text) {
    const auto dot = text.find('.');
    const std::string_view fraction = dot == text.npos ? "" : text.substr(dot + 1);
    return std::all_of(text.begin(),
                       text.begin() + static_cast<std::ptrdiff_t>(std::min(dot, text.size())),
                       is_digit) &&
           std::all_of(fraction.begin(), fraction.end(), is_digit) && !text.empty() &&
           is_digit(text.back());
}

} // namespace

Result<std::int64_t> parse_page_size(std::string_view text) {
    if (text == "small")
        return page_size_small;
    if (text == "large")
        return page_size_large;
    if (text == "any")
        return page_size_any;
    if (!text.empty() && std::all_of(text.begin(), text.end(), is_digit)) {
        const auto kib = to_number<std::int64_t>(text);
        if (!kib)
            return invalid(text);
        return *kib;
    }
    std::string_view number = text;
    const unsigned divisor = take_unit(number);
    const unsigned power = take_prefix(number);
    if (!number.empty() && number.front() == '+')
        number.remove_prefix(1);
    const auto value = to_number<double>(
        number.empty() || number.front() != '.' ? std::string(number) : cat('0', number));
    if (divisor == 0 || !is_plain_decimal(number) || !value)
        return invalid(text);
    const double bytes = *value * std::pow(1024.0, power);
    const double kib = std::floor((divisor == 8 ? std::ceil(bytes / 8.0) : bytes) / 1024.0);
    if (!(kib >= 1.0) || kib > 1e15)
        return invalid(text);
    return static_cast<std::int64_t>(kib);
}

std::string page_size_text(std::int64_t size_kib) {
    constexpr std::int64_t mib = 1024;
    constexpr std::int64_t gib = 1024 * 1024;
    if (size_kib == page_size_small)
        return "small";
    if (size_kib == page_size_large)
        return "large";
    if (size_kib == page_size_any)
        return "any";
    if (size_kib >= gib && size_kib % gib == 0)
        return cat(size_kib / gib, " GiB");
    if (size_kib >= mib && size_kib % mib == 0)
        return cat(size_kib / mib, " MiB");
    return cat(size_kib, " KiB");
}

} // namespace novalet::scheduler_hooks::model
