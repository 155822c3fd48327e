#pragma once
// The parts of build_domain; internal to this folder. Each adds its part to the domain.
#include "hypervisor/domain/build_domain.hpp"
#include "hypervisor/domain/wishes.hpp"

namespace novalet::hypervisor::domain {

struct Building {
    const GuestSpec& guest;
    const DomainOptions& options;
    Wishes wishes;
    Domain& domain;
    std::string folder; ///< <instances_path>/<uuid>/
    [[nodiscard]] bool x86() const { return domain.arch == "x86_64" || domain.arch == "i686"; }
    [[nodiscard]] bool q35() const { return domain.machine.find("q35") != std::string::npos; }
};

/// CPU model, features and topology; quotas, pins, NUMA placement, huge pages, real time.
[[nodiscard]] Result<void> add_cpu(Building& building);
[[nodiscard]] Result<void> add_placement(Building& building);
[[nodiscard]] Result<void> add_disks(Building& building);
[[nodiscard]] Result<void> add_interfaces(Building& building);
/// Console, graphics, input, agent channel, random source, controllers, watchdog, balloon.
[[nodiscard]] Result<void> add_periphery(Building& building);

// Choices that the records of a server keep as well (registered_hardware.hpp).
[[nodiscard]] std::string
cdrom_bus_of(const Wishes& wishes, const std::string& arch, const std::string& machine);
/// The image's wish, else the default; whether the host has it is not asked.
[[nodiscard]] std::string
video_model_of(const Wishes& wishes, const std::string& arch, const DomainOptions& options);
[[nodiscard]] bool has_tablet(const Wishes& wishes, const DomainOptions& options);

} // namespace novalet::hypervisor::domain
