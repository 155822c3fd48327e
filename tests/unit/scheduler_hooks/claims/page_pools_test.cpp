#include "scheduler_hooks/claims/page_pools.hpp"

#include <gmock/gmock.h>
#include <random>

namespace novalet::scheduler_hooks::claims {
namespace {

model::HostTopology books(std::int64_t used, std::int64_t reserved = 0) {
    model::HostCell cell;
    cell.id = 0;
    cell.memory_mib = 8192;
    cell.mempages = {{4, 1048576, 0, 0}, {2048, 512, used, reserved}};
    model::HostTopology host;
    host.cells.push_back(cell);
    return host;
}

std::int64_t target(const PoolPolicy& policy,
                    const model::HostTopology& host,
                    std::int64_t total,
                    std::int64_t free) {
    const auto changes = plan_pools({policy}, host, {{0, 2048, total, free}});
    return changes.empty() ? total : changes.front().to;
}

TEST(PagePools, GrowsToTheSpareAndSaysWhy) {
    const auto changes = plan_pools({{0, 2048, 0, 1000, 64}}, books(200), {{0, 2048, 220, 20}});
    ASSERT_EQ(changes.size(), 1U);
    EXPECT_EQ(changes[0],
              (PoolChange{0, 2048, 220, 264, "200 in use, 64 spare wanted, 0 to 1000 allowed"}));
}

TEST(PagePools, PromisedPagesCountAsUsed) {
    // the guest has not started: the kernel knows nothing of its pages yet
    EXPECT_EQ(target({0, 2048, 0, 1000, 0}, books(300), 100, 100), 300);
    EXPECT_EQ(target({0, 2048, 0, 1000, 0}, books(300, 20), 100, 100), 320);
}

TEST(PagePools, MinAndMaxHold) {
    EXPECT_EQ(target({0, 2048, 50, 1000, 0}, books(0), 0, 0), 50);
    EXPECT_EQ(target({0, 2048, 0, 100, 64}, books(90), 90, 0), 100);
    EXPECT_EQ(target({0, 2048, 0, 100, 0}, books(0), 400, 400), 0);
}

TEST(PagePools, NeverBelowWhatIsUsed) {
    EXPECT_EQ(target({0, 2048, 0, 100, 0}, books(150), 400, 250), 150);
    EXPECT_EQ(target({0, 2048, 0, 100, 0}, books(0), 400, 250), 150); // used by others
}

TEST(PagePools, ShrinksOnlyWhenMuchIsFree) {
    EXPECT_EQ(target({0, 2048, 0, 1000, 64}, books(100), 228, 128), 228);
    EXPECT_EQ(target({0, 2048, 0, 1000, 64}, books(100), 229, 129), 164);
}

TEST(PagePools, GrowsOnlyIntoSmallPagesNobodyWasPromised) {
    auto host = books(0);
    host.cells[0].mempages[0].used = 1048576 - 10 * 512; // room for ten pages of 2 MiB
    EXPECT_EQ(target({0, 2048, 0, 1000, 64}, host, 0, 0), 10);
    EXPECT_EQ(plan_pools({{0, 2048, 0, 1000, 64}}, host, {{0, 2048, 0, 0}}).at(0).reason,
              "0 in use, 64 spare wanted, 0 to 1000 allowed, memory for 10 more");
    host.cells[0].mempages[0].used = 2097152; // overcommitted
    EXPECT_EQ(target({0, 2048, 0, 1000, 64}, host, 0, 0), 0);
}

TEST(PagePools, TwoPoolsOfACellShareItsRoom) {
    auto host = books(0);
    host.cells[0].mempages[0].used = 1048576 - 262144 - 5 * 512; // one page of 1 GiB, five of 2 MiB
    host.cells[0].mempages.push_back({1048576, 0, 0, 0});
    const auto changes = plan_pools({{0, 1048576, 0, 4, 1}, {0, 2048, 0, 1000, 64}},
                                    host,
                                    {{0, 2048, 0, 0}, {0, 1048576, 0, 0}});
    ASSERT_EQ(changes.size(), 2U);
    EXPECT_EQ(changes[0].to, 1);
    EXPECT_EQ(changes[1].to, 5);
}

TEST(PagePools, UnknownPoolsAreLeftAlone) {
    EXPECT_TRUE(
        plan_pools({{3, 2048, 5, 5, 0}, {0, 16384, 5, 5, 0}}, books(0), {{0, 2048, 0, 0}}).empty());
    EXPECT_TRUE(plan_pools({}, books(0), {{0, 2048, 7, 7}}).empty());
}

/// Whatever the numbers: never below use, never above max unless used, and a second look changes
/// nothing.
TEST(PagePools, HoldsItsPromisesForRandomNumbers) {
    std::mt19937 dice(20261121);
    const auto upto = [&](std::int64_t last) {
        return std::uniform_int_distribution<std::int64_t>(0, last)(dice);
    };
    for (int round = 0; round < 20000; ++round) {
        const std::int64_t total = upto(300);
        const std::int64_t free = upto(total);
        auto host = books(upto(300), upto(20));
        host.cells[0].mempages[0].used = upto(1100000);
        PoolPolicy policy{0, 2048, upto(100), 0, upto(100)};
        policy.max = policy.min + upto(200);
        const std::int64_t used = total - free;
        const std::int64_t books_use =
            host.cells[0].mempages[1].used + host.cells[0].mempages[1].reserved;
        const std::int64_t to = target(policy, host, total, free);
        EXPECT_GE(to, std::min(total, std::max(used, books_use)));
        EXPECT_LE(to, std::max({policy.max, used, books_use}));
        const std::int64_t grown_kib = (to - total) * 2048;
        EXPECT_LE(grown_kib, std::max<std::int64_t>(0, host.cells[0].mempages[0].free()) * 4);
        host.cells[0].mempages[0].total -= grown_kib / 4;
        EXPECT_EQ(target(policy, host, to, free + to - total), to);
    }
}

} // namespace
} // namespace novalet::scheduler_hooks::claims
