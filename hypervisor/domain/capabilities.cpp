#include "hypervisor/domain/capabilities.hpp"

#include "agent/core/text.hpp"

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

/// Nova's name of an architecture; empty for one that its records cannot hold (their field is an
/// enumeration: one unknown name and the conductor refuses the whole ComputeNode).
std::string known_arch(std::string name) {
    static const std::set<std::string> known{
        "alpha",  "armv6",    "armv7l",    "armv7b",     "aarch64",      "cris",    "i686",
        "ia64",   "lm32",     "m68k",      "microblaze", "microblazeel", "mips",    "mipsel",
        "mips64", "mips64el", "openrisc",  "parisc",     "parisc64",     "ppc",     "ppcle",
        "ppc64",  "ppc64le",  "ppcemb",    "s390",       "s390x",        "sh4",     "sh4eb",
        "sparc",  "sparc64",  "unicore32", "x86_64",     "xtensa",       "xtensaeb"};
    if (name == "i386" || name == "i486" || name == "i586")
        name = "i686";
    else if (name == "amd64")
        name = "x86_64";
    return known.count(name) > 0 ? name : std::string();
}

void read_machines(Node arch, HostCapabilities& out) {
    for (const auto& machine : arch.children("machine")) {
        const auto name = text_of(machine);
        if (std::find(out.machines.begin(), out.machines.end(), name) == out.machines.end())
            out.machines.push_back(name);
        if (const auto canonical = machine.attribute("canonical"))
            out.canonical_machines.emplace(name, canonical.as_string());
    }
}

/// A kind of domain may have machine types of its own; the same name is then listed once.
void read_guest(Node guest, HostCapabilities& out) {
    const Node arch = guest.child("arch");
    const auto name = known_arch(arch.attribute("name").as_string());
    for (const auto& kind : arch.children("domain")) {
        if (!name.empty())
            out.guests.push_back(
                {name, kind.attribute("type").as_string(), text_of(guest.child("os_type"))});
        read_machines(kind, out);
    }
    read_machines(arch, out);
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
        if (!cpu.attribute("siblings"))
            continue; // offline on some kernels: no guest can have it
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
    if (!root.child("host"))
        return fail(Code::Remote, "capabilities from libvirt have no <host> element");
    const Node host = root.child("host");
    const Node cpu = host.child("cpu");
    HostCapabilities out;
    out.uuid = text_of(host.child("uuid"));
    out.arch = text_of(cpu.child("arch"));
    out.cpu_model = text_of(cpu.child("model"));
    out.cpu_vendor = text_of(cpu.child("vendor"));
    const Node topology = cpu.child("topology");
    out.sockets = topology.attribute("sockets").as_uint(1);
    out.cores = topology.attribute("cores").as_uint(1);
    out.threads = topology.attribute("threads").as_uint(1);
    if (const Node width = cpu.child("maxphysaddr")) {
        out.max_address_mode = width.attribute("mode").as_string();
        out.max_address_bits = width.attribute("bits").as_uint();
    }
    for (const auto& feature : cpu.children("feature"))
        out.cpu_features.emplace_back(feature.attribute("name").as_string());
    std::ostringstream text;
    cpu.print(text, "", pugi::format_raw);
    out.cpu_xml = text.str();
    for (const auto& cell : host.child("topology").child("cells").children("cell"))
        out.topology.cells.push_back(read_cell(cell));
    for (const auto& guest : root.children("guest"))
        read_guest(guest, out);
    return out;
}

Result<DomainCapabilities> read_domain_capabilities(const std::string& xml) {
    pugi::xml_document document;
    NOVALET_TRY(load(document, xml, "domain capabilities"));
    if (!document.child("domainCapabilities"))
        return fail(Code::Remote, "domain capabilities from libvirt have no <domainCapabilities>");
    const Node root = document.child("domainCapabilities");
    const Node devices = root.child("devices");
    DomainCapabilities out;
    out.arch = text_of(root.child("arch"));
    out.machine = text_of(root.child("machine"));
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

Result<std::vector<std::string>> read_cpu_features(const std::string& xml) {
    pugi::xml_document document;
    NOVALET_TRY(load(document, xml, "CPU baseline"));
    std::vector<std::string> out;
    for (const auto& feature : document.child("cpu").children("feature"))
        if (std::string_view(feature.attribute("policy").as_string()) != "disable")
            out.emplace_back(feature.attribute("name").as_string());
    return out;
}

std::string cpu_of_model(const HostCapabilities& host, const std::string& model) {
    pugi::xml_document document;
    Node cpu = document.append_child("cpu");
    cpu.append_child("arch").text().set(host.arch.c_str());
    cpu.append_child("model").text().set(model.c_str());
    if (!host.cpu_vendor.empty())
        cpu.append_child("vendor").text().set(host.cpu_vendor.c_str());
    std::ostringstream text;
    cpu.print(text, "", pugi::format_raw);
    return text.str();
}

Json cpu_info_document(const HostCapabilities& capabilities, bool with_address_width) {
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
    if (with_address_width && !capabilities.max_address_mode.empty()) {
        Json width = Json::object();
        width.set("mode", capabilities.max_address_mode);
        if (capabilities.max_address_bits > 0)
            width.set("bits", capabilities.max_address_bits);
        out.set("maxphysaddr", std::move(width));
    }
    out.set("features", std::move(features));
    return out;
}

} // namespace novalet::hypervisor::domain
