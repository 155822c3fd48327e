#include "scheduler_hooks/affinity/server_group.hpp"

#include <gtest/gtest.h>

namespace novalet::scheduler_hooks::affinity {
namespace {

const InstanceUuid me("me");
const InstanceUuid other("other");
const InstanceUuid third("third");

TEST(ServerGroup, AntiAffinity_CountsMembersHereAndArriving) {
    ServerGroup group{"g", "anti-affinity", 1, {me, other, third}};
    EXPECT_TRUE(check(group, me, {"h", {me, InstanceUuid("stranger")}, {}, {}}));
    const auto here = check(group, me, {"h", {me, other}, {}, {}});
    ASSERT_FALSE(here);
    EXPECT_EQ(here.error().exception, "GroupAffinityViolation");
    EXPECT_FALSE(check(group, me, {"h", {me}, {other}, {}}));
    group.max_server_per_host = 2;
    EXPECT_TRUE(check(group, me, {"h", {me, other}, {other}, {}}));
    EXPECT_FALSE(check(group, me, {"h", {me, other}, {third}, {}}));
}

TEST(ServerGroup, Affinity_NeedsTheHostOfTheOthers) {
    const ServerGroup group{"g", "affinity", 1, {me, other}};
    EXPECT_TRUE(check(group, me, {"h", {me}, {}, {}}));
    EXPECT_TRUE(check(group, me, {"h", {me}, {}, {"h"}}));
    EXPECT_FALSE(check(group, me, {"h", {me}, {}, {"k"}}));
    EXPECT_TRUE(check({"g", "soft-affinity", 1, {me}}, me, {"h", {me}, {}, {"k"}}));
}

} // namespace
} // namespace novalet::scheduler_hooks::affinity
