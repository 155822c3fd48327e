#include "config/load/value.hpp"

#include "agent/core/text.hpp"
#include "config/load/form.hpp"
#include "config/load/nearest.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>

namespace novalet::config {
namespace {

constexpr std::size_t shown_bytes = 80;

class Setter {
  public:
    Setter(const Option& option,
           const YamlNode& node,
           Config& config,
           std::vector<Problem>& problems)
        : option_(option), node_(node), config_(config), problems_(problems) {}

    void operator()(Member<bool> at) { put_bool(at(config_)); }
    void operator()(Member<std::optional<bool>> at) { put_bool(at(config_)); }
    void operator()(Member<unsigned> at) {
        if (const auto number = whole(std::numeric_limits<unsigned>::max()))
            at(config_) = static_cast<unsigned>(*number);
    }
    void operator()(Member<std::uint64_t> at) {
        if (const auto number = whole(1ULL << 62U))
            at(config_) = *number;
    }
    void operator()(Member<Seconds> at) {
        if (const auto number = whole(1ULL << 32U))
            at(config_) = Seconds(*number);
    }
    void operator()(Member<std::optional<Seconds>> at) {
        if (const auto number = whole(1ULL << 32U))
            at(config_) = Seconds(*number);
    }
    void operator()(Member<Milliseconds> at) {
        if (const auto number = whole(1ULL << 42U))
            at(config_) = Milliseconds(*number);
    }
    void operator()(Member<std::optional<double>> at) {
        if (!is_scalar(node_))
            return;
        const auto number = to_number<double>(trim(node_.text));
        if (!number || !std::isfinite(*number))
            return reject(node_, "it is not a number");
        if (in_range(*number))
            at(config_) = *number;
    }
    void operator()(Member<std::string> at) {
        if (const auto* text = text_of(node_))
            at(config_) = *text;
    }
    void operator()(Member<Secret> at) {
        if (const auto* text = text_of(node_))
            at(config_) = Secret(*text);
    }
    void operator()(Member<Texts> at) {
        if (node_.kind != YamlNode::Kind::List)
            return reject(node_, "it is not a list; write [a, b]");
        Texts texts;
        for (const auto& item : node_.items)
            if (const auto* text = text_of(item))
                texts.push_back(*text);
        if (texts.size() == node_.items.size())
            at(config_) = std::move(texts);
    }
    void operator()(Member<TextMap> at) {
        if (node_.kind != YamlNode::Kind::Map)
            return reject(node_, "it is not a map; write {key: value}");
        TextMap map;
        for (const auto& [key, value] : node_.members) {
            if (!is_known_key(key))
                continue;
            const auto* text = text_of(value);
            if (text != nullptr && !map.emplace(key.text, *text).second)
                reject(key, cat("the key ", key.text, " is there twice"));
        }
        if (map.size() == node_.members.size())
            at(config_) = std::move(map);
    }
    void operator()(Member<std::vector<ReservedHugePages>> at) {
        if (node_.kind != YamlNode::Kind::List)
            return reject(node_, "it is not a list; write [{node: 0, size: 2 MiB, count: 64}]");
        std::vector<ReservedHugePages> all;
        for (const auto& item : node_.items)
            if (const auto pages = huge_pages(item))
                all.push_back(*pages);
        if (all.size() == node_.items.size())
            at(config_) = std::move(all);
    }
    void operator()(Member<std::vector<HugePagePoolPolicy>> at) {
        if (node_.kind != YamlNode::Kind::List)
            return reject(node_,
                          "it is not a list; write [{node: 0, size: 2 MiB, min: 0, max: 4096, "
                          "spare: 512}]");
        std::vector<HugePagePoolPolicy> all;
        for (const auto& item : node_.items)
            if (const auto pool = page_pool(item))
                all.push_back(*pool);
        if (all.size() == node_.items.size())
            at(config_) = std::move(all);
    }
    void operator()(const WordMember& at) {
        if (!is_scalar(node_))
            return;
        if (!at.set(config_, node_.text))
            reject_word(node_, option_.words);
    }

