#include "scheduler_hooks/placement/trait_rules.hpp"

#include "agent/core/text.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace novalet::scheduler_hooks::placement {
namespace {

/// A row of a table: the fact's name, the trait's ending, the first release that reports it.
struct Row {
    std::string_view fact;
    std::string_view trait;
    unsigned since = 0;
};

// libvirt's spelling of CPU features → ending behind HW_CPU_X86_.
constexpr std::array cpu_features{Row{"3dnow", "3DNOW"},
                                  Row{"abm", "ABM"},
                                  Row{"aes", "AESNI"},
                                  Row{"amx-bf16", "AMXBF16", hibiscus_service},
                                  Row{"amx-int8", "AMXINT8", hibiscus_service},
                                  Row{"amx-tile", "AMXTILE", hibiscus_service},
                                  Row{"avx", "AVX"},
                                  Row{"avx2", "AVX2"},
                                  Row{"avx512-vpopcntdq", "AVX512VPOPCNTDQ"},
                                  Row{"avx512bitalg", "AVX512BITALG"},
                                  Row{"avx512bw", "AVX512BW"},
                                  Row{"avx512cd", "AVX512CD"},
                                  Row{"avx512dq", "AVX512DQ"},
                                  Row{"avx512er", "AVX512ER"},
                                  Row{"avx512f", "AVX512F"},
                                  Row{"avx512ifma", "AVX512IFMA"},
                                  Row{"avx512pf", "AVX512PF"},
                                  Row{"avx512vbmi", "AVX512VBMI"},
                                  Row{"avx512vbmi2", "AVX512VBMI2"},
                                  Row{"avx512vl", "AVX512VL"},
                                  Row{"avx512vnni", "AVX512VNNI"},
                                  Row{"bmi1", "BMI"},
                                  Row{"bmi2", "BMI2"},
                                  Row{"f16c", "F16C"},
                                  Row{"fma", "FMA3"},
                                  Row{"fma4", "FMA4"},
                                  Row{"gfni", "AVX512GFNI"},
                                  Row{"mmx", "MMX"},
                                  Row{"mpx", "MPX"},
                                  Row{"pclmuldq", "CLMUL"},
                                  Row{"sha-ni", "SHA"},
                                  Row{"sse", "SSE"},
                                  Row{"sse2", "SSE2"},
                                  Row{"sse3", "SSE3"},
                                  Row{"sse4.1", "SSE41"},
                                  Row{"sse4.2", "SSE42"},
                                  Row{"sse4a", "SSE4A"},
                                  Row{"ssse3", "SSSE3"},
                                  Row{"svm", "SVM"},
                                  Row{"svm", "AMD_SVM"},
                                  Row{"tbm", "TBM"},
                                  Row{"vaes", "AVX512VAES"},
                                  Row{"vmx", "VMX"},
                                  Row{"vmx", "INTEL_VMX"},
                                  Row{"vpclmulqdq", "AVX512VPCLMULQDQ"},
                                  Row{"xop", "XOP"}};

constexpr std::array disk_buses{Row{"virtio", "VIRTIO"},
                                Row{"scsi", "SCSI"},
                                Row{"ide", "IDE"},
                                Row{"usb", "USB"},
                                Row{"fdc", "FDC"},
                                Row{"sata", "SATA"},
                                Row{"xen", "XEN"},
                                Row{"uml", "UML"},
                                Row{"lxc", "LXC"}};

constexpr std::array video_models{Row{"vga", "VGA"},
                                  Row{"cirrus", "CIRRUS"},
                                  Row{"vmvga", "VMVGA"},
                                  Row{"xen", "XEN"},
                                  Row{"qxl", "QXL"},
                                  Row{"virtio", "VIRTIO"},
                                  Row{"gop", "GOP"},
                                  Row{"none", "NONE"},
                                  Row{"bochs", "BOCHS"}};

constexpr std::array sound_models{Row{"sb16", "SB16", hibiscus_service},
                                  Row{"es1370", "ES1370", hibiscus_service},
                                  Row{"pcspk", "PCSPK", hibiscus_service},
                                  Row{"ac97", "AC97", hibiscus_service},
                                  Row{"ich6", "ICH6", hibiscus_service},
                                  Row{"ich9", "ICH9", hibiscus_service},
                                  Row{"usb", "USB", hibiscus_service},
                                  Row{"virtio", "VIRTIO", hibiscus_service}};

// What QEMU can emulate by virt type; the rest of the table is reported as absent.
struct VifRow {
    std::string_view trait;
    bool kvm = true;
    bool qemu = true;
    unsigned since = 0;
};
constexpr std::array vif_models{VifRow{"VIRTIO"},
                                VifRow{"NE2K_PCI"},
                                VifRow{"PCNET"},
                                VifRow{"RTL8139"},
                                VifRow{"E1000"},
                                VifRow{"E1000E"},
                                VifRow{"LAN9118", false, true},
                                VifRow{"SPAPR_VLAN"},
                                VifRow{"VMXNET3"},
                                VifRow{"IGB", true, true, epoxy_service}};

bool contains(const std::vector<std::string>& list, std::string_view word) {
    return std::find(list.begin(), list.end(), word) != list.end();
}

void put(TraitReport& report, std::string trait, bool present) {
    (present ? report.present : report.absent).insert(std::move(trait));
}

template <std::size_t N>
void put_table(TraitReport& report,
               std::string_view prefix,
               const std::array<Row, N>& rows,
               const std::vector<std::string>& facts,
               unsigned release) {
    for (const Row& row : rows)
        if (release >= row.since)
            put(report, cat(prefix, row.trait), contains(facts, row.fact));
}

/// "x86_64" → "X86_64", "tpm-tis" → "TPM_TIS".
std::string upper_word(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const bool letter = c >= 'a' && c <= 'z';
        const bool keep = letter || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
        out += letter ? static_cast<char>(c - 'a' + 'A') : (keep ? c : '_');
    }
    return out;
}

