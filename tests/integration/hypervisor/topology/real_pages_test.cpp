// The running kernel's own pool of 2 MiB pages: made larger by four, and as it was again.
#include "hypervisor/topology/page_pools.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

namespace novalet::hypervisor::topology {
namespace {

constexpr int cell = 0;
constexpr std::uint64_t size_kib = 2048;

/// The pool as it was, whatever happens in the test.
class PoolGuard {
  public:
    explicit PoolGuard(std::int64_t before) : before_(before) {}
    ~PoolGuard() { EXPECT_TRUE(resize_pool(cell, size_kib, before_)); }
    PoolGuard(const PoolGuard&) = delete;
    PoolGuard& operator=(const PoolGuard&) = delete;

  private:
    std::int64_t before_;
};

std::int64_t total() {
    for (const auto& pool : pools_of(read_kernel_state().value()))
        if (pool.cell == cell && pool.size_kib == size_kib)
            return pool.total;
    return -1;
}

TEST(RealPages, ThePoolGrowsAndShrinks) {
    if (geteuid() != 0)
        GTEST_SKIP() << "changing the kernel's pools needs root";
    const std::int64_t before = total();
    if (before < 0)
        GTEST_SKIP() << "this kernel has no pages of 2 MiB on cell 0";
    const PoolGuard guard(before);
    const auto grown = resize_pool(cell, size_kib, before + 4);
    ASSERT_TRUE(grown) << grown.error().text;
    EXPECT_EQ(*grown, before + 4);
    EXPECT_EQ(total(), before + 4);
    const auto shrunk = resize_pool(cell, size_kib, before);
    ASSERT_TRUE(shrunk) << shrunk.error().text;
    EXPECT_EQ(total(), before);
}

} // namespace
} // namespace novalet::hypervisor::topology
