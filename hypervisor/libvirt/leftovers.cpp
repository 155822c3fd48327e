// What of a server's kind is on this host, for those who know which servers it should have.
#include "agent/core/text.hpp"
#include "hypervisor/libvirt/libvirt_hypervisor.hpp"

#include <ctime>
#include <set>

namespace novalet::hypervisor::libvirt {
namespace {

Seconds since(WallTime then) {
    const auto age = std::chrono::duration_cast<Seconds>(system_clock().wall() - then);
    return std::max(age, Seconds(0));
}

/// Since "2026-11-21 04:28:56" in UTC; 0 for a text that is no time.
Seconds since(const std::string& utc_text) {
    std::tm parts{};
    const char* end = strptime(utc_text.c_str(), "%Y-%m-%d %H:%M:%S", &parts);
    if (end == nullptr || *end != '\0')
        return Seconds(0);
    return since(std::chrono::system_clock::from_time_t(timegm(&parts)));
}

/// Parts of the ids of the ports that these domains have, running or not.
std::set<std::string> ports_of(const std::vector<domain::LiveDomain>& domains) {
    std::set<std::string> out;
    for (const auto& domain : domains)
        for (const auto& interface : domain.interfaces)
            for (const auto* name : {&interface.target, &interface.bridge})
                if (auto part = network::port_part(*name); !part.empty())
                    out.insert(std::move(part));
    return out;
}

Failure in_use(const std::string& name) {
    return fail(Code::Conflict, cat(name, " belongs to a domain and is kept"));
}

} // namespace

Result<std::vector<domain::LiveDomain>> LibvirtHypervisor::definitions() {
    NOVALET_ASSIGN(const auto guests, connection_.guests());
    std::vector<domain::LiveDomain> out;
    for (const auto& guest : guests) {
        NOVALET_ASSIGN(auto one, definition(guest.uuid));
        if (one) // else it went meanwhile
            out.push_back(*std::move(one));
    }
    return out;
}

Seconds LibvirtHypervisor::seen_for(const std::string& device) {
    const auto now = system_clock().monotonic();
    const std::lock_guard lock(mutex_);
    const auto first = stray_devices_.emplace(device, now).first->second;
    return std::chrono::duration_cast<Seconds>(now - first);
}

/// Files and devices are listed before the domains: what a build makes in between is of a domain
/// that is listed, or it is not listed at all.
Result<std::vector<Leftover>> LibvirtHypervisor::leftovers() {
    const auto devices = network::port_devices();
    NOVALET_ASSIGN(const auto folders, files_.folders());
    NOVALET_ASSIGN(const auto domains, definitions());
    std::vector<Leftover> out;
    std::set<std::string> with_domain;
    for (const auto& domain : domains) {
        with_domain.insert(domain.uuid);
        if (domain.made_by_nova)
            out.push_back({Leftover::Kind::Domain,
                           InstanceUuid(domain.uuid),
                           domain.name,
                           since(domain.metadata_time),
                           domain.id != -1,
                           false});
    }
    for (const auto& folder : folders)
        if (!with_domain.contains(folder.uuid.str()))
            out.push_back({Leftover::Kind::Folder,
                           folder.uuid,
                           folder.path.string(),
                           since(folder.changed),
                           false,
                           folder.claimed});
    const auto ports = ports_of(domains);
    std::set<std::string> stray;
    for (const auto& device : devices)
        if (!ports.contains(network::port_part(device))) {
            stray.insert(device);
            out.push_back({Leftover::Kind::Device, {}, device, seen_for(device), false, false});
        }
    const std::lock_guard lock(mutex_);
    std::erase_if(stray_devices_, [&](const auto& seen) { return !stray.contains(seen.first); });
    return out;
}

Result<void> LibvirtHypervisor::sweep(const Leftover& leftover) {
    if (leftover.kind == Leftover::Kind::Device) {
        NOVALET_ASSIGN(const auto domains, definitions());
        if (ports_of(domains).contains(network::port_part(leftover.name)))
            return in_use(leftover.name);
        return plugger_.remove_stray(leftover.name);
    }
    NOVALET_ASSIGN(const auto domain, definition(leftover.uuid));
    if (leftover.kind == Leftover::Kind::Domain) {
        if (domain && !domain->made_by_nova)
            return in_use(leftover.name);
        return remove_domain(leftover.uuid);
    }
    if (domain)
        return in_use(leftover.name);
    return files_.remove(leftover.uuid);
}

} // namespace novalet::hypervisor::libvirt
