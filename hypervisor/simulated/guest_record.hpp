#pragma once
// What a simulated host remembers of one guest, and its form on disk.
#include "agent/core/json.hpp"
#include "hypervisor/hypervisor.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace novalet::hypervisor::simulated {

struct GuestRecord {
    InstanceUuid uuid;
    std::string name;
    PowerState state = PowerState::NoState;
    std::uint64_t memory_mib = 0;
    unsigned vcpus = 0;
    std::uint64_t disk_gib = 0;  ///< of all its disks; 0 when they were given up
    bool saved = false;          ///< suspended: memory is kept
    bool claimed = false;        ///< its build has not ended
    std::int64_t defined_at = 0; ///< seconds since 1970
    std::vector<std::string> ports;
    std::string console; ///< at most 100 KiB

    [[nodiscard]] GuestInfo info() const;
    /// Appends one line; the oldest bytes go when there is too much.
    void say(const std::string& line);
};

/// A new guest of this spec that does not run yet.
[[nodiscard]] GuestRecord record_of(const GuestSpec& guest);

/// Version 1 of the file <state folder>/<uuid>.json.
[[nodiscard]] Json to_json(const GuestRecord& guest);
/// An error names the member that is missing or wrong.
[[nodiscard]] Result<GuestRecord> guest_record_from_json(const Json& document);

} // namespace novalet::hypervisor::simulated
