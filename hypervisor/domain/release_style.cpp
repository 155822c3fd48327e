#include "hypervisor/domain/release_style.hpp"

namespace novalet::hypervisor::domain {

ReleaseStyle style_of(std::string_view release) {
    ReleaseStyle style;
    style.hyperv = {"relaxed",
                    "vapic",
                    "vpindex",
                    "runtime",
                    "synic",
                    "reset",
                    "frequencies",
                    "tlbflush",
                    "ipi"};
    if (release == "zed") {
        // Zed's driver switches these on as well; later releases found that they stand in the way
        // of migration (reenlightenment) and of hosts without VMX (evmcs).
        style.hyperv.emplace_back("reenlightenment");
        style.hyperv.emplace_back("evmcs");
        return style;
    }
    style.max_address_width = true;
    style.packed_rings = true;
    style.stateless_firmware = true;
    if (release == "epoxy")
        return style;
    // gazpacho, hibiscus and what comes after them
    style.libvirt_picks_uefi = true;
    style.unmanaged_taps = true;
    style.rich_metadata = true;
    style.iothreads = 1;
    style.balloon_gives_back = true;
    return style;
}

} // namespace novalet::hypervisor::domain
