#include "agent/core/json.hpp"

#include <gmock/gmock.h>
#include <limits>

namespace novalet {
namespace {

using testing::HasSubstr;

std::string round_trip(std::string_view text) {
    const auto parsed = Json::parse(text);
    return parsed ? parsed->dump() : "error: " + parsed.error().text;
}

TEST(Json, ParsesAndWritesEveryKindOfValue) {
    EXPECT_EQ(round_trip(R"( {"b":[1,-2,2.5,true,false,null,"x"],"a":{}} )"),
              R"({"a":{},"b":[1,-2,2.5,true,false,null,"x"]})");
}

TEST(Json, EqualDocumentsHaveEqualText) {
    EXPECT_EQ(round_trip(R"({"x":1,"a":2})"), round_trip(R"({"a":2,"x":1})"));
    EXPECT_EQ(Json::parse(R"({"x":1,"a":2})").value(), Json::parse(R"({"a":2,"x":1})").value());
}

TEST(Json, IntegersKeepAllTheirDigits) {
    EXPECT_EQ(round_trip("[9223372036854775807,-9223372036854775808]"),
              "[9223372036854775807,-9223372036854775808]");
    const auto big = Json::parse("18446744073709551615").value();
    EXPECT_FALSE(big.is_integer());
    EXPECT_TRUE(big.is_number());
    EXPECT_DOUBLE_EQ(big.as_double(), 18446744073709551615.0);
}

TEST(Json, NumbersConvertWithoutUndefinedBehaviour) {
    EXPECT_EQ(Json(2.9).as_int(), 2);
    EXPECT_EQ(Json(1e300).as_int(7), 7);
    EXPECT_EQ(Json(-1e300).as_int(7), 7);
    EXPECT_EQ(Json(std::numeric_limits<double>::quiet_NaN()).as_int(7), 7);
    EXPECT_DOUBLE_EQ(Json(3).as_double(), 3.0);
    EXPECT_EQ(Json(std::numeric_limits<double>::infinity()).dump(), "null");
}

TEST(Json, StringsWithEscapesUnicodeAndNulComeBack) {
    const auto text = Json::parse(R"("a\u0000b\n\u00e4\ud83d\ude00\"")").value();
    EXPECT_EQ(text.as_string(), std::string("a\0b\n\xc3\xa4\xf0\x9f\x98\x80\"", 11));
    EXPECT_EQ(Json::parse(text.dump()).value(), text);
}

TEST(Json, WrongTypesGiveTheFallback) {
    const Json text("x");
    EXPECT_EQ(text.as_int(4), 4);
    EXPECT_TRUE(text.as_bool(true));
    EXPECT_DOUBLE_EQ(text.as_double(1.5), 1.5);
    EXPECT_EQ(Json(1).as_string(), "");
    EXPECT_EQ(Json(1).as_string("none"), "none");
    EXPECT_TRUE(text.items().empty());
    EXPECT_TRUE(text.members().empty());
    EXPECT_TRUE(text["a"].is_null());
    EXPECT_TRUE(text.at(0).is_null());
}

TEST(Json, ReadingNeverInserts) {
    Json document = Json::object();
    EXPECT_TRUE(document["a"]["b"].at(3).is_null());
    EXPECT_TRUE(document.empty());
    EXPECT_FALSE(document.contains("a"));
}

TEST(Json, WritingMakesWhatIsMissing) {
    Json document;
    document.member("a").set("b", 1);
    document.member("list").push_back("x");
    document.set("a2", true);
    EXPECT_EQ(document.dump(), R"({"a":{"b":1},"a2":true,"list":["x"]})");
    document.set("a", nullptr);
    document.erase("list");
    document.erase("never there");
    EXPECT_EQ(document.dump(), R"({"a":null,"a2":true})");
    EXPECT_EQ(document.size(), 2U);
}

TEST(Json, TheLastOfDoubledKeysWins) { // as Python's json does
    EXPECT_EQ(round_trip(R"({"a":1,"a":2})"), R"({"a":2})");
}

class JsonRefuses : public testing::TestWithParam<std::string> {};

TEST_P(JsonRefuses, WhatIsNotOneDocument) {
    const auto parsed = Json::parse(GetParam());
    ASSERT_FALSE(parsed) << parsed->dump();
    EXPECT_EQ(parsed.error().code, Code::InvalidArgument);
    EXPECT_THAT(parsed.error().text, HasSubstr("byte"));
}

INSTANTIATE_TEST_SUITE_P(Texts,
                         JsonRefuses,
                         testing::Values("",
                                         "  ",
                                         "{",
                                         "[1,]",
                                         "{\"a\" 1}",
                                         "1 2",
                                         "{} x",
                                         "nul",
                                         "'a'",
                                         "[01]",
                                         "\"\xff\"",
                                         "\"\xc3\"",
                                         "\"\xed\xa0\x80\"",
                                         "\"\\ud800\"",
                                         "\"\\udc00\"",
                                         "\"a\\udfffb\"",
                                         "{\"\\udc80\":1}",
                                         "1e400",
                                         std::string("1\0", 2),
                                         std::string("\"a\0b\"", 5),
                                         std::string("{}\0{}", 5)));

TEST(Json, DepthIsLimitedAndADeepTextDoesNoHarm) {
    const auto nested = [](std::size_t levels) {
        return std::string(levels, '[') + std::string(levels, ']');
    };
    EXPECT_TRUE(Json::parse(nested(JsonLimits{}.max_depth)));
    const auto deep = Json::parse(nested(JsonLimits{}.max_depth + 1));
    ASSERT_FALSE(deep);
    EXPECT_THAT(deep.error().text, HasSubstr("100 levels"));
    EXPECT_FALSE(Json::parse(std::string(100000, '[')));
    std::string objects;
    for (int i = 0; i < 100000; ++i)
        objects += "{\"a\":";
    EXPECT_FALSE(Json::parse(objects));
    EXPECT_TRUE(Json::parse("[[1]]", {.max_bytes = 100, .max_depth = 2}));
    EXPECT_FALSE(Json::parse("[[[1]]]", {.max_bytes = 100, .max_depth = 2}));
}

TEST(Json, WhatIsWrittenWithLimitsIsReadWithThem) {
    const JsonLimits limits{.max_bytes = 20, .max_depth = 2, .max_values = 4};
    const auto refused = [&](const Json& value) {
        const auto text = value.dump(limits);
        return text ? std::string() : text.error().text;
    };
    EXPECT_EQ(Json(Json::Array{Json::Array{}, 1, 2}).dump(limits).value(), "[[],1,2]");
    EXPECT_THAT(refused(Json::Array{Json::Array{Json::Array{}}}), HasSubstr("2 levels"));
    EXPECT_THAT(refused(Json::Array{1, 2, 3, 4}), HasSubstr("4 values"));
    EXPECT_EQ(Json(std::string(18, 'x')).dump(limits).value().size(), 20U);
    EXPECT_THAT(refused(std::string(19, 'x')), HasSubstr("limit of 20"));
    const auto mended = Json("a\xff").dump(limits);
    ASSERT_TRUE(mended);
    EXPECT_EQ(Json::parse(*mended).value().as_string(), "a\ufffd");
    EXPECT_TRUE(JsonLimits{}.around().max_depth > JsonLimits{}.max_depth + 8);
}

TEST(Json, SizeIsLimited) {
    EXPECT_TRUE(Json::parse("\"12345678\"", {.max_bytes = 10}));
    const auto large = Json::parse("\"123456789\"", {.max_bytes = 10});
    ASSERT_FALSE(large);
    EXPECT_THAT(large.error().text, HasSubstr("limit of 10"));
}

} // namespace
Json a_document() {
    return Json::parse(R"({"list": [{"name": "a text too long for the small-string buffer"}]})")
        .value();
}

// What a temporary document gives away lives as long as who asked for it.
TEST(Json, PartsOfATemporaryOutliveIt) {
    std::string names;
    for (const auto& item : a_document()["list"].items())
        names += item["name"].as_string();
    EXPECT_EQ(names, "a text too long for the small-string buffer");
    const auto& name = a_document()["list"].at(0)["name"].as_string();
    EXPECT_EQ(name, "a text too long for the small-string buffer");
    for (const auto& [key, value] : a_document().members())
        EXPECT_EQ(key, "list") << value.dump();
}

} // namespace novalet
