#include "config/load/form.hpp"

#include "agent/core/text.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cctype>
#include <limits>
#include <map>
#include <set>

namespace novalet::config {
namespace {

constexpr unsigned max_cpu = 65535;

Failure wrong(std::string text) {
    return fail(Code::InvalidArgument, std::move(text));
}

bool is_address(const std::string& text) {
    std::array<unsigned char, 16> buffer{};
    return inet_pton(AF_INET, text.c_str(), buffer.data()) == 1 ||
           inet_pton(AF_INET6, text.c_str(), buffer.data()) == 1;
}

Result<void> check_host_name(const std::string& text) {
    if (text.size() > 255)
        return wrong("it is longer than 255 characters");
    for (const auto& label : split(text, '.')) {
        const bool good =
            !label.empty() && label.size() <= 63 &&
            std::all_of(label.begin(), label.end(), [](char c) {
                return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
            });
        if (!good)
            return wrong("a part between dots is empty, too long or has other characters than "
                         "letters, digits, '-' and '_'");
    }
    return {};
}

Result<void> check_port(std::string_view text) {
    const auto port = to_number<unsigned>(text);
    if (!port || *port < 1 || *port > 65535)
        return wrong("the port has to be a number from 1 to 65535");
    return {};
}

/// host:port, [v6]:port.
Result<void> check_host_port(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0)
        return wrong("host and port are needed");
    const auto host = text.substr(0, colon);
    if (host.front() != '[' && host.find(':') != std::string_view::npos)
        return wrong("an IPv6 address has to be written in brackets");
    if (host.front() == '[' && host.back() != ']')
        return wrong("the bracket of the IPv6 address is not closed");
    return check_port(text.substr(colon + 1));
}

Result<void> check_listen(const std::string& text) {
    constexpr std::string_view unix_scheme = "unix:";
    if (text.starts_with(unix_scheme)) {
        const auto path = text.substr(unix_scheme.size());
        if (path.empty() || path.front() != '/')
            return wrong("the path after unix: has to be absolute");
        if (path.size() > 107)
            return wrong("the path of a socket has at most 107 characters");
        return {};
    }
    NOVALET_TRY(check_host_port(text));
    std::string host = text.substr(0, text.rfind(':'));
    if (host.front() == '[')
        host = host.substr(1, host.size() - 2);
    if (!is_address(host))
        return wrong("the host has to be an IPv4 or IPv6 address");
    return {};
}

Result<void> check_url(const std::string& text) {
    for (const std::string_view scheme : {"http://", "https://"})
        if (text.starts_with(scheme)) {
            const auto rest = std::string_view(text).substr(scheme.size());
            if (rest.empty() || rest.front() == '/' || rest.front() == ':')
                return wrong("the host is missing");
            if (rest.find_first_of(" \t\r\n") != std::string_view::npos)
                return wrong("it has blanks inside");
            return {};
        }
    return wrong("the scheme is missing");
}

/// The texts never show the URL: it holds a password.
Result<void> check_transport_url(const std::string& text) {
    constexpr std::string_view scheme = "rabbit://";
    if (!text.starts_with(scheme))
        return wrong("it has to begin with rabbit://");
    std::string_view hosts = std::string_view(text).substr(scheme.size());
    hosts = hosts.substr(0, hosts.find_first_of("/?"));
    if (hosts.empty())
        return wrong("the host is missing");
    for (const auto& entry : split(hosts, ',')) {
        const std::string_view one = entry;
        const auto host = one.substr(one.rfind('@') + 1); // npos + 1 is 0
        if (host.empty())
            return wrong("a host is missing");
        const auto user = one.substr(0, one.size() - host.size());
        if (std::count(user.begin(), user.end(), '@') > 1 ||
            std::count(user.begin(), user.end(), ':') > 1)
            return wrong("'@' and ':' inside of user or password have to be written %40 and %3A");
        if (!percent_decode(user))
            return wrong("a '%' in user or password is not followed by two hex digits");
        const auto bracket = host.rfind(']');
        const auto colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
        if (colon != std::string_view::npos)
            NOVALET_TRY(check_port(host.substr(colon + 1)));
    }
    return {};
}

/// One conversion %[0][width]{d,x,X,s,i,u} of the id, or any %(field)[width]{s,d,x}; %% is a
/// percent.
Result<void> check_name_template(const std::string& text) {
    std::size_t positional = 0;
    std::size_t named = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '/')
            return wrong("'/' cannot be in the name of a guest");
        if (text[i] != '%')
            continue;
        if (++i < text.size() && text[i] == '%')
            continue;
        bool has_name = false;
        if (i < text.size() && text[i] == '(') {
            const auto end = text.find(')', i);
            if (end == std::string::npos || end == i + 1)
                return wrong("'%(' needs a field name and ')'");
            i = end + 1;
            has_name = true;
        }
        while (i < text.size() && std::isdigit(static_cast<unsigned char>(text[i])) != 0)
            ++i;
        if (i >= text.size() || std::string_view("dixXsu").find(text[i]) == std::string_view::npos)
            return wrong("a '%' is not followed by one of d, x, s");
        ++(has_name ? named : positional);
    }
    if (positional + named == 0)
        return wrong("without a field all guests would have the same name");
    if (positional > 1 || (positional == 1 && named > 0))
        return wrong("only one field without a name is possible");
    return {};
}

