// The documents that Nova 26.2.2's own driver wrote (reference 07 §2.1, 08 §7), compared by
// meaning.
#include "agent/core/file.hpp"
#include "hypervisor/domain/build_domain.hpp"
#include "tests/support/canonical_xml.hpp"
#include "tests/support/fake_clock.hpp"
#include "tests/support/guest_builder.hpp"

#include <gtest/gtest.h>

namespace novalet::hypervisor::domain {
namespace {

namespace model = scheduler_hooks::model;
using tests::canonical_part;
using tests::canonical_xml;
using tests::golden_guest;

std::string golden(const std::string& name) {
    const auto text = read_file(std::string(NOVALET_SOURCE_DIR) +
                                "/tests/contract/hypervisor/domain/golden/" + name);
    EXPECT_TRUE(text) << name;
    return text.value_or("");
}

/// Two cells; shared and dedicated CPUs and pages as the golden documents had them.
model::HostTopology host(const std::vector<std::array<model::CpuSet, 2>>& cpus) {
    model::HostTopology out;
    for (std::size_t i = 0; i < cpus.size(); ++i) {
        model::HostCell cell;
        cell.id = static_cast<int>(i);
        cell.cpuset = cpus[i][0];
        cell.pcpuset = cpus[i][1];
        cell.mempages = {{4, 1 << 20, 0, 0}, {2048, 1024, 0, 0}, {1048576, 4, 0, 0}};
        out.cells.push_back(cell);
    }
    return out;
}

model::GuestCell cell(int host_cell,
                      std::int64_t memory_mib,
                      std::int64_t page,
                      model::CpuSet floating,
                      std::vector<model::CpuPin> pins) {
    model::GuestCell out;
    out.id = host_cell;
    out.memory_mib = memory_mib;
    out.page_size_kib = page;
    out.cpuset = std::move(floating);
    for (const auto& pin : pins)
        out.pcpuset.insert(pin.vcpu);
    out.pins = std::move(pins);
    return out;
}

std::string build(const GuestSpec& guest, const DomainOptions& options) {
    const auto domain = build_domain(guest, options);
    EXPECT_TRUE(domain) << (domain ? "" : domain.error().text);
    return domain ? write_domain(*domain) : std::string("<none/>");
}

TEST(GoldenDomain, Plain_IsWhatZedWrites) {
    DomainOptions options;
    options.shared_cpus = "0,4";
    tests::FakeClock clock;
    const auto guest = golden_guest();
    auto domain = build_domain(guest, options, clock);
    ASSERT_TRUE(domain) << domain.error().text;
    EXPECT_EQ(domain->metadata.creation_time, to_utc_text(clock.wall()));
    domain->metadata.creation_time = "2026-11-21 04:28:56";
    EXPECT_EQ(canonical_xml(write_domain(*domain)), canonical_xml(golden("plain_zed.xml")));
}

/// dedicated, 2 MiB pages, two nodes, UEFI, q35, virtio-scsi, guest agent.
GuestSpec numa_guest() {
    auto guest = golden_guest();
    guest.flavor.extra_specs = {
        {"hw:cpu_policy", "dedicated"}, {"hw:mem_page_size", "2048"}, {"hw:numa_nodes", "2"}};
    guest.image.properties = {{"hw_firmware_type", "uefi"},
                              {"hw_machine_type", "q35"},
                              {"hw_scsi_model", "virtio-scsi"},
                              {"hw_disk_bus", "scsi"},
                              {"hw_qemu_guest_agent", "yes"}};
    guest.disks[0].bus = "scsi"; // the name stays vda: it was given
    guest.numa.emplace();
    guest.numa->cells = {cell(0, 1024, 2048, {}, {{0, 1}, {1, 2}}),
                         cell(1, 1024, 2048, {}, {{2, 6}, {3, 7}})};
    return guest;
}

DomainOptions numa_options() {
    DomainOptions options;
    options.shared_cpus = "0,4";
    options.host = host(
        {{model::CpuSet{0}, model::CpuSet{1, 2, 3}}, {model::CpuSet{4}, model::CpuSet{5, 6, 7}}});
    FirmwareDescriptor plain;
    plain.loader = "/usr/share/OVMF/OVMF_CODE_4M.fd";
    plain.nvram_template = "/usr/share/OVMF/OVMF_VARS_4M.fd";
    plain.targets = {{"x86_64", {"pc-i440fx-*", "pc-q35-*"}}};
    FirmwareDescriptor secure = plain;
    secure.loader = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
    secure.nvram_template = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";
    secure.features = {"secure-boot", "requires-smm"};
    options.firmware = {secure, plain};
    options.canonical_machines = {{"q35", "pc-q35-7.2"}, {"pc", "pc-i440fx-7.2"}};
    return options;
}

TEST(GoldenDomain, NumaHugePagesUefi_IsWhatZedWrites) {
    const auto xml = build(numa_guest(), numa_options());
    const auto wanted = golden("numa_zed.xml");
    for (const char* part : {"/domain/memoryBacking",
                             "/domain/numatune",
                             "/domain/vcpu",
                             "/domain/os",
                             "/domain/cputune",
                             "/domain/cpu",
                             "/domain/devices/disk[@device='disk']/target",
                             "/domain/devices/disk[@device='disk']/address",
                             "/domain/devices/disk[@device='cdrom']/target",
                             "/domain/devices/controller[@type='scsi']",
                             "/domain/devices/channel"}) {
        EXPECT_NE(canonical_part(wanted, part), "") << part;
        EXPECT_EQ(canonical_part(xml, part), canonical_part(wanted, part)) << part;
    }
}

TEST(GoldenDomain, NewestRelease_LetsLibvirtPickFirmwareAndPinsTheIoThread) {
    auto options = numa_options();
    options.style = style_of("hibiscus");
    const auto xml = build(numa_guest(), options);
    EXPECT_EQ(canonical_part(xml, "/domain/os"), canonical_xml(R"(<os firmware="efi">
                <firmware><feature name="secure-boot" enabled="no"/></firmware>
                <type arch="x86_64" machine="q35">hvm</type><loader secure="no"/>
                <boot dev="hd"/><smbios mode="sysinfo"/></os>)"));
    EXPECT_EQ(canonical_part(xml, "/domain/iothreads"), "iothreads 1\n");
    EXPECT_EQ(canonical_part(xml, "/domain/cputune/iothreadpin"),
              canonical_xml(R"(<iothreadpin cpuset="1-2,6-7" iothread="1"/>)"));
    EXPECT_EQ(canonical_part(xml, "/domain/devices/memballoon"),
              canonical_xml(R"(<memballoon model="virtio" autodeflate="on" freePageReporting="on">
                <stats period="10"/></memballoon>)"));
    EXPECT_NE(canonical_part(xml, "//nova:flavor[@id='42']/nova:extraSpecs"), "");
    EXPECT_NE(canonical_part(xml, "//nova:image[@uuid='155d900f-4e14-4e4c-a73d-069cbf4541e6']"),
              "");
}

TEST(GoldenDomain, MixedPolicyIsolatedEmulator_IsWhatNovaWrites) {
    auto guest = golden_guest();
    guest.flavor.vcpus = 6;
    guest.flavor.extra_specs = {{"hw:cpu_policy", "mixed"},
                                {"hw:cpu_dedicated_mask", "0-1,3-4"},
                                {"hw:numa_nodes", "2"},
                                {"hw:mem_page_size", "large"},
                                {"hw:emulator_threads_policy", "isolate"}};
    guest.numa.emplace();
    guest.numa->emulator_policy = model::EmulatorPolicy::Isolate;
    guest.numa->cells = {cell(0, 1024, 2048, {2}, {{0, 2}, {1, 3}}),
                         cell(1, 1024, 2048, {5}, {{3, 10}, {4, 11}})};
    guest.numa->cells[0].reserved = model::CpuSet{4};
    DomainOptions options;
    options.shared_cpus = "0-1,8-9";
    options.host = host({{model::CpuSet::range(0, 1), model::CpuSet::range(2, 7)},
                         {model::CpuSet::range(8, 9), model::CpuSet::range(10, 15)}});
    const auto xml = build(guest, options);
    EXPECT_EQ(canonical_part(xml, "/domain/cputune"),
              canonical_xml(R"(<cputune><emulatorpin cpuset="4"/>
                <vcpupin vcpu="0" cpuset="2"/><vcpupin vcpu="1" cpuset="3"/>
                <vcpupin vcpu="2" cpuset="0-1"/><vcpupin vcpu="3" cpuset="10"/>
                <vcpupin vcpu="4" cpuset="11"/><vcpupin vcpu="5" cpuset="8-9"/></cputune>)"));
    EXPECT_EQ(canonical_part(xml, "/domain/cpu/numa"), canonical_xml(R"(<numa>
                <cell id="0" cpus="0-2" memory="1048576" memAccess="shared"/>
                <cell id="1" cpus="3-5" memory="1048576" memAccess="shared"/></numa>)"));
    EXPECT_EQ(canonical_part(xml, "/domain/numatune"),
              canonical_xml(R"(<numatune><memory mode="strict" nodeset="0-1"/>
                <memnode cellid="0" mode="strict" nodeset="0"/>
                <memnode cellid="1" mode="strict" nodeset="1"/></numatune>)"));
    EXPECT_EQ(canonical_part(xml, "/domain/memoryBacking"),
              canonical_xml(R"(<memoryBacking><hugepages>
                <page size="2048" nodeset="0" unit="KiB"/>
                <page size="2048" nodeset="1" unit="KiB"/></hugepages></memoryBacking>)"));
}

GuestSpec realtime_guest() {
    auto guest = golden_guest();
    guest.flavor.extra_specs = {
        {"hw:cpu_policy", "dedicated"}, {"hw:cpu_realtime", "yes"}, {"hw:cpu_realtime_mask", "^0"}};
    guest.numa.emplace();
    guest.numa->cells = {cell(0, 2048, 0, {}, {{0, 2}, {1, 3}, {2, 4}, {3, 5}})};
    return guest;
}

TEST(GoldenDomain, RealtimeWithSharedEmulator_IsWhatNovaWrites) {
    auto guest = realtime_guest();
    guest.flavor.extra_specs["hw:emulator_threads_policy"] = "share";
    guest.numa->emulator_policy = model::EmulatorPolicy::Share;
    DomainOptions options;
    options.shared_cpus = "0-1,8-9";
    options.host = host({{model::CpuSet::range(0, 1), model::CpuSet::range(2, 7)},
                         {model::CpuSet::range(8, 9), model::CpuSet::range(10, 15)}});
    const auto xml = build(guest, options);
    EXPECT_EQ(canonical_part(xml, "/domain/cputune/emulatorpin"),
              canonical_xml(R"(<emulatorpin cpuset="0-1,8-9"/>)"));
    EXPECT_EQ(canonical_part(xml, "/domain/cputune/vcpusched"),
              canonical_xml(R"(<vcpusched vcpus="1-3" scheduler="fifo" priority="1"/>)"));
    EXPECT_EQ(canonical_part(xml, "/domain/memoryBacking"),
              canonical_xml("<memoryBacking><nosharepages/><locked/></memoryBacking>"));
}

TEST(GoldenDomain, RealtimeWithoutEmulatorPolicy_KeepsTheEmulatorOffRealtimeCpus) {
    DomainOptions options;
    options.shared_cpus = "0-1,8-9";
    options.host = host({{model::CpuSet::range(0, 1), model::CpuSet::range(2, 7)}});
    const auto xml = build(realtime_guest(), options);
    EXPECT_EQ(canonical_part(xml, "/domain/cputune/emulatorpin"),
              canonical_xml(R"(<emulatorpin cpuset="2"/>)"));
}

} // namespace
} // namespace novalet::hypervisor::domain
