#pragma once
// What can be configured: one description for each option. The reader, the sample, the printed
// configuration and the documentation all work from this table. Immutable; any thread.
#include "config/schema/config.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace novalet::config {

/// In what an option's plain number counts; a suffix of the same family may be written instead
/// ("5 min", "2 GiB").
enum class Unit { None, Seconds, Milliseconds, Bytes, KiB, MiB, GiB };

/// Symbol as it is written after a number ("s", "MiB"); empty for None.
[[nodiscard]] const char* symbol_of(Unit unit) noexcept;

/// How the value of one option is reached inside a Config.
template <class T> using Member = T& (*)(Config&);

/// An option with a closed list of words.
struct WordMember {
    std::string (*get)(const Config&);
    bool (*set)(Config&, std::string_view); ///< false: not one of the words
};

using Target = std::variant<Member<bool>,
                            Member<unsigned>,
                            Member<std::uint64_t>,
                            Member<std::string>,
                            Member<Secret>,
                            Member<Seconds>,
                            Member<Milliseconds>,
                            Member<Texts>,
                            Member<TextMap>,
                            Member<std::optional<bool>>,
                            Member<std::optional<double>>,
                            Member<std::optional<Seconds>>,
                            Member<std::vector<ReservedHugePages>>,
                            Member<std::vector<HugePagePoolPolicy>>,
                            WordMember>;

/// How a text (or each text of a list, each value of a map) has to look beyond its type.
enum class Form {
    Any,
    HostName,
    IpAddress,
    AbsolutePath,
    Url,          ///< http:// or https://
    TransportUrl, ///< rabbit://
    CpuList,      ///< Nova's syntax: "0-3,^2,8"
    NameTemplate, ///< instance_name_template
    Listen,       ///< host:port or unix:/path
    CatalogInfo   ///< type:name:interface, the name may be empty
};

struct Option {
    std::string path; ///< "vnc.enabled"
    Target target;
    std::string help; ///< one or two sentences
    Unit unit = Unit::None;
    double min = 0;                   ///< of numbers, in `unit`
    double max = 0;                   ///< 0 = as large as the type
    std::vector<std::string> words{}; ///< of texts and lists: allowed values; empty = any
    std::vector<std::string> keys{};  ///< of maps: allowed keys; empty = any
    Form form = Form::Any;
    bool required = false;   ///< has no default that could work
    bool reloadable = false; ///< takes effect on SIGHUP without a restart

    [[nodiscard]] bool secret() const noexcept {
        return std::holds_alternative<Member<Secret>>(target);
    }
    /// A secret's sibling key that names a file with the value: "keystone.password_file".
    [[nodiscard]] std::string file_path() const { return path + "_file"; }
    /// "whole number of seconds", "list of texts" … for errors and documentation.
    [[nodiscard]] std::string expectation() const;
};

/// All options, in the order of the sample: sections are contiguous.
[[nodiscard]] const std::vector<Option>& options();
/// By path; null when there is none.
[[nodiscard]] const Option* find_option(std::string_view path) noexcept;

/// The value as YAML text on one line ("60 s", "[a, b]", "~" for not set). Secrets are masked as
/// "***" (not set: "~").
[[nodiscard]] std::string value_text(const Option& option, const Config& config);

/// Words of an enumeration, in the order of its values.
[[nodiscard]] const std::vector<std::string>& words_of(HypervisorKind kind);
[[nodiscard]] const std::vector<std::string>& words_of(NotificationFormat format);
[[nodiscard]] const std::vector<std::string>& words_of(log::Level level);

} // namespace novalet::config
