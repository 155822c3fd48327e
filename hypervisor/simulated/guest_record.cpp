#include "hypervisor/simulated/guest_record.hpp"

#include "agent/core/text.hpp"

#include <array>

namespace novalet::hypervisor::simulated {
namespace {

constexpr std::int64_t version = 1;
constexpr std::size_t console_bytes = 100 * 1024; // as much as nova-compute answers with
constexpr std::array states{PowerState::NoState,
                            PowerState::Running,
                            PowerState::Paused,
                            PowerState::Shutdown,
                            PowerState::Crashed,
                            PowerState::Suspended};

Result<std::uint64_t> natural(const Json& document, const char* key) {
    if (!document[key].is_integer() || document[key].as_int() < 0)
        return fail(Code::DataLoss, cat("'", key, "' is no natural number"));
    return static_cast<std::uint64_t>(document[key].as_int());
}

Result<PowerState> state_from(const Json& value) {
    for (const PowerState state : states)
        if (value.is_integer() && value.as_int() == static_cast<int>(state))
            return state;
    return fail(Code::DataLoss, cat("'state' is ", value.dump(), ", which is no power state"));
}

} // namespace

GuestInfo GuestRecord::info() const {
    return GuestInfo{uuid, name, state, memory_mib, vcpus};
}

void GuestRecord::say(const std::string& line) {
    console += line;
    console += '\n';
    if (console.size() > console_bytes)
        console.erase(0, console.size() - console_bytes);
}

GuestRecord record_of(const GuestSpec& guest) {
    GuestRecord record;
    record.uuid = guest.uuid;
    record.name = guest.name;
    record.state = PowerState::Shutdown;
    record.memory_mib = guest.flavor.memory_mib;
    record.vcpus = guest.flavor.vcpus;
    record.disk_gib =
        guest.flavor.root_gib + guest.flavor.ephemeral_gib + (guest.flavor.swap_mib + 1023) / 1024;
    return record;
}

Json to_json(const GuestRecord& guest) {
    Json out = Json::object();
    out.set("version", version);
    out.set("uuid", guest.uuid.str());
    out.set("name", guest.name);
    out.set("state", static_cast<int>(guest.state));
    out.set("memory_mib", guest.memory_mib);
    out.set("vcpus", guest.vcpus);
    out.set("disk_gib", guest.disk_gib);
    out.set("saved", guest.saved);
    out.set("claimed", guest.claimed);
    out.set("defined_at", guest.defined_at);
    Json ports = Json::array();
    for (const auto& port : guest.ports)
        ports.push_back(port);
    out.set("ports", std::move(ports));
    // A guest may write any bytes to its console; the document holds text only.
    out.set("console", to_utf8(guest.console));
    return out;
}

Result<GuestRecord> guest_record_from_json(const Json& document) {
    if (document["version"].as_int() != version)
        return fail(Code::DataLoss,
                    cat("'version' is ",
                        document["version"].dump(),
                        "; this program reads version ",
                        version));
    GuestRecord guest;
    guest.uuid = InstanceUuid(document["uuid"].as_string());
    if (!is_uuid(guest.uuid.str()))
        return fail(Code::DataLoss, cat("'uuid' is ", document["uuid"].dump(), ", no uuid"));
    guest.name = document["name"].as_string();
    NOVALET_ASSIGN(guest.state, state_from(document["state"]));
    NOVALET_ASSIGN(guest.memory_mib, natural(document, "memory_mib"));
    NOVALET_ASSIGN(const auto vcpus, natural(document, "vcpus"));
    guest.vcpus = static_cast<unsigned>(vcpus);
    NOVALET_ASSIGN(guest.disk_gib, natural(document, "disk_gib"));
    guest.saved = document["saved"].as_bool();
    guest.claimed = document["claimed"].as_bool(); // these two came later
    guest.defined_at = document["defined_at"].as_int();
    for (const auto& port : document["ports"].items())
        guest.ports.push_back(port.as_string());
    guest.console = document["console"].as_string();
    return guest;
}

} // namespace novalet::hypervisor::simulated
