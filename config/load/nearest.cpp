#include "config/load/nearest.hpp"

#include "agent/core/text.hpp"
#include "config/schema/option.hpp"

#include <algorithm>
#include <set>

namespace novalet::config {
namespace {

constexpr std::size_t longest_key = 200; ///< more is not a misspelling

std::size_t tolerance(std::string_view text) {
    return std::max<std::size_t>(2, text.size() / 4);
}

std::string last_part(std::string_view path) {
    return std::string(path.substr(path.rfind('.') + 1)); // npos + 1 is 0
}

/// Paths of all options, their files for secrets, and all sections.
const std::set<std::string>& known_paths() {
    static const std::set<std::string> all = [] {
        std::set<std::string> paths;
        for (const auto& option : options()) {
            paths.insert(option.path);
            if (option.secret())
                paths.insert(option.file_path());
            for (auto dot = option.path.find('.'); dot != std::string::npos;
                 dot = option.path.find('.', dot + 1))
                paths.insert(option.path.substr(0, dot));
        }
        return paths;
    }();
    return all;
}

} // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before(b.size() + 1);
    std::vector<std::size_t> previous(b.size() + 1);
    std::vector<std::size_t> current(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j)
        previous[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        current[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            current[j] = std::min({replaced, previous[j] + 1, current[j - 1] + 1});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                current[j] = std::min(current[j], before[j - 2] + 1);
        }
        before.swap(previous);
        previous.swap(current);
    }
    return previous[b.size()];
}

std::string nearest_option(std::string_view path) {
    if (path.size() > longest_key)
        return {};
    const std::string wanted = lower(path);
    const std::string name = last_part(wanted);
    std::string best;
    std::size_t best_distance = tolerance(name) + 1;
    for (const auto& known : known_paths()) {
        const std::size_t distance = edit_distance(wanted, known);
        if (distance < best_distance) {
            best = known;
            best_distance = distance;
        }
    }
    if (!best.empty() && best_distance <= 1)
        return best;
    // The right name in the wrong place says more than a similar path.
    for (const auto& known : known_paths())
        if (last_part(known) == name)
            return known;
    return best;
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& words) {
    std::string best;
    std::size_t best_distance = tolerance(word) + 1;
    if (word.size() > longest_key)
        return best;
    for (const auto& known : words) {
        const std::size_t distance = edit_distance(lower(word), lower(known));
        if (distance < best_distance && distance < known.size()) {
            best = known;
            best_distance = distance;
        }
    }
    return best;
}

} // namespace novalet::config
