#pragma once
// Which traits follow from which facts (reference 05 §4), as tables. Internal to provider.cpp.
#include "scheduler_hooks/placement/provider.hpp"

namespace novalet::scheduler_hooks::placement {

/// HW_CPU_*, HW_ARCH_*: every trait of the table is reported, present or absent.
void report_cpu_features(const HostDescription& host, unsigned release, TraitReport& report);
/// Buses, video, sound, USB and network models, vIOMMU, TPM.
void report_devices(const HostDescription& host, unsigned release, TraitReport& report);
/// What the driver can do, COMPUTE_NODE, the owner.
void report_capabilities(const HostDescription& host, unsigned release, TraitReport& report);

} // namespace novalet::scheduler_hooks::placement
