#include "agent/tasks/ops/build/build_outcome.hpp"

#include <gtest/gtest.h>

namespace novalet::tasks {
namespace {

Error named(const char* exception) {
    return Error{Code::Remote, "text", exception, "nova.exception"};
}

TEST(BuildOutcome, ADeletedInstanceIsNotAFault) {
    EXPECT_EQ(classify_build_failure(named("InstanceNotFound")), BuildFailure::Gone);
    EXPECT_EQ(classify_build_failure(named("UnexpectedDeletingTaskStateError")),
              BuildFailure::Gone);
    EXPECT_EQ(classify_build_failure(Error{Code::Cancelled, "interrupted", {}, {}}),
              BuildFailure::Gone);
}

TEST(BuildOutcome, WhatNoHostCanBuildIsAborted) {
    for (const char* exception : {"VirtualInterfaceCreateException",
                                  "FlavorDiskSmallerThanImage",
                                  "ImageUnacceptable",
                                  "InvalidDiskInfo",
                                  "NoMoreFixedIps"})
        EXPECT_EQ(classify_build_failure(named(exception)), BuildFailure::Abort) << exception;
}

TEST(BuildOutcome, EverythingElseGoesToAnotherHost) {
    EXPECT_EQ(classify_build_failure(named("ComputeResourcesUnavailable")),
              BuildFailure::Reschedule);
    EXPECT_EQ(classify_build_failure(named("PortInUse")), BuildFailure::Reschedule);
    EXPECT_EQ(classify_build_failure(Error{Code::Internal, "libvirt: internal error", {}, {}}),
              BuildFailure::Reschedule);
    EXPECT_EQ(
        classify_build_failure(Error{Code::ResourceExhausted, "no space left on device", {}, {}}),
        BuildFailure::Reschedule);
}

} // namespace
} // namespace novalet::tasks