Result<void> check_catalog_info(const std::string& text) {
    const auto parts = split(text, ':');
    if (parts.size() != 3 || parts[0].empty())
        return wrong("it has to be type:name:interface, where only the name may be empty");
    constexpr std::string_view url = "URL";
    std::string_view interface = parts[2];
    if (interface.ends_with(url))
        interface.remove_suffix(url.size());
    if (interface != "public" && interface != "internal" && interface != "admin")
        return wrong("the interface has to be publicURL, internalURL or adminURL");
    return {};
}

struct Suffix {
    bool time = false;
    std::uint64_t factor = 1; ///< milliseconds or bytes
};

const std::map<std::string, Suffix>& suffixes() {
    constexpr std::uint64_t second = 1000;
    static const std::map<std::string, Suffix> all{{"ms", {true, 1}},
                                                   {"s", {true, second}},
                                                   {"sec", {true, second}},
                                                   {"min", {true, 60 * second}},
                                                   {"h", {true, 3600 * second}},
                                                   {"d", {true, 86400 * second}},
                                                   {"B", {false, 1}},
                                                   {"KiB", {false, 1ULL << 10U}},
                                                   {"MiB", {false, 1ULL << 20U}},
                                                   {"GiB", {false, 1ULL << 30U}},
                                                   {"TiB", {false, 1ULL << 40U}}};
    return all;
}

} // namespace

Result<void> check_form(Form form, const std::string& text) {
    if (text.find('\0') != std::string::npos)
        return wrong("it has a NUL inside");
    if (text.empty()) // "not set"; whether that is possible is another question
        return {};
    switch (form) {
    case Form::Any:
        return {};
    case Form::HostName:
        return check_host_name(text);
    case Form::IpAddress:
        if (!is_address(text))
            return wrong("it is neither an IPv4 nor an IPv6 address");
        return {};
    case Form::AbsolutePath:
        if (text.front() != '/')
            return wrong("it does not begin with '/'");
        return {};
    case Form::Url:
        return check_url(text);
    case Form::TransportUrl:
        return check_transport_url(text);
    case Form::CpuList:
        if (auto cpus = cpu_list(text); !cpus)
            return Failure(cpus.error());
        return {};
    case Form::NameTemplate:
        return check_name_template(text);
    case Form::Listen:
        return check_listen(text);
    case Form::CatalogInfo:
        return check_catalog_info(text);
    }
    return {};
}

Result<std::vector<unsigned>> cpu_list(std::string_view text) {
    std::set<unsigned> in;
    std::set<unsigned> out;
    for (const auto& raw : split(text, ',')) {
        std::string_view item = trim(raw);
        const bool excluded = item.starts_with('^');
        if (excluded)
            item = trim(item.substr(1));
        const auto dash = item.find('-');
        const auto first = to_number<unsigned>(trim(item.substr(0, dash)));
        const auto last = dash == std::string_view::npos
                              ? first
                              : to_number<unsigned>(trim(item.substr(dash + 1)));
        if (!first || !last || (excluded && dash != std::string_view::npos))
            return wrong(
                cat("'", trim(raw), "' is neither a CPU, a range a-b nor an exclusion ^a"));
        if (*last < *first)
            return wrong(cat("the range '", item, "' runs backwards"));
        if (*last > max_cpu)
            return wrong(cat("CPU ", *last, " is above ", max_cpu));
        for (unsigned cpu = *first; cpu <= *last; ++cpu)
            (excluded ? out : in).insert(cpu);
    }
    for (const unsigned cpu : out)
        in.erase(cpu);
    if (in.empty())
        return wrong("no CPU is left");
    return std::vector<unsigned>(in.begin(), in.end());
}

Result<std::uint64_t> amount(std::string_view text, Unit unit) {
    text = trim(text);
    const auto digits = text.find_first_not_of("0123456789");
    const auto number = to_number<std::uint64_t>(text.substr(0, digits));
    if (!number)
        return wrong("it is not a whole number that is not negative");
    if (digits == std::string_view::npos)
        return *number;
    const std::string suffix(trim(text.substr(digits)));
    if (unit == Unit::None)
        return wrong("it is not a whole number");
    const auto own = suffixes().find(symbol_of(unit));
    const auto found = suffixes().find(suffix);
    if (found == suffixes().end() || found->second.time != own->second.time)
        return wrong(cat("the unit '",
                         suffix,
                         "' is none of ",
                         own->second.time ? "ms, s, min, h, d" : "B, KiB, MiB, GiB, TiB"));
    if (*number > std::numeric_limits<std::uint64_t>::max() / found->second.factor)
        return wrong("it is too large");
    const std::uint64_t base = *number * found->second.factor;
    if (base % own->second.factor != 0)
        return wrong(cat("it is not a whole number of ", symbol_of(unit)));
    return base / own->second.factor;
}

} // namespace novalet::config
