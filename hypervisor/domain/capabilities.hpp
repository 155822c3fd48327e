#pragma once
// What libvirt says about the host and about guests it can run, read from its XML documents.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"
#include "scheduler_hooks/model/host_topology.hpp"

#include <array>
#include <map>
#include <string>
#include <vector>

namespace novalet::hypervisor::domain {

struct HostCapabilities {
    std::string uuid; ///< of the machine (SMBIOS, or host_uuid of libvirtd.conf)
    std::string arch;
    std::string cpu_model;
    std::string cpu_vendor;
    unsigned sockets = 1, cores = 1, threads = 1; ///< per NUMA cell, as libvirt gives them
    std::vector<std::string> cpu_features;
    std::string cpu_xml;          ///< <cpu> element, for baselines
    std::string max_address_mode; ///< passthrough, emulate; empty = not said
    unsigned max_address_bits = 0;
    /// Cells with CPUs (all in cpuset), siblings, sockets, memory MiB, page totals, distances.
    scheduler_hooks::model::HostTopology topology;
    /// [arch, hv_type, vm_mode] in libvirt's order; architectures that Nova does not know are left
    /// out.
    std::vector<std::array<std::string, 3>> guests;
    std::vector<std::string> machines;                     ///< every machine type, each once
    std::map<std::string, std::string> canonical_machines; ///< pc → pc-i440fx-7.2
};
[[nodiscard]] Result<HostCapabilities> read_capabilities(const std::string& xml);

struct DomainCapabilities {
    std::string arch;
    std::string machine; ///< canonical
    std::vector<std::string> disk_buses;
    std::vector<std::string> video_models;
    std::vector<std::string> tpm_models;
    std::vector<std::string> tpm_versions;
    bool secure_loader = false;
    bool sev = false;
};
[[nodiscard]] Result<DomainCapabilities> read_domain_capabilities(const std::string& xml);

/// Feature names of a <cpu> document (baselineCPU's answer).
[[nodiscard]] Result<std::vector<std::string>> read_cpu_features(const std::string& xml);
/// <cpu> document of a named model on this host, for baselines.
[[nodiscard]] std::string cpu_of_model(const HostCapabilities& host, const std::string& model);

/// The document of ComputeNode.cpu_info (reference 04 §7.4); the width of physical addresses is
/// part of it from Epoxy on.
[[nodiscard]] Json cpu_info_document(const HostCapabilities& capabilities,
                                     bool with_address_width = false);

} // namespace novalet::hypervisor::domain
