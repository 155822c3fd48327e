// Facts about the host for the audit and the traits (reference 04 §7.4, 05 §4).
#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/libvirt/libvirt_hypervisor.hpp"
#include "hypervisor/topology/uptime.hpp"

#include <algorithm>
#include <fcntl.h>
#include <set>
#include <sys/statvfs.h>
#include <unistd.h>

namespace novalet::hypervisor::libvirt {
namespace {

namespace model = scheduler_hooks::model;

void merge(std::vector<std::string>& into, const std::vector<std::string>& more) {
    std::set<std::string> all(into.begin(), into.end());
    all.insert(more.begin(), more.end());
    into.assign(all.begin(), all.end());
}

/// Can files in this folder be read past the page cache? tmpfs and some network file systems say
/// no; then cache mode "none" does not start a guest.
bool supports_direct_io(const std::filesystem::path& folder) {
    const auto probe = folder / cat(".directio.test.", getpid());
    const Fd file(open(probe.c_str(), O_CREAT | O_WRONLY | O_DIRECT | O_CLOEXEC, 0600));
    const bool made = static_cast<bool>(file);
    std::error_code ignored;
    std::filesystem::remove(probe, ignored);
    return made;
}

/// A cgroup controller for CPU time, of version 1 or 2.
bool has_cpu_controller() {
    constexpr std::size_t max_bytes = 1U << 20U;
    if (const auto mounts = read_file("/proc/self/mounts", max_bytes))
        for (const auto& line : split(*mounts, '\n')) {
            const auto fields = split(line, ' ');
            if (fields.size() < 4 || fields[2] != "cgroup")
                continue;
            const auto options = split(fields[3], ',');
            if (std::find(options.begin(), options.end(), "cpu") != options.end())
                return true;
        }
    const auto controllers = read_file("/sys/fs/cgroup/cgroup.controllers", max_bytes);
    if (!controllers)
        return false;
    const auto names = split(trim(*controllers), ' ');
    return std::find(names.begin(), names.end(), "cpu") != names.end();
}

/// The model of guests that are not told one, by architecture.
std::string default_model(const std::string& arch) {
    if (arch == "x86_64")
        return "qemu64";
    if (arch == "i686")
        return "qemu32";
    return arch == "ppc64le" ? "POWER8" : "";
}

std::string version_text(std::int64_t version) {
    return cat(version / 1000000, '.', version / 1000 % 1000, '.', version % 1000);
}

} // namespace

LibvirtHypervisor::LibvirtHypervisor(Options options, ProcessRunner& processes)
    : options_(std::move(options)),
      connection_(ConnectionOptions{options_.uri, options_.stop_event_delay}),
      cache_(options_.cache, processes), files_(options_.files, cache_, processes),
      plugger_(processes) {}

LibvirtHypervisor::~LibvirtHypervisor() {
    connection_.stop();
}

void LibvirtHypervisor::on_link(LinkListener listener) {
    link_ = std::move(listener);
}

Result<void> LibvirtHypervisor::start(std::function<void(const GuestEvent&)> sink) {
    NOVALET_TRY(cache_.prepare());
    NOVALET_TRY(connection_.start(std::move(sink), link_));
    NOVALET_ASSIGN(const auto known, this->known());
    if (known->libvirt_version < options_.minimum_libvirt || known->version < options_.minimum_qemu)
        return fail(Code::Unsupported,
                    cat("libvirt ",
                        version_text(known->libvirt_version),
                        " with QEMU ",
                        version_text(known->version),
                        " is too old; this release needs libvirt ",
                        version_text(options_.minimum_libvirt),
                        " and QEMU ",
                        version_text(options_.minimum_qemu)));
    // Wrong CPU sets stop the start, not the first audit.
    NOVALET_ASSIGN(const auto kernel, topology::read_kernel_state());
    NOVALET_TRY(topology::host_topology(known->host, kernel, options_.topology));
    return {};
}

void LibvirtHypervisor::stop() {
    connection_.stop();
}

/// Features that guests' CPUs have, for the traits (reference 05 §4).
Result<void> LibvirtHypervisor::ask_cpu_features(Known& known) {
    auto& options = known.domain;
    const auto expand = [&](const std::string& cpu_xml) -> Result<std::vector<std::string>> {
        const auto answer = connection_.baseline_cpu(cpu_xml);
        if (!answer && answer.error().code == Code::Unsupported)
            return std::vector<std::string>();
        if (!answer)
            return Failure(answer.error());
        return domain::read_cpu_features(*answer);
    };
    // The host's list leaves out what its model implies and names what no guest gets: the baseline
    // replaces it, as in Nova. aarch64's is empty.
    if (!known.host.cpu_model.empty() && known.host.arch != "aarch64") {
        NOVALET_ASSIGN(const auto all, expand(known.host.cpu_xml));
        if (!all.empty())
            known.host.cpu_features = all;
    }
    const auto& features = known.host.cpu_features;
    options.intel_virtualization =
        std::find(features.begin(), features.end(), "vmx") != features.end();
    if (options.cpu_mode == "none") {
        if (const auto model = default_model(known.host.arch); !model.empty()) {
            NOVALET_ASSIGN(known.trait_features, expand(domain::cpu_of_model(known.host, model)));
        }
        return {};
    }
    if (options.cpu_mode == "custom") {
        for (const auto& model : options.cpu_models) {
            NOVALET_ASSIGN(auto of_model, expand(domain::cpu_of_model(known.host, model)));
            merge(known.trait_features, of_model);
            options.cpu_model_features[model] = std::move(of_model);
        }
    } else {
        known.trait_features = features;
    }
    std::vector<std::string> extra;
    for (const auto& flag : options.cpu_extra_flags)
        if (!flag.starts_with('-'))
            extra.push_back(lower(flag.starts_with('+') ? flag.substr(1) : flag));
    merge(known.trait_features, extra);
    return {};
}

/// The two families of machine types differ in buses and firmware; what any of them can is told.
Result<void> LibvirtHypervisor::ask_guest_capabilities(Known& known) {
    std::set<std::string> machines{known.domain.machine_type};
    for (const char* name : {"pc", "q35", "virt"})
        if (known.host.canonical_machines.count(name) > 0)
            machines.insert(name);
    if (const auto own = known.domain.machine_types.find(known.host.arch);
        own != known.domain.machine_types.end())
        machines.insert(own->second);
    for (const auto& machine : machines) {
        const auto answer =
            connection_.domain_capabilities(known.host.arch, machine, known.domain.virt_type);
        if (!answer && answer.error().code == Code::Unavailable)
            return Failure(answer.error());
        if (!answer) { // a QEMU without this machine type
            log::debug("no domain capabilities",
                       {{"machine", machine}, {"error", answer.error().text}});
            continue;
        }
        NOVALET_ASSIGN(const auto guest, domain::read_domain_capabilities(*answer));
        merge(known.guest.disk_buses, guest.disk_buses);
        merge(known.guest.video_models, guest.video_models);
        merge(known.guest.tpm_models, guest.tpm_models);
        merge(known.guest.tpm_versions, guest.tpm_versions);
        known.guest.secure_loader = known.guest.secure_loader || guest.secure_loader;
        known.guest.sev = known.guest.sev || guest.sev;
    }
    return {};
}

void LibvirtHypervisor::complete_domain_options(Known& known) const {
    auto& domain = known.domain;
    domain.firmware = domain::read_firmware();
    // Older ones refuse to be told of secure boot when they are to pick the firmware (tried with
    // 9.0.0); naming the file from QEMU's descriptors comes to the same.
    constexpr std::int64_t picks_by_features = 10000000;
    if (known.libvirt_version < picks_by_features)
        domain.style.libvirt_picks_uefi = false;
    domain.video_models = known.guest.video_models;
    domain.machines = known.host.machines;
    domain.canonical_machines = known.host.canonical_machines;
    domain.cpu_control = has_cpu_controller();
    domain.shared_cpus = options_.topology.shared_cpus;
    domain.instances_path = options_.files.instances_path.string();
    if (domain.disk_cache == "none" && !supports_direct_io(options_.files.instances_path)) {
        domain.disk_cache = "writeback";
        log::info("disks use cache mode writeback: the file system has no O_DIRECT",
                  {{"path", domain.instances_path}});
    }
}

Result<LibvirtHypervisor::Known> LibvirtHypervisor::ask() {
    Known out;
    out.domain = options_.domain;
    out.generation = connection_.generation();
    NOVALET_ASSIGN(out.hostname, connection_.host_name());
    NOVALET_ASSIGN(out.type, connection_.type());
    NOVALET_ASSIGN(out.version, connection_.hypervisor_version());
    NOVALET_ASSIGN(out.libvirt_version, connection_.library_version());
    NOVALET_ASSIGN(const auto xml, connection_.capabilities());
    NOVALET_ASSIGN(out.host, domain::read_capabilities(xml));
    if (!out.host.arch.empty())
        out.domain.arch = out.host.arch;
    NOVALET_TRY(ask_cpu_features(out));
    NOVALET_TRY(ask_guest_capabilities(out));
    complete_domain_options(out);
    return out;
}

/// Asked once per connection: a libvirtd that was replaced brought its connection down.
Result<std::shared_ptr<const LibvirtHypervisor::Known>> LibvirtHypervisor::known() {
    std::shared_ptr<const Known> before;
    {
        const std::lock_guard lock(mutex_);
        before = known_;
    }
    if (before && before->generation == connection_.generation())
        return before;
    NOVALET_ASSIGN(auto fresh, ask());
    if (before && before->hostname != fresh.hostname) {
        // Placement and the database know this node by its first name.
        log::error("libvirt's host name changed while the agent runs; the first one stays",
                   {{"first", before->hostname}, {"now", fresh.hostname}});
        fresh.hostname = before->hostname;
    }
    auto shared = std::make_shared<const Known>(std::move(fresh));
    const std::lock_guard lock(mutex_);
    known_ = shared;
    return shared;
}

Result<HostFacts> LibvirtHypervisor::facts() {
    NOVALET_ASSIGN(const auto guests, connection_.guests()); // first: notices a lost connection
    NOVALET_ASSIGN(const auto known, this->known());
    HostFacts out;
    out.hostname = known->hostname;
    out.type = known->type;
    out.version = known->version;
    out.libvirt_version = known->libvirt_version;
    out.arch = known->host.arch;
    out.cpu_info = domain::cpu_info_document(known->host, options_.domain.style.max_address_width);
    out.supported_instances = Json::array();
    for (const auto& kind : known->host.guests)
        out.supported_instances.push_back(Json::Array{kind[0], kind[1], kind[2]});
    out.cpu_features = known->trait_features;
    out.disk_buses = known->guest.disk_buses;
    out.video_models = known->guest.video_models;
    out.tpm_models = known->guest.tpm_models;
    out.tpm_versions = known->guest.tpm_versions;
    out.secure_boot = known->guest.secure_loader;
    out.amd_sev = known->guest.sev;
    out.hyperthreading = known->host.topology.hyperthreading();

    NOVALET_ASSIGN(out.memory_mib, connection_.memory_mib());
    NOVALET_ASSIGN(const auto kernel, topology::read_kernel_state());
    out.online_cpus = static_cast<unsigned>(kernel.online.size());
    NOVALET_ASSIGN(out.topology, topology::host_topology(known->host, kernel, options_.topology));

    struct statvfs disk {};
    if (statvfs(options_.files.instances_path.c_str(), &disk) != 0)
        return fail(Code::Unavailable,
                    cat("the file system of ",
                        options_.files.instances_path.string(),
                        " cannot be measured: ",
                        errno_text(errno)));
    out.disk_total_gib = (disk.f_blocks * disk.f_frsize) >> 30U;
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
    return topology::uptime_text("/", topology::logged_in_users());
}

} // namespace novalet::hypervisor::libvirt
