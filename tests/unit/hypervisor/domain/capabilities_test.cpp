#include "hypervisor/domain/capabilities.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace novalet::hypervisor::domain {
namespace {

using ::testing::ElementsAre;

constexpr const char* two_cells = R"(<capabilities><host>
  <uuid>4c4c4544-0042-3510-8053-b6c04f4d3732</uuid>
  <cpu><arch>x86_64</arch><model>EPYC</model><vendor>AMD</vendor>
    <topology sockets='1' dies='1' cores='2' threads='2'/>
    <maxphysaddr mode='emulate' bits='48'/>
    <feature name='avx2'/><feature name='aes'/></cpu>
  <topology><cells num='2'>
    <cell id='0'><memory unit='KiB'>8388608</memory>
      <pages unit='KiB' size='4'>1572864</pages><pages unit='KiB' size='2048'>1024</pages>
      <distances><sibling id='0' value='10'/><sibling id='8' value='21'/></distances>
      <cpus num='3'>
        <cpu id='0' socket_id='0' core_id='0' siblings='0,2'/>
        <cpu id='2' socket_id='0' core_id='0' siblings='0,2'/>
        <cpu id='4'/></cpus></cell>
    <cell id='8'><memory unit='KiB'>4194304</memory>
      <pages unit='KiB' size='4'>1048576</pages>
      <cpus num='2'><cpu id='1' socket_id='1' siblings='1'/>
        <cpu id='3' socket_id='2' siblings='3'/></cpus></cell>
  </cells></topology></host>
  <guest><os_type>hvm</os_type><arch name='i386'>
    <machine canonical='pc-i440fx-7.2' maxCpus='255'>pc</machine>
    <machine maxCpus='255'>pc-i440fx-7.2</machine><domain type='qemu'/><domain type='kvm'/></arch></guest>
  <guest><os_type>hvm</os_type><arch name='riscv64'><machine>virt</machine>
    <domain type='qemu'/></arch></guest>
</capabilities>)";

TEST(Capabilities, CpuAndCells_AreRead) {
    const auto host = read_capabilities(two_cells);
    ASSERT_TRUE(host) << host.error().text;
    EXPECT_EQ(host->uuid, "4c4c4544-0042-3510-8053-b6c04f4d3732");
    EXPECT_EQ(host->arch, "x86_64");
    EXPECT_EQ(host->threads, 2U);
    EXPECT_THAT(host->cpu_features, ElementsAre("avx2", "aes"));
    ASSERT_EQ(host->topology.cells.size(), 2U);
    const auto& cell = host->topology.cells[0];
    EXPECT_EQ(cell.memory_mib, 8192);
    EXPECT_EQ(cell.cpuset.str(), "0,2"); // 4 is offline: no siblings
    ASSERT_EQ(cell.siblings.size(), 1U);
    EXPECT_EQ(cell.siblings[0].str(), "0,2");
    EXPECT_EQ(cell.socket, 0);
    ASSERT_EQ(cell.mempages.size(), 2U);
    EXPECT_EQ(cell.mempages[1].total, 1024);
    EXPECT_THAT(cell.distances, ElementsAre(10U, 21U));
    EXPECT_EQ(host->topology.cells[1].id, 8);
    EXPECT_FALSE(host->topology.cells[1].socket); // spans sockets
}

TEST(Capabilities, ArchitecturesNovaDoesNotKnow_AreLeftOut) {
    const auto host = read_capabilities(two_cells);
    ASSERT_TRUE(host);
    using Kind = std::array<std::string, 3>;
    EXPECT_THAT(host->guests, ElementsAre(Kind{"i686", "qemu", "hvm"}, Kind{"i686", "kvm", "hvm"}));
    EXPECT_EQ(host->canonical_machines.at("pc"), "pc-i440fx-7.2");
    EXPECT_THAT(host->machines, ElementsAre("pc", "pc-i440fx-7.2", "virt"));
}

TEST(Capabilities, CpuInfo_HasNovasForm) {
    const auto host = read_capabilities(two_cells);
    ASSERT_TRUE(host);
    EXPECT_EQ(cpu_info_document(*host).dump(),
              R"({"arch":"x86_64","features":["avx2","aes"],"model":"EPYC","topology":)"
              R"({"cells":2,"cores":2,"sockets":1,"threads":2},"vendor":"AMD"})");
    EXPECT_EQ(cpu_info_document(*host, true)["maxphysaddr"].dump(),
              R"({"bits":48,"mode":"emulate"})");
}

TEST(Capabilities, OtherText_IsAnError) {
    EXPECT_FALSE(read_capabilities("nonsense"));
    EXPECT_FALSE(read_capabilities("<domain/>"));
    EXPECT_FALSE(read_domain_capabilities("<domain/>"));
    EXPECT_FALSE(read_cpu_features("<cpu"));
}

TEST(DomainCapabilities, EnumsAreRead) {
    const auto caps = read_domain_capabilities(R"(<domainCapabilities>
      <domain>kvm</domain><machine>pc-q35-7.2</machine><arch>x86_64</arch>
      <os supported='yes'><loader supported='yes'>
        <enum name='secure'><value>yes</value><value>no</value></enum></loader></os>
      <devices>
        <disk supported='yes'><enum name='diskDevice'><value>disk</value></enum>
          <enum name='bus'><value>scsi</value><value>virtio</value></enum></disk>
        <video supported='yes'><enum name='modelType'><value>vga</value></enum></video>
        <tpm supported='yes'><enum name='model'><value>tpm-crb</value></enum>
          <enum name='backendVersion'><value>2.0</value></enum></tpm>
      </devices><features><sev supported='no'/></features></domainCapabilities>)");
    ASSERT_TRUE(caps) << caps.error().text;
    EXPECT_EQ(caps->machine, "pc-q35-7.2");
    EXPECT_THAT(caps->disk_buses, ElementsAre("scsi", "virtio"));
    EXPECT_THAT(caps->video_models, ElementsAre("vga"));
    EXPECT_THAT(caps->tpm_models, ElementsAre("tpm-crb"));
    EXPECT_THAT(caps->tpm_versions, ElementsAre("2.0"));
    EXPECT_TRUE(caps->secure_loader);
    EXPECT_FALSE(caps->sev);
}

TEST(CpuOfModel, NamesArchitectureModelAndVendor) {
    HostCapabilities host;
    host.arch = "x86_64";
    host.cpu_vendor = "AMD";
    EXPECT_EQ(cpu_of_model(host, "EPYC"),
              "<cpu><arch>x86_64</arch><model>EPYC</model><vendor>AMD</vendor></cpu>");
}

} // namespace
} // namespace novalet::hypervisor::domain
