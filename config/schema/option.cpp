#include "config/schema/option.hpp"

#include "agent/core/text.hpp"

#include <array>
#include <cstdio>

namespace novalet::config {
namespace {

/// Shortest decimal that reads back as the same number.
std::string number_text(double value) {
    std::array<char, 32> buffer{};
    const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    return error == std::errc{} ? std::string(buffer.data(), end) : std::to_string(value);
}

/// Plain where YAML reads it back as the same text, quoted otherwise.
std::string yaml_text(const std::string& text) {
    constexpr std::string_view harmless =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";
    const bool plain = !text.empty() && text.find_first_not_of(harmless) == std::string::npos &&
                       text.front() != '-' && text.front() != '.' && !to_bool(text) &&
                       !to_number<double>(text) && lower(text) != "null";
    if (plain)
        return text;
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            out += '\\';
        out += c;
    }
    return out + '"';
}

std::string amount(std::string number, Unit unit) {
    if (unit != Unit::None)
        number += cat(' ', symbol_of(unit));
    return number;
}

struct ValueText {
    const Option& option;
    Config& config;

    std::string operator()(Member<bool> at) const { return at(config) ? "true" : "false"; }
    std::string operator()(Member<unsigned> at) const {
        return amount(cat(at(config)), option.unit);
    }
    std::string operator()(Member<std::uint64_t> at) const {
        return amount(cat(at(config)), option.unit);
    }
    std::string operator()(Member<std::string> at) const { return yaml_text(at(config)); }
    std::string operator()(Member<Secret> at) const { return at(config).empty() ? "~" : "\"***\""; }
    std::string operator()(Member<Seconds> at) const {
        return amount(cat(at(config).count()), option.unit);
    }
    std::string operator()(Member<Milliseconds> at) const {
        return amount(cat(at(config).count()), option.unit);
    }
    std::string operator()(Member<Texts> at) const {
        std::vector<std::string> parts;
        for (const auto& text : at(config))
            parts.push_back(yaml_text(text));
        return cat('[', join(parts, ", "), ']');
    }
    std::string operator()(Member<TextMap> at) const {
        std::vector<std::string> parts;
        for (const auto& [key, text] : at(config))
            parts.push_back(cat(yaml_text(key), ": ", yaml_text(text)));
        return cat('{', join(parts, ", "), '}');
    }
    std::string operator()(Member<std::optional<bool>> at) const {
        return !at(config) ? "~" : *at(config) ? "true" : "false";
    }
    std::string operator()(Member<std::optional<double>> at) const {
        return at(config) ? amount(number_text(*at(config)), option.unit) : "~";
    }
    std::string operator()(Member<std::optional<Seconds>> at) const {
        return at(config) ? amount(cat(at(config)->count()), option.unit) : "~";
    }
    std::string operator()(Member<std::vector<ReservedHugePages>> at) const {
        std::vector<std::string> parts;
        for (const auto& pages : at(config))
            parts.push_back(cat(
                "{node: ", pages.node, ", size: ", pages.size, " KiB, count: ", pages.count, '}'));
        return cat('[', join(parts, ", "), ']');
    }
    std::string operator()(Member<std::vector<HugePagePoolPolicy>> at) const {
        std::vector<std::string> parts;
        for (const auto& pool : at(config))
            parts.push_back(cat("{node: ",
                                pool.node,
                                ", size: ",
                                pool.size,
                                " KiB, min: ",
                                pool.min,
                                ", max: ",
                                pool.max,
                                ", spare: ",
                                pool.spare,
                                '}'));
        return cat('[', join(parts, ", "), ']');
    }
    std::string operator()(const WordMember& at) const { return at.get(config); }
};

struct KindText {
    std::string operator()(Member<bool>) const { return "true or false"; }
    std::string operator()(Member<std::optional<bool>>) const { return "true or false"; }
    std::string operator()(Member<unsigned>) const { return "a whole number"; }
    std::string operator()(Member<std::uint64_t>) const { return "a whole number"; }
    std::string operator()(Member<std::string>) const { return "a text"; }
    std::string operator()(Member<Secret>) const { return "a text"; }
    std::string operator()(Member<Seconds>) const { return "a duration"; }
    std::string operator()(Member<std::optional<Seconds>>) const { return "a duration"; }
    std::string operator()(Member<Milliseconds>) const { return "a duration"; }
    std::string operator()(Member<Texts>) const { return "a list of texts"; }
    std::string operator()(Member<TextMap>) const { return "a map of texts"; }
    std::string operator()(Member<std::optional<double>>) const { return "a number"; }
    std::string operator()(Member<std::vector<ReservedHugePages>>) const {
        return "a list of {node, size, count}";
    }
    std::string operator()(Member<std::vector<HugePagePoolPolicy>>) const {
        return "a list of {node, size, min, max, spare}";
    }
    std::string operator()(const WordMember&) const { return "a word"; }
};

const char* form_text(Form form) {
    switch (form) {
    case Form::Any:
        return "";
    case Form::HostName:
        return "a host name";
    case Form::IpAddress:
        return "an IPv4 or IPv6 address";
    case Form::AbsolutePath:
        return "an absolute path";
    case Form::Url:
        return "a URL that begins with http:// or https://";
    case Form::TransportUrl:
        return "a URL like rabbit://user:password@host:5672/vhost";
    case Form::CpuList:
        return "a CPU list like \"0-3,^2,8\"";
    case Form::NameTemplate:
        return "a template with one of %x, %d, %s or with %(field)s";
    case Form::Listen:
        return "an address with port like 127.0.0.1:9177, or unix:/path";
    case Form::CatalogInfo:
        return "a service of the catalog like volumev3::publicURL or volumev3:cinder:internal";
    }
    return "";
}

std::vector<std::string> quoted(const std::vector<std::string>& words) {
    std::vector<std::string> out;
    for (const auto& word : words)
        out.push_back(word.empty() ? "\"\"" : word);
    return out;
}

} // namespace

const char* symbol_of(Unit unit) noexcept {
    switch (unit) {
    case Unit::None:
        return "";
    case Unit::Seconds:
        return "s";
    case Unit::Milliseconds:
        return "ms";
    case Unit::Bytes:
        return "B";
    case Unit::KiB:
        return "KiB";
    case Unit::MiB:
        return "MiB";
    case Unit::GiB:
        return "GiB";
    }
    return "";
}

std::string Option::expectation() const {
    std::string text = std::visit(KindText{}, target);
    if (form != Form::Any)
        text = form_text(form);
    if (unit != Unit::None)
        text += cat(" in ", symbol_of(unit));
    if (max > 0)
        text += cat(" from ", number_text(min), " to ", number_text(max));
    else if (min > 0)
        text += cat(" of at least ", number_text(min));
    if (!keys.empty())
        text += cat(" with the keys ", join(keys, ", "));
    if (!words.empty())
        text += cat(": ", join(quoted(words), ", "));
    return text;
}

std::string value_text(const Option& option, const Config& config) {
    // The accessors of the table hand out a reference for reading and writing; nothing is written.
    return std::visit(ValueText{option, const_cast<Config&>(config)}, option.target);
}

} // namespace novalet::config
