// Facts about the host for the audit and the traits (reference 04 §7.4, 05 §4).
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/domain/capabilities.hpp"
#include "hypervisor/libvirt/libvirt_hypervisor.hpp"

#include <algorithm>
#include <set>
#include <sys/statvfs.h>

namespace novalet::hypervisor::libvirt {
namespace {

namespace model = scheduler_hooks::model;

/// Nova Zed's minimum (reference 07 §1).
constexpr std::int64_t minimum_libvirt = 6000000;
constexpr std::int64_t minimum_qemu = 4002000;

void merge(std::vector<std::string>& into, const std::vector<std::string>& more) {
    std::set<std::string> all(into.begin(), into.end());
    all.insert(more.begin(), more.end());
    into.assign(all.begin(), all.end());
}

Result<model::CpuSet>
configured(const std::string& text, const char* key, const model::CpuSet& online) {
    NOVALET_ASSIGN(auto cpus, model::CpuSet::parse(text));
    if (!cpus.is_subset_of(online))
        return fail(Code::InvalidArgument,
                    cat(key,
                        " names CPUs ",
                        (cpus - online).str(),
                        ", which are offline or do not exist; online are ",
                        online.str()));
    return cpus;
}

} // namespace

LibvirtHypervisor::LibvirtHypervisor(Options options, ProcessRunner& processes)
    : options_(std::move(options)), processes_(processes), connection_(options_.uri),
      cache_(options_.cache, processes), files_(options_.files, cache_, processes),
      plugger_(processes) {}

LibvirtHypervisor::~LibvirtHypervisor() = default;

Result<void> LibvirtHypervisor::start(std::function<void(const GuestEvent&)> sink) {
    NOVALET_TRY(cache_.prepare());
    NOVALET_TRY(connection_.start(std::move(sink)));
    NOVALET_ASSIGN(auto fixed, read_fixed());
    if (fixed.libvirt_version < minimum_libvirt || fixed.version < minimum_qemu)
        return fail(Code::Unsupported,
                    cat("libvirt ",
                        fixed.libvirt_version,
                        " with QEMU ",
                        fixed.version,
                        " is too old; needed are ",
                        minimum_libvirt,
                        " and ",
                        minimum_qemu));
    const std::lock_guard lock(mutex_);
    fixed_ = std::move(fixed);
    return {};
}

void LibvirtHypervisor::stop() {
    connection_.stop();
}

Result<LibvirtHypervisor::Fixed> LibvirtHypervisor::read_fixed() {
    Fixed out;
    NOVALET_ASSIGN(out.hostname, connection_.host_name());
    NOVALET_ASSIGN(out.type, connection_.type());
    NOVALET_ASSIGN(out.version, connection_.hypervisor_version());
    NOVALET_ASSIGN(out.libvirt_version, connection_.library_version());
    NOVALET_ASSIGN(const auto xml, connection_.capabilities());
    NOVALET_ASSIGN(auto host, domain::read_capabilities(xml));
    out.arch = host.arch;
    // Nova lists what the model implies as well: the expanded baseline of the host's own CPU.
    if (const auto expanded = connection_.baseline_cpu(host.cpu_xml)) {
        NOVALET_ASSIGN(const auto implied, domain::read_cpu_features(*expanded));
        merge(host.cpu_features, implied);
    }
    out.cpu_features = host.cpu_features;
    out.cpu_info = domain::cpu_info_document(host);
    out.supported_instances = Json::array();
    for (const auto& guest : host.guests)
        out.supported_instances.push_back(Json::Array{guest[0], guest[1], guest[2]});
    for (const char* machine : {"pc", "q35"}) {
        const auto answer =
            connection_.domain_capabilities(host.arch, machine, options_.domain.virt_type);
        if (!answer) { // a QEMU without this machine type
            log::debug("no domain capabilities", {{"machine", machine}});
            continue;
        }
        NOVALET_ASSIGN(const auto guest, domain::read_domain_capabilities(*answer));
        merge(out.guest.disk_buses, guest.disk_buses);
        merge(out.guest.video_models, guest.video_models);
        merge(out.guest.tpm_models, guest.tpm_models);
        merge(out.guest.tpm_versions, guest.tpm_versions);
        out.guest.secure_loader = out.guest.secure_loader || guest.secure_loader;
        out.guest.sev = out.guest.sev || guest.sev;
    }
    return out;
}

/// Cells as libvirt sees them now, with the CPUs that configuration gives to guests.
Result<model::HostTopology> LibvirtHypervisor::topology() {
    NOVALET_ASSIGN(const auto xml, connection_.capabilities());
    NOVALET_ASSIGN(auto host, domain::read_capabilities(xml));
    NOVALET_ASSIGN(const auto online_text, connection_.online_cpus());
    NOVALET_ASSIGN(const auto online, model::CpuSet::parse(online_text));
    model::CpuSet shared = online;
    model::CpuSet dedicated = online;
    if (!options_.shared_cpus.empty() || !options_.dedicated_cpus.empty()) {
        NOVALET_ASSIGN(shared, configured(options_.shared_cpus, "compute.cpu_shared_set", online));
        NOVALET_ASSIGN(dedicated,
                       configured(options_.dedicated_cpus, "compute.cpu_dedicated_set", online));
    }
    for (auto& cell : host.topology.cells) {
        const model::CpuSet all = cell.cpuset;
        cell.cpuset = all & shared;
        cell.pcpuset = all & dedicated;
        for (auto& siblings : cell.siblings)
            siblings &= online;
        std::erase_if(cell.siblings, [](const auto& siblings) { return siblings.empty(); });
        if (const auto reserved = options_.reserved_pages.find(cell.id);
            reserved != options_.reserved_pages.end())
            for (auto& pool : cell.mempages)
                if (const auto pages = reserved->second.find(pool.size_kib);
                    pages != reserved->second.end())
                    pool.reserved = pages->second;
    }
    return host.topology;
}

Result<HostFacts> LibvirtHypervisor::facts() {
    std::optional<Fixed> fixed;
    {
        const std::lock_guard lock(mutex_);
        fixed = fixed_;
    }
    if (!fixed) {
        NOVALET_ASSIGN(fixed, read_fixed());
    }
    HostFacts out;
    out.hostname = fixed->hostname;
    out.type = fixed->type;
    out.version = fixed->version;
    out.cpu_info = fixed->cpu_info;
    out.supported_instances = fixed->supported_instances;
    out.cpu_features = fixed->cpu_features;
    out.disk_buses = fixed->guest.disk_buses;
    out.video_models = fixed->guest.video_models;
    out.tpm_models = fixed->guest.tpm_models;
    out.tpm_versions = fixed->guest.tpm_versions;
    out.secure_boot = fixed->guest.secure_loader;
    out.amd_sev = fixed->guest.sev;
    out.arch = fixed->arch;
    out.libvirt_version = fixed->libvirt_version;
    NOVALET_ASSIGN(const auto node, connection_.node_info());
    out.memory_mib = node.memory_mib;
    NOVALET_ASSIGN(const auto online, connection_.online_cpus());
    out.online_cpus = static_cast<unsigned>(split(online, ',').size());
    NOVALET_ASSIGN(out.topology, topology());
    out.hyperthreading = out.topology.hyperthreading();
    struct statvfs disk {};
    if (statvfs(options_.files.instances_path.c_str(), &disk) != 0)
        return fail(
            Code::Unavailable,
            cat("file system of ", options_.files.instances_path.string(), " cannot be measured"));
    out.disk_total_gib = (disk.f_blocks * disk.f_frsize) >> 30U;
    NOVALET_ASSIGN(const auto guests, connection_.guests());
    std::uint64_t growth = 0;
    for (const auto& guest : guests)
        growth += files_.growth(guest.uuid);
    const auto free = static_cast<std::int64_t>(disk.f_bavail * disk.f_frsize);
    out.disk_available_least_gib = (free - static_cast<std::int64_t>(growth)) / (1LL << 30U);
    NOVALET_ASSIGN(out.uptime, uptime());
    return out;
}

Result<std::vector<GuestInfo>> LibvirtHypervisor::list() {
    return connection_.guests();
}

Result<GuestInfo> LibvirtHypervisor::info(const InstanceUuid& uuid) {
    return connection_.info(uuid);
}

Result<std::string> LibvirtHypervisor::uptime() {
    ProcessRequest request;
    request.argv = {"uptime"};
    NOVALET_ASSIGN(const auto outcome, processes_.check(request));
    return outcome.out;
}

} // namespace novalet::hypervisor::libvirt
