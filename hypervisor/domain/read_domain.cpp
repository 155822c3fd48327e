#include "agent/core/text.hpp"
#include "hypervisor/domain/domain.hpp"

#include <pugixml.hpp>
#include <sstream>

namespace novalet::hypervisor::domain {
namespace {

using Node = pugi::xml_node;

std::string value(Node node, const char* attribute) {
    return node.attribute(attribute).as_string();
}

std::uint64_t in_kib(Node node) {
    const auto amount = node.text().as_ullong();
    const std::string unit = node.attribute("unit").as_string("KiB");
    if (unit == "b" || unit == "bytes")
        return amount >> 10U;
    if (unit == "M" || unit == "MiB")
        return amount << 10U;
    if (unit == "G" || unit == "GiB")
        return amount << 20U;
    return amount;
}

/// file=, dev=, name= or a path: whatever the type of the disk calls its source.
std::string source_of(Node disk) {
    const Node source = disk.child("source");
    for (const char* name : {"file", "dev", "name", "path"})
        if (const auto attribute = source.attribute(name))
            return attribute.as_string();
    return {};
}

/// The prefix of Nova's elements is free in XML; the local name counts.
Node nova_child(Node parent, const std::string& local) {
    for (const auto& node : parent.children()) {
        const std::string name = node.name();
        if (name == local || name.ends_with(":" + local))
            return node;
    }
    return {};
}

void read_devices(Node devices, LiveDomain& out) {
    for (const auto& graphics : devices.children("graphics")) {
        out.has_graphics = true;
        if (value(graphics, "type") != "vnc" || out.vnc_port != 0)
            continue;
        if (const int port = graphics.attribute("port").as_int(); port > 0)
            out.vnc_port = static_cast<unsigned>(port);
        out.vnc_listen = value(graphics, "listen");
    }
    for (const auto& disk : devices.children("disk")) {
        out.disks.push_back({disk.attribute("device").as_string("disk"),
                             value(disk.child("driver"), "type"),
                             source_of(disk),
                             value(disk.child("target"), "dev"),
                             value(disk.child("target"), "bus"),
                             disk.child("serial").text().as_string()});
        if (const auto file = disk.child("source").attribute("file"))
            out.disk_files.emplace_back(file.as_string());
    }
    for (const auto& interface : devices.children("interface"))
        out.interfaces.push_back({value(interface, "type"),
                                  value(interface.child("mac"), "address"),
                                  value(interface.child("target"), "dev"),
                                  value(interface.child("source"), "bridge")});
    out.video_model = value(devices.child("video").child("model"), "type");
    for (const auto& input : devices.children("input"))
        out.has_tablet = out.has_tablet || value(input, "type") == "tablet";
    for (const char* kind : {"serial", "console"})
        if (out.console_log.empty())
            out.console_log = value(devices.child(kind).child("log"), "file");
}

Result<Node> parse(const std::string& xml, pugi::xml_document& document) {
    const auto parsed = document.load_buffer(xml.data(), xml.size());
    const Node root = document.child("domain");
    if (!parsed || !root)
        return fail(Code::DataLoss,
                    cat("domain XML from libvirt cannot be read at byte ",
                        parsed.offset,
                        ": ",
                        parsed ? "no <domain> element" : parsed.description()));
    return root;
}

} // namespace

Result<std::string> interface_xml(const std::string& domain_xml, const std::string& mac) {
    pugi::xml_document document;
    NOVALET_ASSIGN(const Node root, parse(domain_xml, document));
    for (const auto& interface : root.child("devices").children("interface")) {
        if (lower(value(interface.child("mac"), "address")) != lower(mac))
            continue;
        std::ostringstream out;
        interface.print(out, "", pugi::format_raw);
        return out.str();
    }
    return std::string();
}

Result<LiveDomain> read_domain(const std::string& xml) {
    pugi::xml_document document;
    NOVALET_ASSIGN(const Node root, parse(xml, document));
    LiveDomain out;
    out.type = value(root, "type");
    out.id = root.attribute("id").as_int(-1);
    out.uuid = root.child("uuid").text().as_string();
    out.name = root.child("name").text().as_string();
    out.memory_kib = in_kib(root.child("memory"));
    out.vcpus = root.child("vcpu").text().as_uint();
    const Node os = root.child("os");
    out.machine = value(os.child("type"), "machine");
    out.loader = os.child("loader").text().as_string();
    out.nvram = os.child("nvram").text().as_string();
    const Node instance = nova_child(root.child("metadata"), "instance");
    out.made_by_nova = static_cast<bool>(instance);
    out.metadata_name = nova_child(instance, "name").text().as_string();
    out.metadata_time = nova_child(instance, "creationTime").text().as_string();
    read_devices(root.child("devices"), out);
    return out;
}

} // namespace novalet::hypervisor::domain
