// Inventory and traits against what a Zed nova-compute sent for the same host (virt_type qemu,
// libvirt 9.0, secure boot firmware, no TPM, no hyper-threading).
#include "agent/core/file.hpp"
#include "scheduler_hooks/placement/provider.hpp"

#include <gtest/gtest.h>

namespace novalet::scheduler_hooks::placement {
namespace {

Json recording() {
    const auto text =
        read_file(NOVALET_SOURCE_DIR "/tests/contract/data/placement/zed_provider.json", 1U << 20U);
    EXPECT_TRUE(text);
    const auto document = Json::parse(*text);
    EXPECT_TRUE(document);
    return *document;
}

HostDescription recorded_host() {
    HostDescription host;
    host.shared_cpus = 2;
    host.memory_mib = 8794;
    host.disk_gib = 251;
    host.virt_type = "qemu";
    host.cpu_features = {"avx512bw",
                         "avx512vl",
                         "mmx",
                         "f16c",
                         "vaes",
                         "gfni",
                         "avx512cd",
                         "avx512dq",
                         "bmi1",
                         "bmi2",
                         "avx512f",
                         "avx512ifma",
                         "avx512vnni",
                         "vpclmulqdq",
                         "fma",
                         "avx2",
                         "avx512-vpopcntdq",
                         "avx512bitalg",
                         "avx512vbmi",
                         "sse4.2",
                         "sse",
                         "aes",
                         "avx",
                         "sse2",
                         "abm",
                         "pclmuldq",
                         "sse4a",
                         "avx512vbmi2",
                         "sha-ni",
                         "sse4.1",
                         "ssse3",
                         "pni",
                         "topoext"};
    host.disk_buses = {"fdc", "ide", "sata", "scsi", "usb", "virtio"};
    host.video_models = {"bochs", "cirrus", "none", "qxl", "vga", "virtio", "vmvga"};
    host.secure_boot = true;
    host.libvirt_version = 9000000;
    host.qemu_version = 7002000;
    return host;
}

TEST(RecordedProvider, Inventory_OfAFreshHost) {
    const Json recorded = recording()["cold_start"]["inventories"];
    const auto wanted = model::inventories_from_json(recorded["inventories"]);
    ASSERT_TRUE(wanted);
    EXPECT_EQ(inventories(recorded_host(), {}, {}, zed_service), *wanted);
    EXPECT_EQ(inventories_body(*wanted, 0)["resource_provider_generation"].as_int(-1), 0);
}

TEST(RecordedProvider, Inventory_WithDedicatedCpus_KeepsExistingRatios) {
    const Json recorded = recording()["dedicated_start"];
    const auto wanted = model::inventories_from_json(recorded["inventories"]["inventories"]);
    const auto existing = model::inventories_from_json(recorded["existing"]);
    ASSERT_TRUE(wanted && existing);
    HostDescription host = recorded_host();
    host.shared_cpus = 1;
    host.dedicated_cpus = 1;
    host.memory_mib = 10330;
    // Epoxy's initial ratios are others: what counts is what Placement has.
    EXPECT_EQ(inventories(host, {}, *existing, epoxy_service), *wanted);
    EXPECT_TRUE(difference(*wanted, {}, *existing, {}).inventory);
    EXPECT_FALSE(difference(*wanted, {}, *wanted, {}).any());
}

TEST(RecordedProvider, Traits_OfAFreshHost) {
    const auto wanted = model::traits_from_json(recording()["cold_start"]["traits"]["traits"]);
    ASSERT_TRUE(wanted);
    EXPECT_EQ(traits(recorded_host(), {}, false, zed_service), *wanted);
}

TEST(RecordedProvider, Traits_OfOthersStay_StaleOnesGo) {
    const model::Traits existing{"CUSTOM_RACK_7", "HW_CPU_X86_VMX", "HW_NIC_SRIOV"};
    const model::Traits now = traits(recorded_host(), existing, true, zed_service);
    EXPECT_EQ(now.count("CUSTOM_RACK_7"), 1U);
    EXPECT_EQ(now.count("HW_NIC_SRIOV"), 1U);
    EXPECT_EQ(now.count("HW_CPU_X86_VMX"), 0U);
    EXPECT_EQ(now.count("COMPUTE_STATUS_DISABLED"), 1U);
    EXPECT_EQ(traits(recorded_host(), now, std::nullopt, zed_service), now);
    const KnownTraits known = only_known(now, {"COMPUTE_NODE"});
    EXPECT_EQ(known.kept, (model::Traits{"COMPUTE_NODE", "CUSTOM_RACK_7"}));
}

} // namespace
} // namespace novalet::scheduler_hooks::placement
