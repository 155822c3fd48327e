#include "hypervisor/domain/capabilities.hpp"

#include "agent/core/text.hpp"
#include "hypervisor/domain/domain.hpp"

#include <algorithm>
#include <pugixml.hpp>
#include <set>
#include <sstream>

namespace novalet::hypervisor::domain {
namespace {

namespace model = scheduler_hooks::model;
using Node = pugi::xml_node;

Result<void> load(pugi::xml_document& document, const std::string& xml, const char* what) {
    const auto parsed = document.load_buffer(xml.data(), xml.size());
    if (parsed)
        return {};
    return fail(Code::Remote, cat(what, " from libvirt cannot be read: ", parsed.description()));
}

std::string text_of(Node node) {
    return node.text().as_string();
}

std::vector<std::string> values(Node parent, const char* name) {
    std::vector<std::string> out;
    for (const auto& entry : parent.children("enum"))
        if (std::string(entry.attribute("name").as_string()) == name)
            for (const auto& value : entry.children("value"))
                out.push_back(text_of(value));
    return out;
}

std::uint64_t in_kib(Node node) {
    const auto amount = node.text().as_ullong();
    const std::string unit = node.attribute("unit").as_string("KiB");
    if (unit == "MiB")
        return amount << 10U;
    if (unit == "GiB")
        return amount << 20U;
    return amount;
}

model::CpuSet siblings_of(const std::string& text, unsigned cpu) {
    const auto parsed = model::CpuSet::parse(text);
    return parsed && !parsed->empty() ? *parsed : model::CpuSet{cpu};
}

model::HostCell read_cell(Node node) {
    model::HostCell cell;
    cell.id = node.attribute("id").as_int();
    cell.memory_mib = static_cast<std::int64_t>(in_kib(node.child("memory")) >> 10U);
    for (const auto& pages : node.children("pages")) {
        model::PagePool pool;
        pool.size_kib = pages.attribute("size").as_ullong();
        pool.total = static_cast<std::int64_t>(pages.text().as_ullong());
        cell.mempages.push_back(pool);
    }
    std::sort(cell.mempages.begin(), cell.mempages.end(), [](const auto& a, const auto& b) {
        return a.size_kib < b.size_kib;
    });
    for (const auto& sibling : node.child("distances").children("sibling"))
        cell.distances.push_back(sibling.attribute("value").as_uint());
    std::set<int> sockets;
    std::set<unsigned> seen;
    for (const auto& cpu : node.child("cpus").children("cpu")) {
        const auto id = cpu.attribute("id").as_uint();
        cell.cpuset.insert(id);
        if (cpu.attribute("socket_id"))
            sockets.insert(cpu.attribute("socket_id").as_int());
        const auto siblings = siblings_of(cpu.attribute("siblings").as_string(), id);
        if (seen.insert(siblings.front()).second)
            cell.siblings.push_back(siblings);
    }
    if (sockets.size() == 1)
        cell.socket = *sockets.begin();
    return cell;
}

} // namespace

Result<HostCapabilities> read_capabilities(const std::string& xml) {
    pugi::xml_document document;
    NOVALET_TRY(load(document, xml, "capabilities"));
    const Node root = document.child("capabilities");
    const Node host = root.child("host");
    const Node cpu = host.child("cpu");
    HostCapabilities out;
    out.arch = text_of(cpu.child("arch"));
    out.cpu_model = text_of(cpu.child("model"));
    out.cpu_vendor = text_of(cpu.child("vendor"));
    const Node topology = cpu.child("topology");
    out.sockets = topology.attribute("sockets").as_uint(1);
    out.cores = topology.attribute("cores").as_uint(1);
    out.threads = topology.attribute("threads").as_uint(1);
    for (const auto& feature : cpu.children("feature"))
        out.cpu_features.emplace_back(feature.attribute("name").as_string());
    std::ostringstream text;
    cpu.print(text, "", pugi::format_raw);
    out.cpu_xml = text.str();
    for (const auto& cell : host.child("topology").child("cells").children("cell"))
        out.topology.cells.push_back(read_cell(cell));
    for (const auto& guest : root.children("guest")) {
        const std::string name = guest.child("arch").attribute("name").as_string();
        for (const auto& kind : guest.child("arch").children("domain"))
            out.guests.push_back(
                {name, kind.attribute("type").as_string(), text_of(guest.child("os_type"))});
    }
    return out;
}

Result<DomainCapabilities> read_domain_capabilities(const std::string& xml) {
    pugi::xml_document document;
    NOVALET_TRY(load(document, xml, "domain capabilities"));
    const Node root = document.child("domainCapabilities");
    const Node devices = root.child("devices");
    DomainCapabilities out;
    out.disk_buses = values(devices.child("disk"), "bus");
    out.video_models = values(devices.child("video"), "modelType");
    out.tpm_models = values(devices.child("tpm"), "model");
    out.tpm_versions = values(devices.child("tpm"), "backendVersion");
    const auto secure = values(root.child("os").child("loader"), "secure");
    out.secure_loader = std::find(secure.begin(), secure.end(), "yes") != secure.end();
    out.sev = std::string(root.child("features").child("sev").attribute("supported").as_string()) ==
              "yes";
    return out;
}

std::vector<std::string> read_cpu_features(const std::string& xml) {
    std::vector<std::string> out;
    pugi::xml_document document;
    if (!document.load_buffer(xml.data(), xml.size()))
        return out;
    for (const auto& feature : document.child("cpu").children("feature"))
        out.emplace_back(feature.attribute("name").as_string());
    return out;
}

Json cpu_info_document(const HostCapabilities& capabilities) {
    Json topology = Json::object();
    topology.set("cells", std::max<std::size_t>(1, capabilities.topology.cells.size()));
    topology.set("sockets", capabilities.sockets);
    topology.set("cores", capabilities.cores);
    topology.set("threads", capabilities.threads);
    Json features = Json::array();
    for (const auto& name : capabilities.cpu_features)
        features.push_back(name);
    Json out = Json::object();
    out.set("arch", capabilities.arch);
    out.set("model", capabilities.cpu_model);
    out.set("vendor", capabilities.cpu_vendor);
    out.set("topology", std::move(topology));
    out.set("features", std::move(features));
    return out;
}

LiveDomain read_domain(const std::string& xml) {
    LiveDomain out;
    pugi::xml_document document;
    if (!document.load_buffer(xml.data(), xml.size()))
        return out;
    const Node devices = document.child("domain").child("devices");
    for (const auto& graphics : devices.children("graphics"))
        if (std::string(graphics.attribute("type").as_string()) == "vnc")
            if (const int port = graphics.attribute("port").as_int(); port > 0)
                out.vnc_port = static_cast<unsigned>(port);
    for (const auto& disk : devices.children("disk"))
        if (const auto file = disk.child("source").attribute("file"))
            out.disk_files.emplace_back(file.as_string());
    out.console_log = devices.child("serial").child("log").attribute("file").as_string();
    return out;
}

} // namespace novalet::hypervisor::domain
