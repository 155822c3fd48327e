#include "config/load/problem.hpp"

#include "agent/core/text.hpp"

namespace novalet::config {

std::string Place::str() const {
    if (line == 0)
        return source;
    return cat(source, ':', line, ':', column);
}

std::string Problem::str() const {
    return place.source.empty() ? text : cat(place.str(), ": ", text);
}

std::string report(const std::vector<Problem>& problems) {
    std::string out;
    for (const auto& problem : problems)
        out += problem.str() + '\n';
    return out;
}

} // namespace novalet::config
