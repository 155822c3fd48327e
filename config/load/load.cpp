#include "config/load/load.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "config/load/check.hpp"
#include "config/load/nearest.hpp"
#include "config/load/value.hpp"

#include <algorithm>
#include <cctype>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

namespace novalet::config {
namespace {

constexpr std::string_view environment_prefix = "NOVALET__";
constexpr std::size_t max_secret_bytes = 64U << 10U;

std::string upper(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](char c) {
        return static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    });
    return out;
}

std::string variable_of(const std::string& path) {
    std::string out(environment_prefix);
    for (const auto& part : split(path, '.'))
        out += (out.size() > environment_prefix.size() ? "__" : "") + upper(part);
    return out;
}

/// The option whose value stands in the file that `path` names.
const Option* option_of_file(std::string_view path) {
    constexpr std::string_view suffix = "_file";
    if (!path.ends_with(suffix))
        return nullptr;
    const auto* option = find_option(path.substr(0, path.size() - suffix.size()));
    return option != nullptr && option->secret() ? option : nullptr;
}

bool is_section(const std::string& path) {
    const auto& all = options();
    return std::any_of(all.begin(), all.end(), [&](const Option& option) {
        return option.path.starts_with(path + '.');
    });
}

bool is_open_to_all(const std::filesystem::path& path) {
    struct stat now {};
    return stat(path.c_str(), &now) == 0 && (now.st_mode & 0007U) != 0;
}

class Loader {
  public:
    void read_text(const std::string& source, std::string_view text) {
        const auto root = parse_yaml(text, source, loaded_.problems);
        given_here_.clear();
        has_secret_ = false;
        if (root.kind == YamlNode::Kind::Map)
            read_section("", root);
        else if (root.kind != YamlNode::Kind::Null)
            problem(root.place, "expected keys with values at the top, like 'host: compute1'");
    }

    void read_file_at(const std::filesystem::path& path) {
        loaded_.files.push_back(path);
        has_secret_ = false;
        const auto text = read_file(path, max_yaml_bytes + 1);
        if (!text)
            problem({path.string(), 0, 0}, cat("cannot be read: ", text.error().text));
        else
            read_text(path.string(), *text);
        if (has_secret_ && is_open_to_all(path))
            warning({path.string(), 0, 0},
                    "holds a password and is open to every user; chmod o= it, or keep the password "
                    "in a file of its own");
    }

    void read_environment(const Environment& environment) {
        std::map<std::string, std::string> paths;
        for (const auto& option : options()) {
            paths[variable_of(option.path)] = option.path;
            if (option.secret())
                paths[variable_of(option.file_path())] = option.file_path();
        }
        given_here_.clear();
        for (const auto& [name, text] : environment) {
            if (!name.starts_with(environment_prefix))
                continue;
            const Place place{"environment " + name, 0, 0};
            const auto found = paths.find(name);
            if (found == paths.end()) {
                std::vector<std::string> names;
                for (const auto& one : paths)
                    names.push_back(one.first);
                problem(place, unknown("variable", name, nearest_word(name, names)));
                continue;
            }
            read_key(found->second, place, environment_node(found->second, text, place), place);
        }
    }

    Loaded finish(const HostIdentity& identity) {
        const Config written = loaded_.config;
        complete(loaded_.config, identity);
        auto findings = check(written, loaded_.config);
        for (const auto& finding : findings.errors)
            // Where the option itself is wrong, it only seems to be missing.
            if (failed_.count(finding.path) == 0)
                problem(place_of(finding.path), cat(finding.path, ": ", finding.text));
        for (const auto& finding : findings.warnings)
            warning(place_of(finding.path), cat(finding.path, ": ", finding.text));
        return std::move(loaded_);
    }

  private:
    void problem(const Place& place, std::string text) {
        loaded_.problems.push_back({place, std::move(text)});
    }
    void warning(const Place& place, std::string text) {
        loaded_.warnings.push_back({place, std::move(text)});
    }
    static std::string
    unknown(const char* what, const std::string& name, const std::string& nearest) {
        return cat("unknown ",
                   what,
                   " '",
                   cut_utf8(name, 80),
                   nearest.empty() ? "'" : cat("'; did you mean '", nearest, "'?"));
    }

    void read_section(const std::string& prefix, const YamlNode& section) {
        std::set<std::string> seen;
        for (const auto& [key, value] : section.members) {
            if (key.kind != YamlNode::Kind::Scalar) {
                problem(key.place, "a key has to be a text");
                continue;
            }
            const std::string path = prefix + key.text;
            if (!seen.insert(key.text).second) {
                problem(key.place, cat(path, " is there twice in this file; keep one of them"));
                continue;
            }
            read_key(path,
                     key.place,
                     value,
                     value.kind == YamlNode::Kind::Null ? key.place : value.place);
        }
    }

    void read_key(const std::string& path,
                  const Place& key_place,
                  const YamlNode& value,
                  const Place& value_place) {
        if (const auto* option = find_option(path)) {
            set(*option, value, value_place);
        } else if (const auto* secret = option_of_file(path)) {
            set_from_file(*secret, value, value_place);
        } else if (is_section(path)) {
            if (value.kind == YamlNode::Kind::Map)
                read_section(path + '.', value);
            else if (value.kind != YamlNode::Kind::Null)
                problem(value_place,
                        cat(path, " is a section; expected keys with values below it"));
        } else {
            problem(key_place, unknown("key", path, nearest_option(path)));
        }
    }

