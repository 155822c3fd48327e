#include "agent/app/huge_pages.hpp"
#include "agent/core/metrics.hpp"
#include "hypervisor/topology/sysfs_cells.hpp"
#include "tests/support/sysfs_tree.hpp"

#include <gmock/gmock.h>

namespace novalet::app {
namespace {

const std::string pool = "sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages";

class HugePagesTest : public testing::Test {
  protected:
    tests::Machine machine_ = tests::sub_numa_clusters();
    scheduler_hooks::model::HostTopology books_ =
        hypervisor::topology::cells_from_sysfs(machine_->root()).value();
    config::Compute config_;
};

TEST_F(HugePagesTest, WithoutPolicyNothingIsTouched) {
    HugePages pages(config_, machine_->root());
    EXPECT_FALSE(pages.tend(books_));
    EXPECT_EQ(machine_->get(pool), "256");
}

TEST_F(HugePagesTest, ThePolicyIsFollowed) {
    config_.huge_page_pools = {{1, 2048, 0, 1024, 300}};
    HugePages pages(config_, machine_->root());
    EXPECT_TRUE(pages.tend(books_)); // 56 in use
    EXPECT_EQ(machine_->get(pool), "356");
    EXPECT_EQ(
        metrics::gauge("novalet_huge_page_pool_pages", "", {{"cell", "1"}, {"size_kib", "2048"}})
            .value(),
        356);
}

TEST_F(HugePagesTest, FreePagesAndDriftAreShown) {
    HugePages pages(config_, machine_->root());
    const auto free = pages.free_pages();
    ASSERT_EQ(free.size(), 8U);
    EXPECT_EQ(free[2].free, 200);
    pages.show_drift({{1, 2048, 56}});
    EXPECT_EQ(
        metrics::gauge("novalet_huge_page_drift_pages", "", {{"cell", "1"}, {"size_kib", "2048"}})
            .value(),
        56);
}

TEST_F(HugePagesTest, OnlyDriftThatLastsIsTold) {
    HugePages pages(config_, machine_->root());
    const auto told = [&](std::int64_t missing) {
        testing::internal::CaptureStderr();
        pages.show_drift({{1, 2048, missing}});
        const std::string text = testing::internal::GetCapturedStderr();
        return text.find("differs") != std::string::npos ? "differs"
               : text.find("again") != std::string::npos ? "again"
                                                         : "";
    };
    EXPECT_STREQ(told(64), ""); // a guest is starting
    EXPECT_STREQ(told(0), "");
    EXPECT_STREQ(told(0), "");
    EXPECT_STREQ(told(8), "");
    EXPECT_STREQ(told(8), "differs");
    EXPECT_STREQ(told(8), "");
    EXPECT_STREQ(told(0), "");
    EXPECT_STREQ(told(0), "again");
    EXPECT_STREQ(told(0), "");
}

TEST_F(HugePagesTest, AHostWithoutSysIsNoReasonToStop) {
    const tests::TemporaryFolder empty;
    HugePages pages(config_, empty.path());
    EXPECT_TRUE(pages.free_pages().empty());
}

} // namespace
} // namespace novalet::app