void report_vif_models(const HostDescription& host, unsigned release, TraitReport& report) {
    // igb came with libvirt 9.3 and QEMU 8.0.
    const bool igb = host.libvirt_version >= 9003000 && host.qemu_version >= 8000000;
    for (const VifRow& row : vif_models) {
        if (release < row.since)
            continue;
        bool present = false;
        if (host.virt_type == "kvm")
            present = row.kvm;
        else if (host.virt_type == "qemu")
            present = row.qemu;
        if (row.trait == "IGB")
            present = present && igb;
        put(report, cat("COMPUTE_NET_VIF_MODEL_", row.trait), present);
    }
}

void report_tpm(const HostDescription& host, unsigned release, TraitReport& report) {
    const auto version = [&](std::string_view text) {
        return host.tpm_enabled && (release < epoxy_service || contains(host.tpm_versions, text));
    };
    put(report, "COMPUTE_SECURITY_TPM_1_2", version("1.2"));
    put(report, "COMPUTE_SECURITY_TPM_2_0", version("2.0"));
    if (release >= epoxy_service) {
        put(report,
            "COMPUTE_SECURITY_TPM_TIS",
            host.tpm_enabled && contains(host.tpm_models, "tpm-tis"));
        put(report,
            "COMPUTE_SECURITY_TPM_CRB",
            host.tpm_enabled && contains(host.tpm_models, "tpm-crb"));
    }
    if (release >= hibiscus_service)
        for (const std::string_view who : {"user", "host", "deployment"})
            put(report,
                cat("COMPUTE_SECURITY_TPM_SECRET_SECURITY_", upper_word(who)),
                host.tpm_enabled && contains(host.tpm_secret_security, who));
}

void report_images(const HostDescription& host, TraitReport& report) {
    const auto type = [&](std::string_view name, bool supported) {
        put(report,
            cat("COMPUTE_IMAGE_TYPE_", upper_word(name)),
            supported && host.excluded_image_types.count(std::string(name)) == 0);
    };
    for (const std::string_view name : {"aki", "ami", "ari", "iso", "raw"})
        type(name, true);
    type("qcow2", host.qcow2_images);
    type("ploop", host.virt_type == "parallels");
    for (const std::string_view name : {"vdi", "vhd", "vhdx", "vmdk"})
        type(name, false);
}

} // namespace

