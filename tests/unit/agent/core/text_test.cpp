#include "agent/core/text.hpp"

#include <gmock/gmock.h>

namespace novalet {
namespace {

using Parts = std::vector<std::string>;

TEST(Text, CatJoinsStringsNumbersAndTruthValues) {
    EXPECT_EQ(cat("a", std::string("b"), std::string_view("c"), 'd', 1, -2L, true, false),
              "abcd1-2truefalse");
    EXPECT_EQ(cat(), "");
}

TEST(Text, NumbersHaveToBeTheWholeText) {
    EXPECT_EQ(to_number<int>("-12"), -12);
    EXPECT_EQ(to_number<unsigned>("12"), 12U);
    EXPECT_EQ(to_number<double>("1.5"), 1.5);
    for (const char* text : {"", " 1", "1 ", "1x", "+1", "0x10", "99999999999"})
        EXPECT_FALSE(to_number<int>(text)) << text;
    EXPECT_FALSE(to_number<unsigned>("-1"));
}

TEST(Text, SplitKeepsEmptyParts) {
    EXPECT_EQ(split("", ','), Parts{});
    EXPECT_EQ(split("a", ','), Parts{"a"});
    EXPECT_EQ(split("a,,b,", ','), (Parts{"a", "", "b", ""}));
    EXPECT_EQ(join(split("a,,b,", ','), ","), "a,,b,");
    EXPECT_EQ(join({"same", "same"}, "-"), "same-same");
}

TEST(Text, TrimAndLower) {
    EXPECT_EQ(trim(" \t a b \r\n"), "a b");
    EXPECT_EQ(trim(" \n "), "");
    EXPECT_EQ(lower("AbC\xc3\x84"), "abc\xc3\x84");
}

TEST(Text, TruthWordsAreNovas) {
    for (const char* yes : {"true", "True", "1", "yes", "ON", " t ", "y"})
        EXPECT_EQ(to_bool(yes), true) << yes;
    for (const char* no : {"false", "FALSE", "0", "no", "off", "f", "n"})
        EXPECT_EQ(to_bool(no), false) << no;
    for (const char* other : {"", "2", "truth", "none"})
        EXPECT_FALSE(to_bool(other)) << other;
}

TEST(Text, CutKeepsCharactersWhole) {
    const std::string text = "a\xc3\xa4\xf0\x9f\x98\x80z"; // aä😀z
    EXPECT_EQ(cut_utf8(text, 100), text);
    EXPECT_EQ(cut_utf8(text, 7), "a\xc3\xa4\xf0\x9f\x98\x80");
    EXPECT_EQ(cut_utf8(text, 6), "a\xc3\xa4");
    EXPECT_EQ(cut_utf8(text, 2), "a");
    EXPECT_EQ(cut_utf8(text, 0), "");
}

TEST(Text, Base64IsThatOfTheStandard) { // RFC 4648 §10
    const std::vector<std::pair<std::string, std::string>> samples{{"", ""},
                                                                   {"f", "Zg=="},
                                                                   {"fo", "Zm8="},
                                                                   {"foo", "Zm9v"},
                                                                   {"foob", "Zm9vYg=="},
                                                                   {"fooba", "Zm9vYmE="},
                                                                   {"foobar", "Zm9vYmFy"},
                                                                   {"\xff\xfe\xfd", "//79"}};
    for (const auto& [bytes, text] : samples) {
        EXPECT_EQ(base64(bytes), text);
        EXPECT_EQ(from_base64(text), bytes);
    }
    EXPECT_EQ(from_base64("Zm9v\r\nYmFy\n"), "foobar");
    EXPECT_EQ(from_base64("Zg"), "f");
    for (const char* wrong : {"Z", "Zg===", "Zg==Zg", "Z!==", "Zm9vY"})
        EXPECT_FALSE(from_base64(wrong)) << wrong;
}

TEST(Text, EveryByteSurvivesTheEncodings) {
    std::string all;
    for (int i = 0; i < 256; ++i)
        all += static_cast<char>(i);
    for (std::size_t size = 0; size <= all.size(); ++size) {
        const auto bytes = all.substr(0, size);
        ASSERT_EQ(from_base64(base64(bytes)), bytes);
        ASSERT_EQ(percent_decode(percent_encode(bytes)), bytes);
    }
}

TEST(Text, PercentEncoding) {
    EXPECT_EQ(percent_encode("a-._~Z9/ @\xff"), "a-._~Z9%2f%20%40%ff");
    EXPECT_EQ(percent_decode("%41%6a%6A+"), "Ajj+");
    for (const char* wrong : {"%", "%4", "a%4", "%zz", "%4z"})
        EXPECT_FALSE(percent_decode(wrong)) << wrong;
}

TEST(Text, HexIsLowerCase) {
    EXPECT_EQ(hex(std::string("\x00\xab\xff", 3)), "00abff");
}

} // namespace
} // namespace novalet
