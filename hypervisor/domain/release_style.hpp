#pragma once
// What differs in domain XML between releases of Nova, as data (reference 07 §2.1, 08 §8, 10).
#include <string>
#include <string_view>
#include <vector>

namespace novalet::hypervisor::domain {

struct ReleaseStyle {
    bool rich_metadata = false;      ///< flavor id, extra specs and image in nova:instance
    unsigned iothreads = 0;          ///< with the pins of the emulator
    bool balloon_gives_back = false; ///< autodeflate, freePageReporting
    bool libvirt_picks_uefi = false; ///< firmware="efi" instead of loader and template
    bool unmanaged_taps = false;     ///< managed="no" on taps that the agent of the network made
    bool max_address_width = false;  ///< hw:maxphysaddr_*
    bool packed_rings = false;       ///< hw:virtio_packed_ring
    bool stateless_firmware = false; ///< hw_firmware_stateless
    std::vector<std::string> hyperv; ///< enlightenments of Windows guests besides spinlocks
};

/// By the name of the release profile ("zed", "epoxy", "gazpacho", "hibiscus"). A name that is not
/// known gets the newest style.
[[nodiscard]] ReleaseStyle style_of(std::string_view release);

} // namespace novalet::hypervisor::domain
