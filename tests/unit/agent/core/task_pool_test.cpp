#include "agent/core/task_pool.hpp"

#include <atomic>
#include <gtest/gtest.h>
#include <stdexcept>

namespace novalet {
namespace {

TEST(TaskPool, SurvivesAnExceptionAtTheTaskBoundary) {
    TaskPool pool(1);
    std::atomic<int> done{0};
    pool.post([] { throw std::logic_error("broken invariant"); });
    pool.post([&] { ++done; });
    ASSERT_TRUE(pool.wait_idle(Deadline::after(Seconds(20))));
    EXPECT_EQ(done, 1);
}

TEST(TaskPool, RunsWhatIsQueuedBeforeItEnds) {
    std::atomic<int> done{0};
    {
        TaskPool pool(2);
        for (int i = 0; i < 50; ++i)
            pool.post([&] { ++done; });
    }
    EXPECT_EQ(done, 50);
}

} // namespace
} // namespace novalet
