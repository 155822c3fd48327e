#pragma once
// XML compared by meaning: order of attributes and of elements does not count, nor does white space
// around text. Two documents mean the same when their canonical texts are equal.
#include "agent/core/text.hpp"

#include <algorithm>
#include <pugixml.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace novalet::tests {

inline std::string canonical_node(const pugi::xml_node& node, const std::string& indent) {
    std::vector<std::string> attributes;
    for (const auto& attribute : node.attributes())
        attributes.push_back(cat(' ', attribute.name(), "=\"", attribute.value(), '"'));
    std::sort(attributes.begin(), attributes.end());
    std::vector<std::string> children;
    for (const auto& child : node.children())
        if (child.type() == pugi::node_element)
            children.push_back(canonical_node(child, indent + "  "));
    std::sort(children.begin(), children.end());
    return cat(indent,
               node.name(),
               join(attributes, ""),
               ' ',
               trim(node.text().as_string()),
               '\n',
               join(children, ""));
}

/// Throws when the text is no XML: then the test is wrong.
inline std::string canonical_xml(const std::string& xml) {
    pugi::xml_document document;
    if (const auto parsed = document.load_buffer(xml.data(), xml.size()); !parsed)
        throw std::runtime_error(cat("no XML: ", parsed.description(), "\n", xml));
    return canonical_node(document.document_element(), "");
}

/// Canonical text of the first element that an XPath names; empty when there is none.
inline std::string canonical_part(const std::string& xml, const std::string& path) {
    pugi::xml_document document;
    if (const auto parsed = document.load_buffer(xml.data(), xml.size()); !parsed)
        throw std::runtime_error(cat("no XML: ", parsed.description(), "\n", xml));
    const auto found = document.select_node(path.c_str());
    return found ? canonical_node(found.node(), "") : std::string();
}

} // namespace novalet::tests
