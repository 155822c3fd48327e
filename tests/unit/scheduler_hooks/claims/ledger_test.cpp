#include "scheduler_hooks/claims/ledger.hpp"

#include "agent/core/text.hpp"

#include <gtest/gtest.h>
#include <random>

namespace novalet::scheduler_hooks::claims {
namespace {

using namespace model;

HostCapacity host() {
    HostCell cell;
    cell.pcpuset = CpuSet::range(2, 7);
    cell.cpuset = {0, 1};
    for (unsigned cpu = 0; cpu < 8; ++cpu)
        cell.siblings.push_back({cpu});
    cell.memory_mib = 4096;
    cell.mempages = {{4, 524288, 0, 0}, {2048, 1024, 0, 0}};
    HostCapacity capacity{2, 4096, 100, 0, 512, 1, {{cell}}};
    // Usage of the facts is not ours.
    capacity.topology.cells[0].pinned_cpus = {2};
    return capacity;
}

ClaimRequest request(const char* name, unsigned vcpus, std::int64_t memory = 512) {
    ClaimRequest out;
    out.instance = InstanceUuid(name);
    out.amounts = {vcpus, memory, 10, 1, 512};
    out.state.project_id = "p";
    GuestCell cell;
    cell.pcpuset = CpuSet::range(0, vcpus - 1);
    cell.memory_mib = memory;
    cell.page_size_kib = 2048;
    cell.cpu_policy = CpuPolicy::Dedicated;
    out.topology.emplace();
    out.topology->cells.push_back(cell);
    return out;
}

TEST(Ledger, ClaimAndDrop_GiveBackEverything) {
    Ledger ledger(host());
    const HostTopology empty = ledger.topology();
    ASSERT_TRUE(empty.cells[0].pinned_cpus.empty());
    const auto claim = ledger.claim(request("a", 4));
    ASSERT_TRUE(claim) << claim.error().text;
    EXPECT_EQ(claim->topology->cells[0].taken_cpus().str(), "2-5");
    EXPECT_EQ(ledger.topology().cells[0].pool(2048)->used, 256);
    const Usage usage = ledger.usage();
    EXPECT_EQ(usage.vcpus_used, 4);
    EXPECT_EQ(usage.memory_mb_used, 1024);
    EXPECT_EQ(usage.local_gb_used, 12);
    EXPECT_EQ(usage.stats.at("io_workload"), "1");
    EXPECT_EQ(usage.stats.at("num_task_None"), "1");
    EXPECT_EQ(usage.stats.at("num_os_type_None"), "1");
    EXPECT_EQ(usage.stats.at("num_proj_p"), "1");
    EXPECT_EQ(usage.running_vms, 1);
    EXPECT_TRUE(ledger.drop(InstanceUuid("a")));
    EXPECT_FALSE(ledger.drop(InstanceUuid("a")));
    EXPECT_EQ(ledger.topology(), empty);
}

TEST(Ledger, RefusalChangesNothing_AndSaysNumbers) {
    Ledger ledger(host());
    ASSERT_TRUE(ledger.claim(request("a", 4)));
    const HostTopology before = ledger.topology();
    const auto refused = ledger.claim(request("b", 3));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "ComputeResourcesUnavailable");
    EXPECT_EQ(refused.error().text,
              "Insufficient compute resources: Requested instance NUMA topology cannot fit the "
              "given host NUMA topology. guest cell 0 on host cell 0: needs 3 dedicated CPUs, 2 of "
              "6 free");
    EXPECT_EQ(ledger.topology(), before);
    EXPECT_EQ(ledger.reasons(request("b", 3)).size(), 1U);
    EXPECT_EQ(ledger.claim(request("a", 1)).error().code, Code::AlreadyExists);
}

TEST(Ledger, GuestWithoutCells_IsClaimableAnywhere) {
    ClaimRequest plain = request("a", 2);
    plain.topology.reset();
    Ledger with_cells(host());
    ASSERT_TRUE(with_cells.claim(plain));
    EXPECT_FALSE(with_cells.find(plain.instance)->topology);
    HostCapacity flat = host();
    flat.topology = {};
    Ledger without(flat);
    const auto claim = without.claim(request("b", 64));
    ASSERT_TRUE(claim);
    EXPECT_FALSE(claim->topology);
    EXPECT_TRUE(without.usage().numa_topology.is_null());
}

TEST(Ledger, MoveClaim_StandsBesideTheInstance_AndSettles) {
    Ledger ledger(host());
    ASSERT_TRUE(ledger.claim(request("a", 2)));
    const MigrationUuid migration("m");
    ASSERT_TRUE(ledger.claim_move(migration, request("a", 4)));
    EXPECT_EQ(ledger.topology().cells[0].pinned_cpus.size(), 6U);
    EXPECT_TRUE(ledger.settle(InstanceUuid("a"), migration));
    EXPECT_FALSE(ledger.settle(InstanceUuid("a"), migration));
    EXPECT_EQ(ledger.topology().cells[0].pinned_cpus.size(), 4U);
    EXPECT_EQ(ledger.find(InstanceUuid("a"))->amounts.vcpus, 4);
    EXPECT_EQ(ledger.usage().vcpus_used, 4);
}

TEST(Ledger, KernelPages_PromisedToWaitingGuests_AreNotGivenTwice) {
    Ledger ledger(host());
    ClaimRequest first = request("a", 1, 1024);
    first.kernel_pages = {{0, 2048, 600}};
    ASSERT_TRUE(ledger.claim(first));
    ClaimRequest second = request("b", 1, 512);
    second.kernel_pages = first.kernel_pages;
    EXPECT_FALSE(ledger.test(second));
    ledger.mark_started(InstanceUuid("a"));
    second.kernel_pages = {{0, 2048, 256}};
    EXPECT_TRUE(ledger.test(second));
    const auto drift = ledger.page_drift({{0, 2048, 500}});
    ASSERT_EQ(drift.size(), 1U);
    EXPECT_EQ(drift[0].free, 12);
}

TEST(Ledger, AdoptedConflict_IsMarked_AndEndsWithItsCause) {
    Ledger ledger(host());
    const auto claim = ledger.claim(request("a", 4));
    ASSERT_TRUE(claim);
    Record other{InstanceUuid("b"), {}, claim->amounts, claim->state, claim->topology, true};
    ledger.adopt(other);
    EXPECT_EQ(ledger.conflicts(), std::vector<InstanceUuid>{InstanceUuid("b")});
    EXPECT_EQ(ledger.topology().cells[0].pinned_cpus.size(), 4U);
    EXPECT_EQ(ledger.topology().cells[0].pool(2048)->used, 512);
    ledger.drop(InstanceUuid("a"));
    EXPECT_TRUE(ledger.conflicts().empty());
    EXPECT_EQ(ledger.topology().cells[0].pinned_cpus.size(), 4U);
}

TEST(Ledger, Reconcile_ABuildThatIsUnderWay_HasNotStarted) {
    Ledger ledger(host());
    const auto claim = ledger.claim(request("a", 1, 512));
    ASSERT_TRUE(claim);
    Record record{InstanceUuid("a"), {}, claim->amounts, claim->state, claim->topology, true};
    record.state.vm_state = "building";
    ledger.reconcile({record}, ledger.revision());
    EXPECT_FALSE(ledger.find(InstanceUuid("a"))->started);
    record.state.vm_state = "active";
    ledger.reconcile({record}, ledger.revision());
    EXPECT_TRUE(ledger.find(InstanceUuid("a"))->started);
}

TEST(Ledger, Reconcile_KeepsWhatIsNewerThanTheRecords) {
    Ledger ledger(host());
    const auto old_claim = ledger.claim(request("old", 1));
    ASSERT_TRUE(old_claim && ledger.claim(request("gone", 1)));
    ASSERT_TRUE(ledger.claim(request("vanished", 1)));
    for (const char* name : {"old", "gone", "vanished"})
        ledger.mark_started(InstanceUuid(name));
    std::vector<Record> records;
    for (const char* name : {"old", "gone"}) {
        const Claim* claim = ledger.find(InstanceUuid(name));
        records.push_back(
            {claim->instance, {}, claim->amounts, claim->state, claim->topology, true});
    }
    const std::uint64_t as_of = ledger.revision();
    ASSERT_TRUE(ledger.claim(request("new", 1)));
    ledger.drop(InstanceUuid("gone"));
    records[0].state.vm_state = "active";
    ledger.reconcile(records, as_of);
    ASSERT_NE(ledger.find(InstanceUuid("old")), nullptr);
    EXPECT_EQ(ledger.find(InstanceUuid("old"))->state.vm_state, "active");
    EXPECT_NE(ledger.find(InstanceUuid("new")), nullptr);
    EXPECT_EQ(ledger.find(InstanceUuid("gone")), nullptr);
    EXPECT_EQ(ledger.find(InstanceUuid("vanished")), nullptr);
    EXPECT_EQ(ledger.topology().cells[0].pinned_cpus.size(), 2U);
}

TEST(Ledger, LiveMigration_KeepsThePageSize) {
    Ledger ledger(host());
    ClaimRequest moving = request("a", 1);
    moving.must_keep_page_size_kib = 1048576;
    EXPECT_NE(ledger.test(moving).error().text.find("Requested page size is different"),
              std::string::npos);
}

TEST(Ledger, RandomVerbs_NeverOverNeverNegative_EndEmpty) {
    std::mt19937 engine(7);
    Ledger ledger(host());
    const HostTopology empty = ledger.topology();
    for (int i = 0; i < 3000; ++i) {
        const std::string name = cat("i", engine() % 12);
        if (engine() % 2 == 0)
            discard(ledger.claim(request(name.c_str(),
                                         static_cast<unsigned>(1 + engine() % 3),
                                         static_cast<std::int64_t>(2 * (1 + engine() % 400)))),
                    "refusals are part of the game");
        else
            ledger.drop(InstanceUuid(name));
        const HostCell& cell = ledger.topology().cells[0];
        ASSERT_TRUE(cell.pinned_cpus.is_subset_of(cell.pcpuset));
        ASSERT_GE(cell.pool(2048)->free(), 0);
        ASSERT_GE(cell.pool(2048)->used, 0);
        ASSERT_GE(cell.memory_usage, 0);
    }
    for (int i = 0; i < 12; ++i)
        ledger.drop(InstanceUuid(cat("i", i)));
    EXPECT_EQ(ledger.topology(), empty);
}

/// The counts kept beside the books are those of the books: a fit with them and one that counts
/// anew agree after whatever happened.
TEST(Ledger, TheKeptCountsFollowTheBooks) {
    std::mt19937 dice(20261121);
    const auto upto = [&](unsigned last) {
        return std::uniform_int_distribution<unsigned>(0, last)(dice);
    };
    Ledger ledger(host());
    for (int round = 0; round < 3000; ++round) {
        const std::string name = cat("g", upto(5));
        if (upto(1) == 0) {
            ledger.drop(InstanceUuid(name));
        } else if (const auto claim = ledger.claim(request(name.c_str(), 1 + upto(2), 2)); !claim) {
            EXPECT_TRUE(claim.error().code == Code::AlreadyExists ||
                        claim.error().code == Code::ResourceExhausted);
        }
        if (upto(20) == 0)
            ledger.set_capacity(host());
        const ClaimRequest next = request("next", 1 + upto(5), 2);
        const auto kept = ledger.test(next);
        const auto anew = numa::fit_quietly(
            {ledger.topology(), *next.topology, nullptr, nullptr, nullptr, nullptr, {}, nullptr});
        ASSERT_EQ(kept.has_value(), anew.has_value());
        if (anew) {
            ASSERT_EQ(kept->topology, anew);
        }
    }
}

} // namespace
} // namespace novalet::scheduler_hooks::claims
