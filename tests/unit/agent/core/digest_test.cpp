#include "agent/core/digest.hpp"

#include <gmock/gmock.h>

namespace novalet {
namespace {

std::string digest(const std::string& algorithm, const std::string& text) {
    auto one = Digest::create(algorithm).value();
    one.update(text);
    return one.finish();
}

TEST(Digest, KnownAnswers) { // RFC 1321, FIPS 180-4
    EXPECT_EQ(digest("md5", "abc"), "900150983cd24fb0d6963f7d28e17f72");
    EXPECT_EQ(digest("sha1", "abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    EXPECT_EQ(digest("sha256", "abc"),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(digest("sha512", "").substr(0, 16), "cf83e1357eefb8bd");
    EXPECT_EQ(sha1_hex("abc"), digest("sha1", "abc"));
}

TEST(Digest, PiecesGiveTheSameAsTheWhole) {
    auto one = Digest::create("sha256").value();
    one.update("a");
    one.update("");
    one.update("bc");
    Digest moved = std::move(one);
    EXPECT_EQ(moved.finish(), digest("sha256", "abc"));
}

TEST(Digest, AnUnknownAlgorithmIsNamed) {
    const auto unknown = Digest::create("sha-nonsense");
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code, Code::InvalidArgument);
    EXPECT_THAT(unknown.error().text, testing::HasSubstr("sha-nonsense"));
}

} // namespace
} // namespace novalet
