#include "config/load/yaml.hpp"

#include "agent/core/text.hpp"

#include <yaml-cpp/yaml.h>

namespace novalet::config {
namespace {

Place place_of(const YAML::Mark& mark, const std::string& source) {
    if (mark.is_null())
        return {source, 1, 1};
    return {source, mark.line + 1, mark.column + 1};
}

class Converter {
  public:
    explicit Converter(const std::string& source) : source_(source) {}

    YamlNode convert(const YAML::Node& node, std::size_t depth = 0) {
        YamlNode out;
        out.place = place_of(node.Mark(), source_);
        if (depth > max_yaml_depth)
            throw YAML::ParserException(node.Mark(),
                                        cat("deeper than ", max_yaml_depth, " levels"));
        if (++count_ > max_yaml_nodes)
            throw YAML::ParserException(node.Mark(), cat("more than ", max_yaml_nodes, " values"));
        switch (node.Type()) {
        case YAML::NodeType::Undefined:
        case YAML::NodeType::Null:
            break;
        case YAML::NodeType::Scalar:
            out.kind = YamlNode::Kind::Scalar;
            out.text = node.Scalar();
            break;
        case YAML::NodeType::Sequence:
            out.kind = YamlNode::Kind::List;
            for (const auto& item : node)
                out.items.push_back(convert(item, depth + 1));
            break;
        case YAML::NodeType::Map:
            out.kind = YamlNode::Kind::Map;
            for (const auto& member : node)
                out.members.emplace_back(convert(member.first, depth + 1),
                                         convert(member.second, depth + 1));
            break;
        }
        return out;
    }

  private:
    const std::string& source_;
    std::size_t count_ = 0;
};

} // namespace

YamlNode
parse_yaml(std::string_view text, const std::string& source, std::vector<Problem>& problems) {
    const auto reject = [&](const Place& place, const std::string& what) {
        problems.push_back({place, what});
        YamlNode nothing;
        nothing.place = {source, 1, 1};
        return nothing;
    };
    if (text.size() > max_yaml_bytes)
        return reject({source, 0, 0},
                      cat("is longer than ", max_yaml_bytes, " bytes; this is no configuration"));
    if (const auto at = text.find('\0'); at != std::string_view::npos)
        return reject({source, 0, 0}, cat("has a NUL at byte ", at, "; this is no text file"));
    try {
        const auto documents = YAML::LoadAll(std::string(text));
        if (documents.empty())
            return YamlNode{YamlNode::Kind::Null, {}, {source, 1, 1}, {}, {}};
        if (documents.size() > 1)
            return reject(place_of(documents[1].Mark(), source),
                          "a second document begins here; a file holds one");
        return Converter(source).convert(documents[0]);
    } catch (const YAML::Exception& error) {
        return reject(place_of(error.mark, source), cat("not YAML: ", error.msg));
    }
}

} // namespace novalet::config