    void set(const Option& option, const YamlNode& value, const Place& place) {
        if (!given_once(option, place))
            return;
        places_[option.path] = place;
        has_secret_ = has_secret_ || (option.secret() && value.kind != YamlNode::Kind::Null);
        const std::size_t before = loaded_.problems.size();
        set_value(option, value, loaded_.config, loaded_.problems);
        if (loaded_.problems.size() > before)
            failed_.insert(option.path);
        else
            failed_.erase(option.path);
    }

    /// `password` and `password_file` in one file: which one is meant?
    bool given_once(const Option& option, const Place& place) {
        if (given_here_.insert(option.path).second)
            return true;
        problem(place,
                cat(option.path, " and ", option.file_path(), " are both given; keep one of them"));
        return false;
    }

    void set_from_file(const Option& option, const YamlNode& value, const Place& place) {
        if (value.kind == YamlNode::Kind::Null || !given_once(option, place))
            return;
        places_[option.path] = place;
        failed_.insert(option.path);
        if (value.kind != YamlNode::Kind::Scalar || !value.text.starts_with('/'))
            return problem(place,
                           cat(option.file_path(), ": expected the absolute path of a file"));
        auto content = read_file(value.text, max_secret_bytes);
        if (!content)
            return problem(place, cat(option.file_path(), ": ", content.error().text));
        if (content->ends_with('\n'))
            content->pop_back();
        if (content->empty())
            return problem(place, cat(option.file_path(), ": ", value.text, " is empty"));
        if (is_open_to_all(value.text))
            warning(
                place,
                cat(option.file_path(), ": ", value.text, " is open to every user; chmod o= it"));
        failed_.erase(option.path);
        set_value(option,
                  YamlNode{YamlNode::Kind::Scalar, std::move(*content), place, {}, {}},
                  loaded_.config,
                  loaded_.problems);
    }

    /// Lists and maps are written as YAML; everything else is taken as it stands.
    YamlNode
    environment_node(const std::string& path, const std::string& text, const Place& place) {
        const auto* option = find_option(path);
        const bool structured =
            option != nullptr &&
            (std::holds_alternative<Member<Texts>>(option->target) ||
             std::holds_alternative<Member<TextMap>>(option->target) ||
             std::holds_alternative<Member<std::vector<ReservedHugePages>>>(option->target) ||
             std::holds_alternative<Member<std::vector<HugePagePoolPolicy>>>(option->target));
        if (structured)
            return parse_yaml(text, place.source, loaded_.problems);
        return {YamlNode::Kind::Scalar, text, place, {}, {}};
    }

    Place place_of(const std::string& path) const {
        const auto found = places_.find(path);
        if (found != places_.end())
            return found->second;
        return {loaded_.files.empty() ? "" : loaded_.files.front().string(), 0, 0};
    }

    Loaded loaded_;
    std::map<std::string, Place> places_;
    std::set<std::string> failed_;     ///< options whose value was rejected
    std::set<std::string> given_here_; ///< options set by the present source
    bool has_secret_ = false;          ///< the present source holds one
};

std::vector<std::filesystem::path> drop_ins(const std::filesystem::path& file,
                                            std::vector<Problem>& problems) {
    std::vector<std::filesystem::path> found;
    const std::filesystem::path folder = file.string() + ".d";
    std::error_code error;
    if (!std::filesystem::exists(folder, error))
        return found;
    std::filesystem::directory_iterator entries(folder, error);
    for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
        const auto& path = entries->path();
        if (path.extension() == ".yaml" && !path.filename().string().starts_with('.'))
            found.push_back(path);
    }
    if (error)
        problems.push_back({{folder.string(), 0, 0}, cat("cannot be read: ", error.message())});
    std::sort(found.begin(), found.end());
    return found;
}

} // namespace

Environment process_environment() {
    Environment all;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text = *entry;
        const auto equals = text.find('=');
        if (equals != std::string_view::npos && text.starts_with(environment_prefix))
            all.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
    return all;
}

Loaded load(const std::filesystem::path& file,
            const Environment& environment,
            const HostIdentity& identity) {
    Loader loader;
    loader.read_file_at(file);
    std::vector<Problem> problems;
    for (const auto& path : drop_ins(file, problems))
        loader.read_file_at(path);
    loader.read_environment(environment);
    auto loaded = loader.finish(identity);
    loaded.problems.insert(loaded.problems.end(), problems.begin(), problems.end());
    return loaded;
}

Loaded load_texts(const std::vector<std::pair<std::string, std::string>>& texts,
                  const Environment& environment,
                  const HostIdentity& identity) {
    Loader loader;
    for (const auto& [source, text] : texts)
        loader.read_text(source, text);
    loader.read_environment(environment);
    return loader.finish(identity);
}

CheckReport check_report(const Loaded& loaded) {
    CheckReport out;
    out.ok = loaded.ok();
    out.text = report(loaded.problems);
    for (const auto& warning : loaded.warnings)
        out.text += cat("warning: ", warning.str(), '\n');
    std::vector<std::string> names;
    for (const auto& file : loaded.files)
        names.push_back(file.string());
    if (out.ok)
        out.text += cat("configuration is good (", join(names, ", "), ")\n");
    else
        out.text += cat(loaded.problems.size(),
                        loaded.problems.size() == 1 ? " problem" : " problems",
                        " in the configuration; novalet would not start\n");
    return out;
}

} // namespace novalet::config
