#include "agent/core/uuid.hpp"

#include <gtest/gtest.h>
#include <set>
#include <unordered_set>

namespace novalet {
namespace {

TEST(Uuid, NewOnesAreOfVersionFourAndDiffer) {
    std::set<std::string> seen;
    for (int i = 0; i < 1000; ++i) {
        const auto uuid = new_uuid();
        ASSERT_TRUE(is_uuid(uuid)) << uuid;
        ASSERT_EQ(uuid[14], '4');
        ASSERT_NE(std::string("89ab").find(uuid[19]), std::string::npos) << uuid;
        ASSERT_TRUE(seen.insert(uuid).second);
    }
}

TEST(Uuid, TheHexFormHasNoDashes) {
    const auto text = new_uuid_hex();
    EXPECT_EQ(text.size(), 32U);
    EXPECT_EQ(text.find_first_not_of("0123456789abcdef"), std::string::npos);
}

TEST(Uuid, OtherTextsAreRefused) {
    EXPECT_TRUE(is_uuid("00000000-0000-0000-0000-00000000000F"));
    for (const char* text : {"",
                             "00000000-0000-0000-0000-00000000000",
                             "00000000-0000-0000-0000-0000000000000",
                             "00000000000000000000000000000000----",
                             "00000000-0000-0000-0000-00000000000g",
                             "../../../../../../../../../../etc/pa"})
        EXPECT_FALSE(is_uuid(text)) << text;
}

TEST(Uuid, RandomBytesHaveTheSizeAskedFor) {
    EXPECT_EQ(random_bytes(0), "");
    EXPECT_EQ(random_bytes(1000).size(), 1000U);
    EXPECT_NE(random_bytes(32), random_bytes(32));
}

TEST(Id, IsComparedByItsTextAndHashed) {
    const InstanceUuid a("a");
    const InstanceUuid b("b");
    EXPECT_EQ(a, InstanceUuid("a"));
    EXPECT_LT(a, b);
    EXPECT_TRUE(InstanceUuid().empty());
    const std::unordered_set<InstanceUuid> set{a, b, a};
    EXPECT_EQ(set.size(), 2U);
    EXPECT_FALSE((std::is_convertible_v<InstanceUuid, PortId>));
}

} // namespace
} // namespace novalet