void report_cpu_features(const HostDescription& host, unsigned release, TraitReport& report) {
    put_table(report, "HW_CPU_X86_", cpu_features, host.cpu_features, release);
    put(report, "HW_CPU_HYPERTHREADING", host.hyperthreading);
    put(report, "HW_CPU_X86_AMD_SEV", host.amd_sev);
    if (release >= hibiscus_service) {
        put(report, "HW_CPU_X86_AMD_SEV_ES", host.amd_sev_es);
        put(report, "HW_CPU_X86_AMD_SEV_SNP", host.amd_sev_snp);
        put(report, "HW_CPU_X86_INTEL_TDX", host.intel_tdx);
    }
    if (release >= epoxy_service) {
        put(report, cat("HW_ARCH_", upper_word(host.arch)), true);
        for (const std::string& arch : host.emulated_archs)
            put(report, cat("COMPUTE_ARCH_", upper_word(arch)), true);
    }
}

void report_devices(const HostDescription& host, unsigned release, TraitReport& report) {
    put_table(report, "COMPUTE_STORAGE_BUS_", disk_buses, host.disk_buses, release);
    put_table(report, "COMPUTE_GRAPHICS_MODEL_", video_models, host.video_models, release);
    put_table(report, "COMPUTE_SOUND_MODEL_", sound_models, host.sound_models, release);
    if (release >= hibiscus_service)
        for (const std::string& model : host.usb_models)
            put(report, cat("COMPUTE_USB_MODEL_", upper_word(model)), true);
    report_vif_models(host, release, report);
    report_tpm(host, release, report);
    const bool x86 = host.arch == "x86_64" || host.arch == "i686";
    const bool arm = host.arch == "aarch64";
    put(report, "COMPUTE_VIOMMU_MODEL_INTEL", x86);
    put(report, "COMPUTE_VIOMMU_MODEL_SMMUV3", arm);
    // virtio-iommu came with libvirt 8.3.
    put(report, "COMPUTE_VIOMMU_MODEL_VIRTIO", (x86 || arm) && host.libvirt_version >= 8003000);
    put(report, "COMPUTE_VIOMMU_MODEL_AUTO", x86 || arm);
    if (release >= epoxy_service)
        put(report, "COMPUTE_NET_VIRTIO_PACKED", true);
}

void report_capabilities(const HostDescription& host, unsigned release, TraitReport& report) {
    for (const char* always : {"COMPUTE_NODE",
                               "COMPUTE_NET_ATTACH_INTERFACE",
                               "COMPUTE_DEVICE_TAGGING",
                               "COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG",
                               "COMPUTE_VOLUME_ATTACH_WITH_TAG",
                               "COMPUTE_VOLUME_EXTEND",
                               "COMPUTE_VOLUME_MULTI_ATTACH",
                               "COMPUTE_TRUSTED_CERTS",
                               "COMPUTE_ACCELERATORS",
                               "COMPUTE_RESCUE_BFV",
                               "COMPUTE_SOCKET_PCI_NUMA_AFFINITY"})
        put(report, always, true);
    put(report, "COMPUTE_SAME_HOST_COLD_MIGRATE", false);
    put(report, "COMPUTE_SECURITY_UEFI_SECURE_BOOT", host.secure_boot);
    put(report, "COMPUTE_REMOTE_MANAGED_PORTS", host.remote_managed_ports);
    report_images(host, report);
    if (release >= epoxy_service) {
        put(report, "COMPUTE_EPHEMERAL_ENCRYPTION", false);
        put(report, "COMPUTE_EPHEMERAL_ENCRYPTION_LUKS", false);
        // maxphysaddr came with libvirt 8.7.
        const bool address_space = host.libvirt_version >= 8007000;
        put(report, "COMPUTE_ADDRESS_SPACE_PASSTHROUGH", address_space);
        put(report, "COMPUTE_ADDRESS_SPACE_EMULATED", address_space);
        put(report, "COMPUTE_SECURITY_STATELESS_FIRMWARE", host.stateless_firmware);
        put(report, "COMPUTE_STORAGE_VIRTIO_FS", host.virtio_fs);
        put(report, "COMPUTE_MEM_BACKING_FILE", host.mem_backing_file);
    }
    if (release >= hibiscus_service)
        put(report, "OWNER_NOVA", true);
}

} // namespace novalet::scheduler_hooks::placement
