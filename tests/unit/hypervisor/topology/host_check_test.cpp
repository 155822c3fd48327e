#include "hypervisor/topology/host_check.hpp"
#include "tests/support/sysfs_tree.hpp"

#include <gmock/gmock.h>

namespace novalet::hypervisor::topology {
namespace {

namespace model = scheduler_hooks::model;
using model::CpuSet;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class HostCheck : public testing::Test {
  protected:
    HostFindings check(const tests::Machine& machine) const {
        return check_host(wish, read_kernel_state(machine->root()).value());
    }
    HostWish wish;
    TopologyOptions& options = wish.cpus_and_pages;
};

TEST_F(HostCheck, NothingConfiguredNothingFound) {
    const auto found = check(tests::two_cells_smt());
    EXPECT_THAT(found.errors, IsEmpty());
    EXPECT_THAT(found.warnings, IsEmpty());
}

TEST_F(HostCheck, GoodSetsAreGood) {
    options.shared_cpus = "0-7,16-23";
    options.dedicated_cpus = "8-15,24-31";
    options.reserved_pages[1][2048] = 4096;
    options.reserved_pages[0][4] = 1000;
    wish.reserved_memory_mib = 512;
    const auto found = check(tests::two_cells_smt());
    EXPECT_THAT(found.errors, IsEmpty());
    EXPECT_THAT(found.warnings, IsEmpty());
}

TEST_F(HostCheck, OverlapIsToldWithTheSetThatWouldBeRight) {
    options.shared_cpus = "0-3";
    options.dedicated_cpus = "2-7";
    const auto found = check(tests::two_cells_smt());
    ASSERT_THAT(found.errors, SizeIs(1));
    EXPECT_EQ(found.errors[0].option, "compute.cpu_dedicated_set");
    EXPECT_THAT(found.errors[0].text, AllOf(HasSubstr("CPUs 2-3"), HasSubstr("write \"4-7\"")));
}

TEST_F(HostCheck, CpusThatDoNotExistOrAreOffline) {
    options.shared_cpus = "0-1,3";
    options.dedicated_cpus = "4-9";
    const auto found = check(tests::offline_cpus());
    ASSERT_THAT(found.errors, SizeIs(3));
    EXPECT_THAT(found.errors[0].text,
                AllOf(HasSubstr("CPU 3, which are off-line"), HasSubstr("write \"0-1\"")));
    EXPECT_THAT(found.errors[1].text,
                AllOf(HasSubstr("CPUs 8-9"), HasSubstr("it has 0-7"), HasSubstr("write \"4-5\"")));
    EXPECT_THAT(found.errors[2].text, HasSubstr("CPUs 6-7"));
}

TEST_F(HostCheck, IsolatedCpusInTheSharedSet) {
    options.shared_cpus = "0-2";
    const auto found = check(tests::offline_cpus());
    EXPECT_THAT(found.errors, IsEmpty());
    ASSERT_THAT(found.warnings, SizeIs(1));
    EXPECT_THAT(found.warnings[0].text, AllOf(HasSubstr("CPU 2"), HasSubstr("write \"0-1\"")));
}

TEST_F(HostCheck, SetsThatNameNothingOrAreNoSets) {
    options.shared_cpus = "1,^1";
    options.dedicated_cpus = "x";
    EXPECT_THAT(check(tests::one_cell()).errors, SizeIs(2));
}

TEST_F(HostCheck, ReservedPagesThatAreNotThere) {
    options.reserved_pages[0][2048] = 4097;
    options.reserved_pages[0][16384] = 1;
    options.reserved_pages[7][2048] = 1;
    const auto found = check(tests::two_cells_smt());
    ASSERT_THAT(found.errors, SizeIs(3));
    EXPECT_THAT(found.errors[0].text, AllOf(HasSubstr("4097"), HasSubstr("has 4096")));
    EXPECT_THAT(found.errors[1].text, HasSubstr("it has 2 MiB, 1 GiB"));
    EXPECT_THAT(found.errors[2].text, HasSubstr("cells 0, 1"));
}

TEST_F(HostCheck, ReservedCpusBesideSetsAndTooMuchMemory) {
    options.shared_cpus = "0-3";
    wish.reserved_cpus = 2;
    wish.reserved_memory_mib = 15936;
    const auto found = check(tests::one_cell());
    ASSERT_THAT(found.errors, SizeIs(2));
    EXPECT_EQ(found.errors[0].option, "compute.reserved_host_cpus");
    EXPECT_EQ(found.errors[1].option, "compute.reserved_host_memory");
}

GuestOnHost pinned_guest(const char* uuid, const CpuSet& cpus, const CpuSet& floating = {}) {
    model::GuestCell cell;
    cell.cpu_policy = model::CpuPolicy::Dedicated;
    cell.cpuset = floating;
    cell.pins.emplace();
    unsigned vcpu = 10;
    cpus.for_each([&](unsigned cpu) { cell.pins->push_back({vcpu++, cpu}); });
    GuestOnHost out;
    out.uuid = uuid;
    out.topology.emplace();
    out.topology->cells.push_back(cell);
    return out;
}

TEST(HostCheckGuests, WithoutSetsEveryGuestIsFine) {
    const auto found = check_guests({}, CpuSet::range(0, 7), {{"a", {}}, pinned_guest("b", {1})});
    EXPECT_THAT(found.errors, IsEmpty());
    EXPECT_THAT(found.warnings, IsEmpty());
}

TEST(HostCheckGuests, AGuestWithoutCpusIsAnError) {
    TopologyOptions options;
    options.dedicated_cpus = "4-7";
    auto found = check_guests(options, CpuSet::range(0, 7), {{"floating", {}}});
    ASSERT_THAT(found.errors, SizeIs(1));
    EXPECT_THAT(found.errors[0].text, HasSubstr("floating"));
    options = {};
    options.shared_cpus = "0-3";
    found = check_guests(options, CpuSet::range(0, 7), {pinned_guest("pinned", {4, 5})});
    ASSERT_THAT(found.errors, SizeIs(1));
    EXPECT_THAT(found.errors[0].text, AllOf(HasSubstr("pinned"), HasSubstr("write \"4-5\"")));
}

TEST(HostCheckGuests, PinsOutsideTheSetAreAWarning) {
    TopologyOptions options;
    options.shared_cpus = "0";
    options.dedicated_cpus = "4-7";
    const auto found =
        check_guests(options, CpuSet::range(0, 7), {pinned_guest("mixed", {3, 4}, {0})});
    EXPECT_THAT(found.errors, IsEmpty());
    ASSERT_THAT(found.warnings, SizeIs(1));
    EXPECT_THAT(found.warnings[0].text, AllOf(HasSubstr("CPU 3"), HasSubstr("write \"3-7\"")));
}

} // namespace
} // namespace novalet::hypervisor::topology
