#pragma once
// What libvirt says about the host and about guests it can run, read from its XML documents.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"
#include "scheduler_hooks/model/host_topology.hpp"

#include <string>
#include <vector>

namespace novalet::hypervisor::domain {

struct HostCapabilities {
    std::string arch;
    std::string cpu_model;
    std::string cpu_vendor;
    unsigned sockets = 1, cores = 1, threads = 1; ///< per NUMA cell, as libvirt gives them
    std::vector<std::string> cpu_features;
    std::string cpu_xml; ///< <cpu> element, for baselines
    /// Cells with CPUs (all in cpuset), siblings, sockets, memory MiB, page totals, distances.
    scheduler_hooks::model::HostTopology topology;
    std::vector<std::vector<std::string>> guests; ///< [arch, hv_type, vm_mode]
};
[[nodiscard]] Result<HostCapabilities> read_capabilities(const std::string& xml);

struct DomainCapabilities {
    std::vector<std::string> disk_buses;
    std::vector<std::string> video_models;
    std::vector<std::string> tpm_models;
    std::vector<std::string> tpm_versions;
    bool secure_loader = false;
    bool sev = false;
};
[[nodiscard]] Result<DomainCapabilities> read_domain_capabilities(const std::string& xml);

/// Feature names of a <cpu> document (baselineCPU's answer).
[[nodiscard]] std::vector<std::string> read_cpu_features(const std::string& xml);

/// The document of ComputeNode.cpu_info (reference 04 §7.4).
[[nodiscard]] Json cpu_info_document(const HostCapabilities& capabilities);

} // namespace novalet::hypervisor::domain
