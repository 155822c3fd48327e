#include "agent/core/metrics.hpp"

#include <gmock/gmock.h>
#include <thread>
#include <vector>

namespace novalet::metrics {
namespace {

using testing::HasSubstr;

TEST(Metrics, TheSameNameAndLabelsAreTheSameSeries) {
    auto& first = counter("test_same_total", "help", {{"kind", "a"}});
    EXPECT_EQ(&first, &counter("test_same_total", "help", {{"kind", "a"}}));
    EXPECT_NE(&first, &counter("test_same_total", "help", {{"kind", "b"}}));
}

TEST(Metrics, CountersAddAndGaugesAreSet) {
    auto& requests = counter("test_requests_total", "Requests");
    requests.add();
    requests.add(2);
    EXPECT_DOUBLE_EQ(requests.value(), 3);
    auto& depth = gauge("test_depth_entries", "Depth");
    depth.set(7);
    depth.set(4);
    EXPECT_DOUBLE_EQ(depth.value(), 4);
}

TEST(Metrics, TheTextIsThatOfPrometheus) {
    counter("test_text_total", "What it is", {{"b", "2"}, {"a", "1"}}).add(5);
    const auto text = exposition();
    EXPECT_THAT(text,
                HasSubstr("# HELP test_text_total What it is\n# TYPE test_text_total counter\n"
                          "test_text_total{a=\"1\",b=\"2\"} 5"));
    EXPECT_EQ(text.back(), '\n');
}

TEST(Metrics, LabelsCannotBreakTheText) {
    gauge("test_escape_bytes", "x", {{"l", "a\"b\\c\nd"}}).set(1);
    EXPECT_THAT(exposition(), HasSubstr("test_escape_bytes{l=\"a\\\"b\\\\c\\nd\"} 1"));
}

TEST(Metrics, ManyThreadsLoseNoCount) {
    auto& hits = counter("test_threads_total", "x");
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 4; ++t)
            threads.emplace_back([&] {
                for (int i = 0; i < 10000; ++i)
                    hits.add();
            });
    }
    EXPECT_DOUBLE_EQ(hits.value(), 40000);
}

} // namespace
} // namespace novalet::metrics
