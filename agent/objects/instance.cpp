#include "agent/objects/instance.hpp"

#include "agent/core/text.hpp"

#include <optional>

namespace novalet::objects {
namespace {

/// One conversion of Python's %-formatting as operators use it in instance_name_template.
struct Conversion {
    std::string field; ///< empty = the id
    bool zero = false;
    std::size_t width = 0;
    char kind = '\0';
};

/// Parses behind the '%'; `at` ends behind the conversion.
Result<Conversion> parse_conversion(std::string_view pattern, std::size_t& at) {
    Conversion out;
    const auto begin = at;
    if (at < pattern.size() && pattern[at] == '(') {
        const auto end = pattern.find(')', at);
        if (end == std::string_view::npos)
            return fail(Code::InvalidArgument,
                        cat("instance_name_template '", pattern, "': ')' is missing"));
        out.field = pattern.substr(at + 1, end - at - 1);
        at = end + 1;
    }
    if (at < pattern.size() && pattern[at] == '0') {
        out.zero = true;
        ++at;
    }
    constexpr std::size_t longest = 63; // a host name's limit
    for (; at < pattern.size() && pattern[at] >= '0' && pattern[at] <= '9' && out.width <= longest;
         ++at)
        out.width = out.width * 10 + static_cast<std::size_t>(pattern[at] - '0');
    if (at < pattern.size())
        out.kind = pattern[at++];
    if (std::string_view("sdixXo").find(out.kind) == std::string_view::npos || out.width > longest)
        return fail(Code::InvalidArgument,
                    cat("instance_name_template '",
                        pattern,
                        "': conversion '%",
                        pattern.substr(begin, at - begin),
                        "' is not supported; use %08x, %d, %s or %(field)s"));
    return out;
}

std::string digits_of(std::int64_t number, char kind) {
    const unsigned base = kind == 'o' ? 8 : (kind == 'x' || kind == 'X') ? 16 : 10;
    const char* symbols = kind == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    const bool negative = number < 0;
    auto rest =
        negative ? ~static_cast<std::uint64_t>(number) + 1 : static_cast<std::uint64_t>(number);
    std::string out;
    do {
        out.insert(out.begin(), symbols[rest % base]);
        rest /= base;
    } while (rest != 0);
    return negative ? "-" + out : out;
}

/// Empty when the value does not fit the conversion.
std::optional<std::string> render(const Conversion& conversion, const Json& value) {
    std::string out;
    if (conversion.kind == 's')
        out = value.is_string() ? value.as_string() : value.is_null() ? "None" : value.dump();
    else if (value.is_number())
        out = digits_of(value.as_int(), conversion.kind);
    else
        return std::nullopt;
    if (out.size() < conversion.width)
        out.insert(0,
                   conversion.width - out.size(),
                   conversion.zero && conversion.kind != 's' ? '0' : ' ');
    return out;
}

} // namespace

std::vector<KeyPairView> InstanceView::keypairs() const {
    std::vector<KeyPairView> out;
    for (const auto& pair : child("keypairs")["objects"].items())
        out.emplace_back(data_of(pair));
    return out;
}

Result<Json> InstanceView::network_info() const {
    const auto& text = child("info_cache")["network_info"];
    if (text.as_string().empty())
        return Json::array();
    auto list = Json::parse(text.as_string());
    if (!list)
        return Failure(list.error().in(cat("network_info of instance ", uuid())));
    if (!list->is_array())
        return fail(Code::InvalidArgument, cat("network_info of instance ", uuid(), " is no list"));
    return list;
}

Result<std::string> InstanceView::name(const std::string& name_template) const {
    std::string out;
    for (std::size_t at = 0; at < name_template.size();) {
        const char letter = name_template[at++];
        if (letter != '%') {
            out.push_back(letter);
            continue;
        }
        if (at < name_template.size() && name_template[at] == '%') {
            out.push_back('%');
            ++at;
            continue;
        }
        NOVALET_ASSIGN(const auto conversion, parse_conversion(name_template, at));
        const std::string field = conversion.field.empty() ? "id" : conversion.field;
        if (!is_set(field))
            return uuid();
        const auto text = render(conversion, (*fields_)[field]);
        if (!text)
            return fail(Code::InvalidArgument,
                        cat("instance_name_template '",
                            name_template,
                            "': field ",
                            field,
                            " of instance ",
                            uuid(),
                            " is no number"));
        out += *text;
    }
    return out;
}

} // namespace novalet::objects