  private:
    void reject(const YamlNode& node, const std::string& reason) {
        const bool shown = node.kind == YamlNode::Kind::Scalar && !option_.secret();
        problems_.push_back({node.place,
                             cat(option_.path,
                                 shown ? cat(": '", cut_utf8(node.text, shown_bytes), "'") : "",
                                 ": ",
                                 reason,
                                 "; expected ",
                                 option_.expectation())});
    }
    void reject_word(const YamlNode& node, const std::vector<std::string>& words) {
        const auto nearest = nearest_word(node.text, words);
        reject(node,
               nearest.empty() ? "this word is not known"
                               : cat("this word is not known, did you mean '", nearest, "'?"));
    }
    bool is_scalar(const YamlNode& node) {
        if (node.kind == YamlNode::Kind::Scalar)
            return true;
        reject(node,
               node.kind == YamlNode::Kind::Null  ? "it is empty"
               : node.kind == YamlNode::Kind::Map ? "it is a map"
                                                  : "it is a list");
        return false;
    }
    bool in_range(double number) {
        if (number >= option_.min && (option_.max <= 0 || number <= option_.max))
            return true;
        reject(node_, "it is out of range");
        return false;
    }
    template <class T> void put_bool(T& into) {
        if (!is_scalar(node_))
            return;
        const auto value = to_bool(node_.text);
        if (!value)
            return reject(node_, "it is neither true nor false");
        into = *value;
    }
    std::optional<std::uint64_t> whole(std::uint64_t largest) {
        if (!is_scalar(node_))
            return std::nullopt;
        const auto number = amount(node_.text, option_.unit);
        if (!number) {
            reject(node_, number.error().text);
            return std::nullopt;
        }
        if (*number > largest) {
            reject(node_, "it is too large");
            return std::nullopt;
        }
        if (!in_range(static_cast<double>(*number)))
            return std::nullopt;
        return *number;
    }
    /// The text of a scalar that fits words and form; null after a problem.
    const std::string* text_of(const YamlNode& node) {
        if (!is_scalar(node))
            return nullptr;
        const auto& words = option_.words;
        if (!words.empty() && std::find(words.begin(), words.end(), node.text) == words.end()) {
            reject_word(node, words);
            return nullptr;
        }
        if (const auto good = check_form(option_.form, node.text); !good) {
            reject(node, good.error().text);
            return nullptr;
        }
        return &node.text;
    }
    bool is_known_key(const YamlNode& key) {
        if (!is_scalar(key))
            return false;
        const auto& keys = option_.keys;
        if (keys.empty() || std::find(keys.begin(), keys.end(), key.text) != keys.end())
            return true;
        reject_word(key, keys);
        return false;
    }
    std::optional<ReservedHugePages> huge_pages(const YamlNode& node) {
        if (node.kind != YamlNode::Kind::Map) {
            reject(node, "an element is not a map");
            return std::nullopt;
        }
        std::optional<std::uint64_t> cell;
        std::optional<std::uint64_t> size;
        std::optional<std::uint64_t> count;
        bool good = true;
        for (const auto& [key, value] : node.members) {
            auto* into = key.text == "node"    ? &cell
                         : key.text == "size"  ? &size
                         : key.text == "count" ? &count
                                               : nullptr;
            const auto number = amount(value.text, key.text == "size" ? Unit::KiB : Unit::None);
            if (into == nullptr)
                reject(key, "keys are node, size and count");
            else if (*into)
                reject(key, cat("the key ", key.text, " is there twice"));
            else if (!number)
                reject(value, number.error().text);
            else
                *into = *number;
            good = good && into != nullptr && number.has_value();
        }
        if (!good)
            return std::nullopt;
        if (!cell || !size || !count) {
            reject(node, "node, size and count are all needed");
            return std::nullopt;
        }
        if (*cell > 1023 || !std::has_single_bit(*size) || *size < 4 || *count > (1ULL << 40U)) {
            reject(node, "node is at most 1023, size a power of two of at least 4 KiB");
            return std::nullopt;
        }
        return ReservedHugePages{static_cast<unsigned>(*cell), *size, *count};
    }

    std::optional<HugePagePoolPolicy> page_pool(const YamlNode& node) {
        if (node.kind != YamlNode::Kind::Map) {
            reject(node, "an element is not a map");
            return std::nullopt;
        }
        std::map<std::string, std::uint64_t> values;
        bool good = true;
        for (const auto& [key, value] : node.members) {
            const bool known = key.text == "node" || key.text == "size" || key.text == "min" ||
                               key.text == "max" || key.text == "spare";
            const auto number = amount(value.text, key.text == "size" ? Unit::KiB : Unit::None);
            if (!known)
                reject(key, "keys are node, size, min, max and spare");
            else if (!number)
                reject(value, number.error().text);
            else if (!values.emplace(key.text, *number).second)
                reject(key, cat("the key ", key.text, " is there twice"));
            else
                continue;
            good = false;
        }
        if (!good)
            return std::nullopt;
        if (values.count("node") == 0 || values["size"] == 0 || values.count("max") == 0) {
            reject(node, "node, size and max are all needed");
            return std::nullopt;
        }
        // Counts beyond any memory would overflow where they are added up.
        constexpr std::uint64_t most = std::uint64_t{1} << 40;
        if (values["node"] > 1023 || values["max"] > most || values["min"] > values["max"] ||
            values["spare"] > most) {
            reject(node, "node is at most 1023, and min at most max");
            return std::nullopt;
        }
        return HugePagePoolPolicy{static_cast<unsigned>(values["node"]),
                                  values["size"],
                                  values["min"],
                                  values["max"],
                                  values["spare"]};
    }

    const Option& option_;
    const YamlNode& node_;
    Config& config_;
    std::vector<Problem>& problems_;
};

struct Default {
    Config& config;
    template <class T> void operator()(Member<T> at) const {
        Config fresh;
        at(config) = at(fresh);
    }
    void operator()(const WordMember& at) const { at.set(config, at.get(Config{})); }
};

} // namespace

void set_value(const Option& option,
               const YamlNode& node,
               Config& config,
               std::vector<Problem>& problems) {
    if (node.kind == YamlNode::Kind::Null)
        std::visit(Default{config}, option.target);
    else
        std::visit(Setter(option, node, config, problems), option.target);
}

} // namespace novalet::config
