#include "hypervisor/domain/build_domain.hpp"

#include "tests/support/canonical_xml.hpp"
#include "tests/support/guest_builder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace novalet::hypervisor::domain {
namespace {

using ::testing::HasSubstr;
using tests::canonical_part;
using tests::canonical_xml;
using tests::golden_guest;

Domain built(const GuestSpec& guest, const DomainOptions& options = {}) {
    auto domain = build_domain(guest, options);
    EXPECT_TRUE(domain) << (domain ? "" : domain.error().text);
    return domain.value_or(Domain{});
}

std::string refusal(const GuestSpec& guest, const DomainOptions& options = {}) {
    const auto domain = build_domain(guest, options);
    return domain ? "no refusal" : domain.error().exception;
}

DomainOptions qemu() {
    DomainOptions options;
    options.virt_type = "qemu";
    return options;
}

TEST(BuildDomain, PlainQemu_HasNoKvmTimersAndNoVhost) {
    const auto xml = write_domain(built(golden_guest(), qemu()));
    EXPECT_EQ(canonical_part(xml, "/domain/clock"), canonical_xml(R"(<clock offset="utc"/>)"));
    EXPECT_EQ(canonical_part(xml, "/domain/devices/interface/driver"),
              canonical_xml(R"(<driver name="qemu"/>)"));
    EXPECT_EQ(canonical_part(xml, "/domain[@type='qemu']/name"), "name instance-0000000a\n");
}

TEST(BuildDomain, Windows_GetsEnlightenmentsLocalTimeAndItsOwnClock) {
    auto guest = golden_guest();
    guest.os_type = "windows";
    const auto xml = write_domain(built(guest));
    EXPECT_EQ(canonical_part(xml, "/domain/clock"), canonical_xml(R"(<clock offset="localtime">
                <timer name="pit" tickpolicy="delay"/><timer name="rtc" tickpolicy="catchup"/>
                <timer name="hpet" present="no"/><timer name="hypervclock" present="yes"/>
                </clock>)"));
    EXPECT_EQ(canonical_part(xml, "/domain/features/hyperv"),
              canonical_xml(R"(<hyperv><relaxed state="on"/><vapic state="on"/>
                <spinlocks state="on" retries="8191"/><vpindex state="on"/><runtime state="on"/>
                <synic state="on"/><reset state="on"/><frequencies state="on"/>
                <reenlightenment state="on"/><tlbflush state="on"/><ipi state="on"/></hyperv>)"));
}

TEST(BuildDomain, WindowsOnIntelUnderZed_GetsEvmcsToo) {
    auto guest = golden_guest();
    guest.os_type = "windows";
    DomainOptions options;
    options.intel_virtualization = true;
    EXPECT_NE(canonical_part(write_domain(built(guest, options)), "//hyperv/evmcs"), "");
    options.style = style_of("epoxy");
    EXPECT_EQ(canonical_part(write_domain(built(guest, options)), "//hyperv/evmcs"), "");
}

TEST(BuildDomain, HiddenHypervisor_HidesKvmAndTheVendor) {
    auto guest = golden_guest();
    guest.os_type = "windows";
    guest.image.properties["img_hide_hypervisor_id"] = "true";
    const auto xml = write_domain(built(guest));
    EXPECT_NE(canonical_part(xml, "/domain/features/kvm/hidden[@state='on']"), "");
    EXPECT_NE(canonical_part(xml, "//hyperv/vendor_id[@value='1234567890ab']"), "");
}

TEST(BuildDomain, EachVifType_BecomesItsInterface) {
    struct Case {
        const char* type;
        const char* vif;
        const char* xml;
    };
    const Case cases[] = {
        {"bridge",
         R"({"details": {}})",
         R"(<interface type="bridge"><mac address="fa:16:3e:00:00:01"/><model type="virtio"/>
            <source bridge="br-int"/><mtu size="1442"/><target dev="tapaabbccdd-00"/></interface>)"},
        {"ovs",
         R"({"details": {"ovs_hybrid_plug": true}})",
         R"(<interface type="bridge"><mac address="fa:16:3e:00:00:01"/><model type="virtio"/>
            <source bridge="qbraabbccdd-00"/><mtu size="1442"/>
            <target dev="tapaabbccdd-00"/></interface>)"},
        {"ovs",
         R"({"details": {}})",
         R"(<interface type="bridge"><mac address="fa:16:3e:00:00:01"/><model type="virtio"/>
            <source bridge="br-int"/><mtu size="1442"/><target dev="tapaabbccdd-00"/>
            <virtualport type="openvswitch">
            <parameters interfaceid="aabbccdd-0000-1111-2222-333344445555"/></virtualport>
            </interface>)"},
        {"tap",
         R"({"details": {}})",
         R"(<interface type="ethernet"><mac address="fa:16:3e:00:00:01"/><model type="virtio"/>
            <mtu size="1442"/><target dev="tapaabbccdd-00"/></interface>)"},
        {"vhostuser",
         R"({"details": {"vhostuser_socket": "/run/vhu1", "vhostuser_mode": "client"}})",
         R"(<interface type="vhostuser"><mac address="fa:16:3e:00:00:01"/><model type="virtio"/>
            <source type="unix" path="/run/vhu1" mode="client"/></interface>)"}};
    for (const auto& one : cases) {
        auto guest = golden_guest();
        guest.interfaces[0].vif_type = one.type;
        guest.interfaces[0].vif = *Json::parse(one.vif);
        EXPECT_EQ(canonical_part(write_domain(built(guest)), "/domain/devices/interface"),
                  canonical_xml(one.xml))
            << one.type << one.vif;
    }
}

TEST(BuildDomain, UnknownVif_NamesPortAndType) {
    auto guest = golden_guest();
    guest.interfaces[0].vif_type = "midonet";
    const auto domain = build_domain(guest, {});
    ASSERT_FALSE(domain);
    EXPECT_EQ(domain.error().exception, "InternalError");
    EXPECT_THAT(domain.error().text, HasSubstr("midonet"));
    EXPECT_THAT(domain.error().text, HasSubstr("aabbccdd-0000"));
    guest.interfaces[0].vif_type = "bridge";
    guest.interfaces[0].vnic_type = "direct";
    EXPECT_EQ(refusal(guest), "InternalError");
}

TEST(BuildDomain, Multiqueue_HasAQueuePerCpuUnderKvmOnly) {
    auto guest = golden_guest();
    guest.image.properties["hw_vif_multiqueue_enabled"] = "true";
    DomainOptions options;
    options.rx_queue_size = 512;
    EXPECT_EQ(canonical_part(write_domain(built(guest, options)), "//interface/driver"),
              canonical_xml(R"(<driver name="vhost" queues="4" rx_queue_size="512"/>)"));
    options.max_queues = 2;
    EXPECT_NE(
        canonical_part(write_domain(built(guest, options)), "//interface/driver[@queues='2']"), "");
    EXPECT_EQ(built(guest, qemu()).interfaces[0].queues, 0U);
}

TEST(BuildDomain, PackedRings_OnlyWhereTheReleaseKnowsThem) {
    auto guest = golden_guest();
    guest.image.properties["hw_virtio_packed_ring"] = "true";
    EXPECT_FALSE(built(guest).interfaces[0].packed);
    DomainOptions options;
    options.style = style_of("epoxy");
    EXPECT_TRUE(built(guest, options).interfaces[0].packed);
}

TEST(BuildDomain, Quotas_BecomeTuning) {
    auto guest = golden_guest();
    guest.flavor.extra_specs = {{"quota:cpu_shares", "2048"},
                                {"quota:cpu_quota", "10000"},
                                {"quota:cpu_period", "20000"},
                                {"quota:disk_read_iops_sec", "100"},
                                {"quota:disk_unknown", "7"},
                                {"quota:vif_inbound_average", "1000"},
                                {"quota:vif_outbound_average", "500"},
                                {"quota:vif_outbound_burst", "9"}};
    const auto xml = write_domain(built(guest));
    EXPECT_EQ(canonical_part(xml, "/domain/cputune"),
              canonical_xml("<cputune><shares>2048</shares><quota>10000</quota>"
                            "<period>20000</period></cputune>"));
    EXPECT_EQ(canonical_part(xml, "//disk/iotune"),
              canonical_xml("<iotune><read_iops_sec>100</read_iops_sec></iotune>"));
    EXPECT_EQ(
        canonical_part(xml, "//interface/bandwidth"),
        canonical_xml(R"(<bandwidth><inbound average="1000"/><outbound average="500" burst="9"/>
                </bandwidth>)"));
}

TEST(BuildDomain, QuotaThatIsNoNumber_IsRefusedByName) {
    auto guest = golden_guest();
    guest.flavor.extra_specs["quota:vif_inbound_peak"] = "fast";
    const auto domain = build_domain(guest, {});
    ASSERT_FALSE(domain);
    EXPECT_THAT(domain.error().text, HasSubstr("quota:vif_inbound_peak"));
    EXPECT_THAT(domain.error().text, HasSubstr("fast"));
}

TEST(BuildDomain, BandwidthWithoutAverage_IsRefused) {
    auto guest = golden_guest();
    guest.flavor.extra_specs["quota:vif_outbound_burst"] = "9";
    const auto domain = build_domain(guest, {});
    ASSERT_FALSE(domain);
    EXPECT_THAT(domain.error().text, HasSubstr("quota:vif_outbound_average"));
}

TEST(BuildDomain, CpuQuotaWithoutController_IsRefused) {
    auto guest = golden_guest();
    guest.flavor.extra_specs["quota:cpu_shares"] = "2048";
    DomainOptions options;
    options.cpu_control = false;
    EXPECT_EQ(refusal(guest, options), "UnsupportedHostCPUControlPolicy");
}

TEST(BuildDomain, ConfigDrive_TakesTheNextNameOfItsBus) {
    auto guest = golden_guest();
    EXPECT_EQ(built(guest).disks.back().target, "hda");
    guest.image.properties["hw_machine_type"] = "q35";
    EXPECT_EQ(built(guest).disks.back().target, "sda");
    EXPECT_EQ(built(guest).disks.back().bus, "sata");
    guest.config_drive->vfat = true;
    EXPECT_EQ(built(guest).disks.back().target, "vdb");
    EXPECT_EQ(built(guest).disks.back().device, "disk");
    guest.config_drive->bus = "scsi";
    guest.config_drive->device_name = "sdc";
    EXPECT_EQ(built(guest).disks.back().bus, "scsi") << "the place it has already";
    EXPECT_EQ(built(guest).disks.back().target, "sdc");
}

TEST(BuildDomain, EachDisk_HasTheFormatItWasMadeWith) {
    auto guest = golden_guest();
    auto second = guest.disks[0];
    second.file_name = "disk.eph0";
    second.device_name = "vdb";
    second.format = "raw";
    guest.disks.push_back(second);
    const auto domain = built(guest);
    EXPECT_EQ(domain.disks[0].format, "qcow2");
    EXPECT_EQ(domain.disks[1].format, "raw");
    EXPECT_EQ(domain.disks[2].format, "raw") << "the config drive";
    for (const char* wrong : {"", "vmdk"}) {
        guest.disks[0].format = wrong;
        EXPECT_EQ(refusal(guest), "InvalidDiskInfo") << wrong;
    }
}

TEST(BuildDomain, SystemSerial_IsASerialAndNoWordOfTheConfiguration) {
    const auto guest = golden_guest();
    DomainOptions options;
    options.host_serial = "00000000-0000-0000-0000-00000000000a";
    EXPECT_EQ(built(guest, options).sysinfo_serial, guest.uuid.str());
    options.sysinfo_serial = "none";
    EXPECT_EQ(built(guest, options).sysinfo_serial, "");
    for (const char* word : {"os", "hardware", "auto"}) {
        options.sysinfo_serial = word;
        EXPECT_EQ(built(guest, options).sysinfo_serial, options.host_serial) << word;
    }
}

TEST(BuildDomain, DisksWithoutNames_GetTheNextOfTheirBus) {
    auto guest = golden_guest();
    guest.disks[0].device_name = "/dev/vda";
    DiskSpec swap;
    swap.source = DiskSource::Swap;
    swap.file_name = "disk.swap";
    swap.format = "raw";
    guest.disks.push_back(swap);
    const auto domain = built(guest);
    EXPECT_EQ(domain.disks[0].target, "vda");
    EXPECT_EQ(domain.disks[1].target, "vdb");
    EXPECT_EQ(domain.disks[1].bus, "virtio");
}

TEST(BuildDomain, VirtioScsi_GivesEachDiskItsUnit) {
    auto guest = golden_guest();
    guest.image.properties = {{"hw_scsi_model", "virtio-scsi"}};
    guest.disks[0].bus = "scsi";
    guest.disks[0].device_name = "sda";
    auto second = guest.disks[0];
    second.device_name = "sdb";
    guest.disks.push_back(second);
    const auto domain = built(guest);
    EXPECT_EQ(domain.disks[0].scsi_unit, 0U);
    EXPECT_EQ(domain.disks[1].scsi_unit, 1U);
    EXPECT_FALSE(domain.disks[2].scsi_unit); // the config drive is on ide
}

TEST(BuildDomain, IsoImage_BootsFromCdrom) {
    auto guest = golden_guest();
    guest.image.disk_format = "iso";
    guest.disks[0].bus.clear();
    guest.disks[0].device_name.clear();
    const auto domain = built(guest);
    EXPECT_EQ(domain.disks[0].device, "cdrom");
    EXPECT_EQ(domain.disks[0].target, "hda");
    EXPECT_EQ(domain.disks[1].target, "hdb");
    EXPECT_EQ(domain.boot, std::vector<std::string>{"cdrom"});
}

TEST(BuildDomain, KernelImage_BootsItDirectly) {
    auto guest = golden_guest();
    guest.kernel_id = "k";
    guest.ramdisk_id = "r";
    const auto domain = built(guest, qemu());
    EXPECT_TRUE(domain.boot.empty());
    EXPECT_EQ(domain.cmdline,
              "root=/dev/vda console=tty0 console=ttyS0 console=hvc0 no_timer_check");
    EXPECT_THAT(domain.ramdisk, ::testing::EndsWith("/ramdisk"));
    guest.image.properties["os_command_line"] = "quiet";
    EXPECT_EQ(built(guest).cmdline, "quiet");
}

TEST(BuildDomain, CpuModes_FollowOptionsAndArchitecture) {
    const auto guest = golden_guest();
    DomainOptions options;
    EXPECT_EQ(built(guest, options).cpu.mode, "host-model");
    options.cpu_mode = "none";
    EXPECT_EQ(canonical_part(write_domain(built(guest, options)), "/domain/cpu[not(@mode)]"),
              canonical_xml(R"(<cpu match="exact">
                <topology sockets="4" cores="1" threads="1"/></cpu>)"));
    options.cpu_mode = "custom";
    options.cpu_models = {"Nehalem", "Haswell"};
    options.cpu_extra_flags = {"+PCID", "-mtrr", "ssse3"};
    const auto cpu = built(guest, options).cpu;
    EXPECT_EQ(cpu.model, "Nehalem");
    using Feature = std::pair<std::string, std::string>;
    EXPECT_THAT(cpu.features,
                ::testing::ElementsAre(Feature("pcid", "require"),
                                       Feature("mtrr", "disable"),
                                       Feature("ssse3", "require")));
    options.cpu_models.clear();
    EXPECT_EQ(refusal(guest, options), "InvalidCPUInfo");
}

TEST(BuildDomain, RequiredCpuTrait_ChoosesTheModelThatHasIt) {
    auto guest = golden_guest();
    guest.flavor.extra_specs["trait:HW_CPU_X86_AVX2"] = "required";
    DomainOptions options;
    options.cpu_mode = "custom";
    options.cpu_models = {"Nehalem", "Haswell"};
    options.cpu_model_features = {{"Nehalem", {"sse4.2"}}, {"Haswell", {"sse4.2", "avx2"}}};
    EXPECT_EQ(built(guest, options).cpu.model, "Haswell");
    guest.flavor.extra_specs["trait:HW_CPU_X86_SHA"] = "required";
    EXPECT_EQ(refusal(guest, options), "InvalidCPUInfo");
}

TEST(BuildDomain, MachineType_ImageBeatsConfigurationBeatsDefault) {
    auto guest = golden_guest();
    DomainOptions options;
    EXPECT_EQ(built(guest, options).machine, "pc");
    options.machine_types["x86_64"] = "q35";
    EXPECT_EQ(built(guest, options).machine, "q35");
    guest.image.properties["hw_machine_type"] = "pc-i440fx-7.2";
    EXPECT_EQ(built(guest, options).machine, "pc-i440fx-7.2");
    options.machines = {"pc", "q35"};
    EXPECT_EQ(refusal(guest, options), "InvalidMachineType");
}

TEST(BuildDomain, Firmware_IsRefusedWhereNoneIs) {
    auto guest = golden_guest();
    guest.image.properties = {{"hw_firmware_type", "uefi"}, {"hw_machine_type", "q35"}};
    EXPECT_EQ(refusal(guest), "UEFINotSupported");
    FirmwareDescriptor plain;
    plain.loader = "code";
    plain.nvram_template = "vars";
    plain.targets = {{"x86_64", {"pc-q35-*"}}};
    DomainOptions options;
    options.firmware = {plain};
    options.canonical_machines = {{"q35", "pc-q35-7.2"}};
    EXPECT_EQ(built(guest, options).firmware->loader, "code");
    guest.flavor.extra_specs["os:secure_boot"] = "required";
    EXPECT_EQ(refusal(guest, options), "SecureBootNotSupported");
    guest.flavor.extra_specs["os:secure_boot"] = "optional";
    EXPECT_FALSE(built(guest, options).firmware->secure_boot);
    auto secure = plain;
    secure.loader = "signed";
    secure.features = {"secure-boot", "requires-smm"};
    options.firmware.push_back(secure);
    const auto domain = built(guest, options);
    EXPECT_EQ(domain.firmware->loader, "signed");
    EXPECT_TRUE(domain.smm);
}

TEST(BuildDomain, Graphics_DecideVideoAndPointer) {
    auto guest = golden_guest();
    DomainOptions options;
    options.vnc = false;
    auto domain = built(guest, options);
    EXPECT_FALSE(domain.video);
    EXPECT_TRUE(domain.inputs.empty());
    EXPECT_FALSE(domain.usb);
    options.spice = true;
    domain = built(guest, options);
    EXPECT_EQ(domain.video->model, "qxl");
    EXPECT_TRUE(domain.inputs.empty()); // the agent has a mouse of its own
    EXPECT_TRUE(domain.spice_channel);
    guest.image.properties["hw_video_model"] = "vga";
    options.video_models = {"cirrus"};
    EXPECT_EQ(refusal(guest, options), "InvalidVideoMode");
}

TEST(BuildDomain, VideoMemory_IsLimitedByTheFlavor) {
    auto guest = golden_guest();
    guest.image.properties["hw_video_ram"] = "64";
    EXPECT_EQ(refusal(guest), "RequestedVRamTooHigh");
    guest.flavor.extra_specs["hw_video:ram_max_mb"] = "128";
    EXPECT_EQ(built(guest).video->vram_kib, 65536U);
}

TEST(BuildDomain, Watchdog_ImageBeatsFlavor) {
    auto guest = golden_guest();
    guest.flavor.extra_specs["hw:watchdog_action"] = "reset";
    EXPECT_EQ(built(guest).watchdog, "reset");
    guest.image.properties["hw_watchdog_action"] = "pause";
    EXPECT_EQ(built(guest).watchdog, "pause");
    guest.image.properties["hw_watchdog_action"] = "explode";
    EXPECT_EQ(refusal(guest), "InvalidWatchdogAction");
}

TEST(BuildDomain, DevicesThisAgentDoesNotMake_AreRefused) {
    auto guest = golden_guest();
    guest.image.properties["hw_tpm_version"] = "2.0";
    EXPECT_EQ(refusal(guest), "InvalidInput");
}

TEST(BuildDomain, NumaWithoutHostCells_IsRefused) {
    auto guest = golden_guest();
    guest.numa.emplace();
    guest.numa->cells.resize(1);
    EXPECT_EQ(refusal(guest), "NUMATopologyUnsupported");
    DomainOptions options;
    options.host.cells.resize(1);
    guest.numa->cells[0].id = 3; // the host lost that cell
    EXPECT_EQ(refusal(guest, options), "NUMATopologyUnsupported");
}

TEST(BuildDomain, FloatingCpusWithoutSharedPool_AreRefused) {
    auto guest = golden_guest();
    guest.numa.emplace();
    guest.numa->cells.resize(1);
    guest.numa->cells[0].cpuset = scheduler_hooks::model::CpuSet::range(0, 3);
    DomainOptions options;
    options.host.cells.resize(1);
    const auto domain = build_domain(guest, options);
    ASSERT_FALSE(domain);
    EXPECT_THAT(domain.error().text, HasSubstr("cpu_shared_set"));
}

TEST(BuildDomain, ForeignText_CannotBreakOutOfTheXml) {
    auto guest = golden_guest();
    guest.display_name = "</nova:name><evil/>&\"'";
    const auto xml = write_domain(built(guest));
    EXPECT_EQ(canonical_part(xml, "//evil"), "");
    EXPECT_EQ(read_domain(xml)->metadata_name, guest.display_name);
}

} // namespace
} // namespace novalet::hypervisor::domain
