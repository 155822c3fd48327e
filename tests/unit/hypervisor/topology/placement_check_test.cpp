// Texts of /proc as a QEMU process with two cells, 2 MiB pages and pinned vCPUs leaves them.
#include "agent/core/metrics.hpp"
#include "hypervisor/topology/placement_check.hpp"
#include "tests/support/sysfs_tree.hpp"

#include <gmock/gmock.h>

namespace novalet::hypervisor::topology {
namespace {

namespace model = scheduler_hooks::model;
using model::CpuSet;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const char* const maps =
    "55d0c0a00000 default file=/usr/bin/qemu-system-x86_64 mapped=812 active=1 N0=500 N1=312 "
    "kernelpagesize_kB=4\n"
    "7f1a40000000 bind:0 file=/dev/hugepages/libvirt/qemu/1-instance-00000001/ram-node0 huge "
    "dirty=256 N0=256 kernelpagesize_kB=2048\n"
    "7f1a60000000 bind:1 file=/dev/hugepages/libvirt/qemu/1-instance-00000001/ram-node1 huge "
    "dirty=256 N1=256 kernelpagesize_kB=2048\n"
    "7f1a7c000000 default anon=9 dirty=9 active=7 N1=9 kernelpagesize_kB=4\n"
    "7ffd1b5c0000 default stack anon=12 dirty=12 N0=12 kernelpagesize_kB=4\n";

class PlacementCheck : public testing::Test {
  protected:
    static constexpr pid_t process = 4711;

    PlacementCheck() {
        for (int id = 0; id < 2; ++id) {
            model::HostCell host;
            host.id = id;
            const auto base = static_cast<unsigned>(id) * 8;
            host.cpuset = {base, base + 1};
            host.mempages = {{4, 1000, 0, 0}, {2048, 512, 256, 0}};
            granted.host.cells.push_back(host);
            model::GuestCell cell;
            cell.id = id;
            cell.cpu_policy = model::CpuPolicy::Mixed;
            cell.pcpuset = {static_cast<unsigned>(id) * 2};
            cell.cpuset = {static_cast<unsigned>(id) * 2 + 1};
            cell.memory_mib = 512;
            cell.page_size_kib = 2048;
            cell.pins = {{{static_cast<unsigned>(id) * 2, base + 4}}};
            granted.guest.cells.push_back(cell);
        }
        granted.guest.cells[0].reserved = CpuSet{5};
        thread(process, "qemu-system-x86", "5");
        thread(4720, "CPU 0/KVM", "4");
        thread(4721, "CPU 1/KVM", "0-1");
        thread(4722, "CPU 2/KVM", "12");
        thread(4723, "CPU 3/KVM", "8-9");
        thread(4730, "IO mon_iothread", "5");
        proc.put(cat("proc/", process, "/numa_maps"), maps);
    }
    void thread(pid_t id, const std::string& name, const std::string& cpus) const {
        const std::string folder = cat("proc/", process, "/task/", id, '/');
        proc.put(folder + "comm", name + "\n");
        proc.put(folder + "status",
                 cat("Name:\t",
                     name,
                     "\nCpus_allowed:\tff\nCpus_allowed_list:\t",
                     cpus,
                     "\nMems_allowed_list:\t0-1\n"));
    }
    [[nodiscard]] std::vector<std::string> check() const {
        auto found = check_placement(granted, process, proc.root());
        EXPECT_TRUE(found) << found.error().text;
        return found ? *found : std::vector<std::string>{"no answer"};
    }

    tests::SysfsTree proc;
    Granted granted;
};

TEST_F(PlacementCheck, AsGranted) {
    auto& counted =
        metrics::counter("novalet_guest_placement_checks_total", "", {{"result", "granted"}});
    const double before = counted.value();
    EXPECT_THAT(check(), IsEmpty());
    EXPECT_EQ(counted.value(), before + 1);
}

TEST_F(PlacementCheck, AThreadElsewhere) {
    thread(4720, "CPU 0/KVM", "0-15");
    thread(process, "qemu-system-x86", "0-15");
    EXPECT_THAT(check(),
                ElementsAre("the emulator may run on CPUs 0-15, granted are 5",
                            "vCPU 0 may run on CPUs 0-15, granted are 4"));
}

TEST_F(PlacementCheck, AMissingThread) {
    thread(4722, "worker", "12");
    EXPECT_THAT(check(), ElementsAre("vCPU 2 has no thread"));
}

TEST_F(PlacementCheck, PagesOfAnotherCell) {
    proc.put(cat("proc/", process, "/numa_maps"),
             "7f1a40000000 bind:0 file=/dev/hugepages/ram-node0 huge N0=200 N2=56 "
             "kernelpagesize_kB=2048\n"
             "7f1a60000000 bind:1 file=/dev/hugepages/ram-node1 huge N1=256 "
             "kernelpagesize_kB=2048\n");
    EXPECT_THAT(check(),
                ElementsAre("host cell 0 gave 200 of 256 pages of 2 MiB",
                            "56 pages of 2 MiB of its memory are on host cell 2, which was not "
                            "granted"));
}

TEST_F(PlacementCheck, SmallPagesInsteadOfHugeOnes) {
    proc.put(cat("proc/", process, "/numa_maps"),
             "7f1a40000000 bind:0-1 anon=4096 N0=2048 N1=2048 kernelpagesize_kB=4\n");
    EXPECT_THAT(check(),
                ElementsAre("host cell 0 gave 0 of 256 pages of 2 MiB",
                            "host cell 1 gave 0 of 256 pages of 2 MiB"));
}

TEST_F(PlacementCheck, UntouchedSmallPagesAreFine) {
    for (auto& cell : granted.guest.cells)
        cell.page_size_kib = model::page_size_none;
    proc.put(cat("proc/", process, "/numa_maps"), "7f1a40000000 bind:0-1\n");
    EXPECT_THAT(check(), IsEmpty());
}

TEST_F(PlacementCheck, EmulatorThreadsFollowTheVcpusOrTheSharedSet) {
    granted.guest.cells[0].reserved.reset();
    thread(process, "qemu-system-x86", "0-1,4,8-9,12");
    EXPECT_THAT(check(), IsEmpty());
    granted.emulator = CpuSet{0, 1};
    EXPECT_THAT(check(), ElementsAre(HasSubstr("granted are 0-1")));
}

TEST_F(PlacementCheck, AProcessThatIsGone) {
    const auto found = check_placement(granted, 1, proc.root());
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, Code::NotFound);
}

TEST(NumaMaps, OddLinesAreLeftOut) {
    const auto memory = read_numa_maps("\n7f00\n7f00 default\n7f00 bind:0 Nx=5 N0=\n"
                                       "7f00 prefer:1 N1=3 N0=2 kernelpagesize_kB=1048576\n");
    EXPECT_TRUE(memory.bound.empty() || memory.bound.at(0).at(4) == 0);
    EXPECT_EQ(memory.all.at(1).at(1048576), 3);
    EXPECT_EQ(memory.all.at(0).at(1048576), 2);
}

} // namespace
} // namespace novalet::hypervisor::topology
